//! Getting public keys, having a person look at them, and trusting them: what `trust` does, and fetching by name.

use std::fs::File;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::path::Path;

use appc::AcIdentifier;
use fetch::http::{Reach, Request, Url};
use fetch::keystore::{self, Scope};
use fetch::openpgp::{Certificate, MAX_KEY_BYTES};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::error::{CommandError, Explain};
use crate::escape::printable;
use crate::web::Web;
use crate::{output, verifier};

/// Where a key is.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    /// A path or URL.
    place: String,
    /// How far inside the network it may be, if a server said where it is.
    reach: Option<Reach>,
}

/// Whether a person looks at fingerprints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Review {
    /// Yes.
    Ask,
    /// No.
    Skip,
    /// No, if the key comes over HTTPS (`--trust-keys-from-https`).
    SkipForHttps,
}

impl Location {
    /// A path or URL that the user typed.
    pub(crate) fn given(place: &str) -> Self {
        Self { place: place.to_owned(), reach: None }
    }

    /// Its URL, if it is one.
    fn url(&self) -> Option<Result<Url, CommandError>> {
        let (scheme, _) = self.place.split_once("://")?;
        Some(match scheme {
            "http" | "https" => Url::parse(&self.place)
                .map_err(|error| CommandError::usage(format!("{error}")).hint("URLs are written https://HOST/PATH")),
            _ => Err(CommandError::usage("only local files and http or https URLs supported")),
        })
    }
}

/// The keys that the host of a prefix says images below it are signed with.
///
/// # Errors
///
/// The host cannot be asked, or has none.
pub(crate) fn discover(web: &Web, prefix: &AcIdentifier) -> Result<Vec<Location>, CommandError> {
    let found = web.discovery()?.public_keys(prefix).during(|| "prefix meta discovery error".into())?.found;
    Ok(found.into_iter().map(|key| Location { place: key.url, reach: Some(key.reach) }).collect())
}

/// Shows the keys at a location, asks, and stores them in the keystore of `own`, a configuration directory.
///
/// # Errors
///
/// The keys cannot be had, are no good, or nobody is there to look at them. That the answer is no is none.
pub(crate) fn add(
    web: &Web,
    own: &Path,
    scope: &Scope,
    location: &Location,
    review: Review,
) -> Result<(), CommandError> {
    let place = printable(&location.place);
    let bytes = read(web, location).during(|| format!("error accessing the key {place}"))?;
    let certificates = verifier::inspect(bytes).during(|| format!("error reading the key {place}"))?;
    let shown = format!("{place:?}");
    let prefix = match scope {
        Scope::Root => String::new(),
        Scope::Prefix(prefix) => prefix.to_string(),
    };
    show(&prefix, &shown, &certificates);
    if let Some((key, problem)) = certificates.iter().find_map(|key| Some((key, key.problem.as_ref()?))) {
        return Err(CommandError::failed(format!("key {} of {place}: {problem}", key.fingerprint))
            .hint("get a new key from whoever signs the images"));
    }
    let skip = match review {
        Review::Ask => false,
        Review::Skip => true,
        Review::SkipForHttps => location.place.starts_with("https://"),
    };
    if !skip && !ask()? {
        output::complain(&format!("Not trusting {shown}\n"));
        return Ok(());
    }
    let how = if skip { "without" } else { "after" };
    output::complain(&format!("Trusting {shown} for prefix {prefix:?} {how} fingerprint review.\n"));
    for certificate in &certificates {
        let path = keystore::add(own, scope, &certificate.fingerprint, &certificate.armored)?;
        let path = path.display().to_string();
        output::complain(&match scope {
            Scope::Root => format!("Added root key at {:?}\n", printable(&path)),
            Scope::Prefix(_) => format!("Added key for prefix {prefix:?} at {:?}\n", printable(&path)),
        });
    }
    Ok(())
}

fn read(web: &Web, location: &Location) -> Result<Vec<u8>, CommandError> {
    let Some(url) = location.url() else {
        if location.reach.is_some() {
            return Err(CommandError::failed("the host names something that is no URL")
                .hint("ask whoever runs the host, or get the key in another way"));
        }
        return read_file(&location.place)
            .hint(|| "give a file of public keys, as `gpg --armor --export NAME` writes it".into());
    };
    let url = url?;
    if url.scheme() == "http" && !web.client.settings().plain_http {
        return Err(CommandError::failed("--insecure-allow-http required for http URLs")
            .hint("whoever sits in between can exchange the key: compare the fingerprints all the more"));
    }
    let request = web.hosts()?.authorize(Request::get(url));
    let request = match location.reach {
        Some(reach) => request.discovered(reach),
        None => request,
    };
    Ok(web.client.document(&request, MAX_KEY_BYTES)?)
}

fn read_file(path: &str) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(openat(CWD, path, flags, Mode::empty())?);
    let mut bytes = Vec::new();
    file.take(MAX_KEY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a person compares before he says yes, in rkt's form.
fn show(prefix: &str, location: &str, certificates: &[Certificate]) {
    let mut text = format!("prefix: {prefix:?}\nkey: {location}\n");
    for certificate in certificates {
        text += &format!("gpg key fingerprint is: {}\n", grouped(&certificate.fingerprint));
        for subkey in &certificate.subkeys {
            text += &format!("    subkey fingerprint: {}\n", grouped(subkey));
        }
        for id in &certificate.user_ids {
            text += &format!("\t{}\n", printable(id));
        }
    }
    output::complain(&text);
}

/// A fingerprint as gpg prints it: groups of four, a wider gap in the middle.
fn grouped(fingerprint: &str) -> String {
    let digits: Vec<char> = fingerprint.to_ascii_uppercase().chars().collect();
    let groups: Vec<String> = digits.chunks(4).map(|group| group.iter().collect()).collect();
    let (first, second) = groups.split_at(groups.len() / 2);
    format!("{}  {}", first.join(" "), second.join(" "))
}

/// Whether somebody is there to answer.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks on the terminal.
fn ask() -> Result<bool, CommandError> {
    if !can_ask() {
        return Err(CommandError::failed(
            "error reviewing key: unable to ask user to review fingerprint due to lack of tty",
        )
        .hint("run it on a terminal, or compare the fingerprints above and add --skip-fingerprint-review"));
    }
    let mut lines = io::stdin().lock().lines();
    loop {
        output::complain("Are you sure you want to trust this key (yes/no)?\n");
        match lines.next().transpose().during(|| "error reading input".into())?.as_deref() {
            Some("yes") => return Ok(true),
            Some("no") => return Ok(false),
            Some(_) => output::complain("Please enter 'yes' or 'no'\n"),
            None => return Err(CommandError::failed("error reading input: end of file").hint("answer yes or no")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_grouped_as_gpg_does() {
        assert_eq!(
            grouped("8b86de38890ddb7291867b025210bd8888182190"),
            "8B86 DE38 890D DB72 9186  7B02 5210 BD88 8818 2190"
        );
    }
}
