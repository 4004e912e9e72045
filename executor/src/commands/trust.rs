//! `proa trust`: which keys may sign which images.

use std::path::Path;

use appc::AcIdentifier;
use clap::Args;
use fetch::keystore::{self, Keystore, Scope};

use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::{CommandError, Explain};
use crate::escape::printable;
use crate::keys::{self, Location, Review};
use crate::web::Web;
use crate::{output, table};

/// Trust keys to sign images, after a look at their fingerprints
///
/// A key is trusted for the images whose names begin with a prefix, at a slash: example.com/app covers example.com/app
/// and example.com/app/web, not example.com/apple. Without PUBKEY the host of the prefix is asked for its keys.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa trust --prefix=example.com/app
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

    /// Look for keys, and fetch them, over plain HTTP where HTTPS does not work
    #[arg(long)]
    insecure_allow_http: bool,

    /// Do not ask whether the fingerprints are right
    #[arg(long)]
    skip_fingerprint_review: bool,

    /// List the trusted keys
    #[arg(long, conflicts_with_all = ["remove", "pubkeys"])]
    list: bool,

    /// Trust this key no longer
    #[arg(long, value_name = "FINGERPRINT", conflicts_with = "pubkeys")]
    remove: Option<String>,

    /// Public keys: files, or URLs of https
    #[arg(value_name = "PUBKEY")]
    pubkeys: Vec<String>,
}

pub(crate) fn run(context: &Context, args: TrustArgs) -> Result<u8, CommandError> {
    let keystore = Keystore::new(context.config_dirs().all());
    if args.list {
        return list(&keystore, scope(&args)?.as_ref());
    }
    let Some(scope) = scope(&args)? else {
        return Err(match &args.remove {
            Some(fingerprint) => for_what(fingerprint),
            None => unbounded(),
        });
    };
    let own = context.config_dirs().own().ok_or_else(|| {
        CommandError::failed("could not get the keystore: HOME is not set to an absolute path")
            .hint("name a directory with --user-config")
    })?;
    if let Some(fingerprint) = &args.remove {
        return remove(&keystore, own, &scope, fingerprint);
    }
    let insecure = context.insecure.for_keys(args.insecure_allow_http);
    let web = Web::new(context.config_dirs(), insecure)?;
    let locations = match (args.pubkeys.as_slice(), &scope) {
        ([], Scope::Root) => {
            return Err(CommandError::usage("error determining key location: empty prefix")
                .hint("name the file or URL of a key that is to be trusted for every image"));
        }
        ([], Scope::Prefix(prefix)) => {
            keys::discover(&web, prefix).during(|| "error determining key location".into())?
        }
        (given, _) => given.iter().map(|word| Location::given(word)).collect(),
    };
    let review = if args.skip_fingerprint_review { Review::Skip } else { Review::Ask };
    for location in locations {
        keys::add(&web, own, &scope, &location, review)?;
    }
    // What was just written must be usable.
    keystore.read()?;
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

/// A key may be trusted for several prefixes.
fn for_what(fingerprint: &str) -> CommandError {
    CommandError::usage(format!("--remove={fingerprint:?}: for which images is the key not to be trusted any longer?"))
        .hint("give --prefix=PREFIX, or --root; `proa trust --list` shows them")
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
