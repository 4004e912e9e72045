//! `proa trust`: which keys may sign which images.

use std::fs::File;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use appc::AcIdentifier;
use clap::Args;
use fetch::keystore::{self, Keystore, Scope};
use fetch::openpgp::{Certificate, MAX_KEY_BYTES};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::{CommandError, Explain};
use crate::escape::printable;
use crate::{cli, output, table, verifier};

/// Trust keys to sign images, after a look at their fingerprints
///
/// A key is trusted for the images whose names begin with a prefix, at a slash: example.com/app covers example.com/app
/// and example.com/app/web, not example.com/apple.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa trust --prefix=example.com/app ./maintainer.asc
  proa trust --root ./my-own.asc --skip-fingerprint-review
  proa trust --list
  proa trust --prefix=example.com/app --remove=8b86de38890ddb7291867b025210bd8888182190")]
pub(crate) struct TrustArgs {
    /// Trust the keys for images whose names begin with PREFIX
    #[arg(long, value_name = "PREFIX", default_value = "")]
    prefix: String,

    /// Trust the keys for every image
    #[arg(long)]
    root: bool,

    /// Do not ask whether the fingerprints are right
    #[arg(long)]
    skip_fingerprint_review: bool,

    /// List the trusted keys
    #[arg(long, conflicts_with_all = ["remove", "pubkeys"])]
    list: bool,

    /// Trust this key no longer
    #[arg(long, value_name = "FINGERPRINT", conflicts_with = "pubkeys")]
    remove: Option<String>,

    /// Files of public keys
    #[arg(value_name = "PUBKEY")]
    pubkeys: Vec<PathBuf>,
}

pub(crate) fn run(context: &Context, args: TrustArgs) -> Result<u8, CommandError> {
    let keystore = Keystore::new(context.config_dirs().all());
    if args.list {
        return list(&keystore, scope(&args)?.as_ref());
    }
    let Some(scope) = scope(&args)? else {
        if args.pubkeys.is_empty() && args.remove.is_none() {
            return Err(cli::help("trust"));
        }
        return Err(unbounded());
    };
    let own = context.config_dirs().own().ok_or_else(|| {
        CommandError::failed("could not get the keystore: HOME is not set to an absolute path")
            .hint("name a directory with --user-config")
    })?;
    if let Some(fingerprint) = &args.remove {
        return remove(&keystore, own, &scope, fingerprint);
    }
    if args.pubkeys.is_empty() {
        return Err(CommandError::usage("no PUBKEY is given"));
    }
    for file in &args.pubkeys {
        add(&keystore, own, &scope, file, args.skip_fingerprint_review)
            .during(|| format!("error adding the key {}", file.display()))?;
    }
    Ok(0)
}

/// What the keys are to be trusted for; `None` if that is not said.
fn scope(args: &TrustArgs) -> Result<Option<Scope>, CommandError> {
    match (args.prefix.as_str(), args.root) {
        ("", false) => Ok(None),
        ("", true) => Ok(Some(Scope::Root)),
        (_, true) => Err(CommandError::usage("--root and --prefix usage mutually exclusive")),
        (prefix, false) => {
            if let Some((scheme, _)) = prefix.split_once("://") {
                return Err(CommandError::usage(format!("--prefix must not contain a URL scheme, omit {scheme}://")));
            }
            let name = prefix.parse::<AcIdentifier>().map_err(|error| {
                CommandError::usage(format!("--prefix={prefix:?}: {error}"))
                    .hint("a prefix is the beginning of an image's name, such as example.com or example.com/app")
            })?;
            Ok(Some(Scope::Prefix(name)))
        }
    }
}

/// rkt's answer to a key that would be trusted for everything by oversight.
fn unbounded() -> CommandError {
    CommandError::usage("aborting due to implicit unbounded trust (root domain)")
        .hint("provide a specific prefix to trust: proa trust --prefix=example.com/foo PUBKEY")
        .hint("trust for every image (not recommended) must be asked for: proa trust --root PUBKEY")
}

fn list(keystore: &Keystore, only: Option<&Scope>) -> Result<u8, CommandError> {
    let trust = keystore.read()?;
    for stranger in trust.strangers() {
        warn(&format!("{} is not named like a key and means nothing", stranger.display()));
    }
    let mut rows = vec![["FINGERPRINT", "PREFIX", "FILE"].map(str::to_owned).to_vec()];
    for (scope, fingerprint, file) in trust.trusted().filter(|(scope, _, _)| only.is_none_or(|only| only == *scope)) {
        let prefix = match scope {
            Scope::Root => "(root)".to_owned(),
            Scope::Prefix(prefix) => prefix.to_string(),
        };
        rows.push(vec![fingerprint.to_owned(), prefix, printable(&file.display().to_string()).into_owned()]);
    }
    output::write(&table::aligned(&rows))?;
    Ok(0)
}

fn remove(keystore: &Keystore, own: &Path, scope: &Scope, fingerprint: &str) -> Result<u8, CommandError> {
    // As people copy it from the review: in upper case, in groups.
    let fingerprint: String =
        fingerprint.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_lowercase()).collect();
    if !matches!(fingerprint.len(), 40 | 64) || fingerprint.contains(|c: char| !c.is_ascii_hexdigit()) {
        return Err(CommandError::usage(format!("--remove={fingerprint:?}: a fingerprint has 40 hexadecimal digits"))
            .hint("`proa trust --list` shows the trusted keys"));
    }
    keystore::remove(keystore, own, scope, &fingerprint)
        .hint(|| "`proa trust --list` shows the trusted keys".into())?;
    output::complain(&format!("Removed key {fingerprint} for {scope}\n"));
    Ok(0)
}

/// Shows the keys of a file, asks, and stores them.
fn add(keystore: &Keystore, own: &Path, scope: &Scope, file: &Path, skip_review: bool) -> Result<(), CommandError> {
    let certificates = verifier::inspect(read(file)?)?;
    let shown_file = format!("{:?}", printable(&file.display().to_string()));
    let prefix = match scope {
        Scope::Root => String::new(),
        Scope::Prefix(prefix) => prefix.to_string(),
    };
    show(&prefix, &shown_file, &certificates);
    if let Some((key, problem)) = certificates.iter().find_map(|key| Some((key, key.problem.as_ref()?))) {
        return Err(CommandError::failed(format!("{}: {problem}", key.fingerprint))
            .hint("get a new key from whoever signs the images"));
    }
    if !skip_review && !review()? {
        output::complain(&format!("Not trusting {shown_file}\n"));
        return Ok(());
    }
    let how = if skip_review { "without" } else { "after" };
    output::complain(&format!("Trusting {shown_file} for prefix {prefix:?} {how} fingerprint review.\n"));
    for certificate in &certificates {
        let path = keystore::add(own, scope, &certificate.fingerprint, &certificate.armored)?;
        let path = path.display().to_string();
        output::complain(&match scope {
            Scope::Root => format!("Added root key at {:?}\n", printable(&path)),
            Scope::Prefix(_) => format!("Added key for prefix {prefix:?} at {:?}\n", printable(&path)),
        });
    }
    // What was just written must be usable.
    keystore.read()?;
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>, CommandError> {
    let read = || -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = File::from(openat(CWD, file, flags, Mode::empty())?);
        let mut bytes = Vec::new();
        file.take(MAX_KEY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().hint(|| "give a file of public keys, as `gpg --armor --export NAME` writes it".into())
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

/// Asks on the terminal.
///
/// # Errors
///
/// There is no terminal, or nobody answers.
fn review() -> Result<bool, CommandError> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
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
