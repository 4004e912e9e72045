//! What a `run` line means: the pod that is wanted, before anything is read or made.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use appc::{AcName, Mount, Volume};
use fetch::ImageRef;
use pod::PodName;
use stage1::TerminalSize;
use stage1::supervise::{ExitPolicy, Restart};

use crate::error::{CommandError, Kind};
use crate::pull_policy::PullPolicy;

/// A pod to be run.
#[derive(Debug)]
pub(crate) struct PodRequest {
    /// Its unique name, if it is to have one.
    pub(crate) name: Option<PodName>,
    /// When the origin of an image is asked.
    pub(crate) policy: PullPolicy,
    /// How it lives and ends.
    /// Volumes that were declared.
    pub(crate) volumes: Vec<Volume>,
    /// Whether symbolic links in the sources of volumes are followed.
    pub(crate) follow_symlinks: bool,
    pub(crate) lifecycle: Lifecycle,
    /// Its apps, in the order in which they start.
    pub(crate) apps: Vec<AppRequest>,
}

/// How a pod lives and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lifecycle {
    /// Whether it has a monitor of its own, and the command returns when its apps are being started.
    pub(crate) detach: bool,
    /// Whether its app has the caller's input.
    pub(crate) interactive: bool,
    /// A terminal of this size for it instead.
    pub(crate) terminal: Option<TerminalSize>,
    /// Whether its directory stays when it has ended.
    pub(crate) keep: bool,
    /// Whether its apps are started again.
    pub(crate) restart: Restart,
    /// When it is over.
    pub(crate) exit_policy: ExitPolicy,
}

/// One app of it: an image and what is to be different from what the image says.
#[derive(Debug)]
pub(crate) struct AppRequest {
    /// Where the image comes from.
    pub(crate) image: ImageRef,
    /// The file with its signature; without it the one beside it.
    pub(crate) signature: Option<PathBuf>,
    /// The app's name; without it the last part of the image's.
    pub(crate) name: Option<AcName>,
    /// The executable, instead of the image's.
    pub(crate) exec: Option<String>,
    /// The words after `--`; `None` without `--`.
    pub(crate) args: Option<Vec<String>>,
    /// Variables that replace those of the image.
    pub(crate) environment: Vec<(String, String)>,
    /// The user, instead of the image's.
    pub(crate) user: Option<String>,
    /// The group, instead of the image's.
    pub(crate) group: Option<String>,
    /// The working directory, instead of the image's; absolute.
    pub(crate) working_directory: Option<String>,
    /// Whether its root file system is read-only.
    pub(crate) read_only_root: bool,
    /// Volumes to be mounted besides those that the image has mount points for.
    pub(crate) mounts: Vec<Mount>,
}

/// Variables beginning so are what proa tells the app about its pod (appc ace.md, Execution Environment).
const RESERVED_PREFIX: &str = "AC_";

/// An image as it was typed.
///
/// # Errors
///
/// It cannot be a reference to an image.
pub(crate) fn image(word: &OsStr) -> Result<ImageRef, CommandError> {
    let text = word.to_str().ok_or_else(|| not_utf8("image", word))?;
    text.parse::<ImageRef>().map_err(|error| CommandError { kind: Kind::Usage, ..CommandError::from(error) })
}

/// When an app is started again: `no`, `always`, `on-failure`, `on-failure:N`.
///
/// # Errors
///
/// It is none of these.
pub(crate) fn restart(text: &str) -> Result<Restart, CommandError> {
    let unknown =
        || CommandError::usage(format!("--restart={text:?}: not one of no, on-failure, on-failure:N, always"));
    match text.split_once(':') {
        Some(("on-failure", limit)) => {
            limit.parse().map(|limit| Restart::OnFailure(Some(limit))).map_err(|_| unknown())
        }
        None if text == "no" => Ok(Restart::No),
        None if text == "always" => Ok(Restart::Always),
        None if text == "on-failure" => Ok(Restart::OnFailure(None)),
        _ => Err(unknown()),
    }
}

/// The name of an app.
///
/// # Errors
///
/// It is not an AC name.
pub(crate) fn app_name(name: &str) -> Result<AcName, CommandError> {
    name.parse::<AcName>().map_err(|error| CommandError::usage(format!("--name={name:?}: {error}")))
}

/// The arguments of an app. A manifest is JSON: it cannot hold words that are not UTF-8.
///
/// # Errors
///
/// A word is not UTF-8.
pub(crate) fn args(words: Vec<OsString>) -> Result<Vec<String>, CommandError> {
    words.into_iter().map(|word| word.into_string().map_err(|word| not_utf8("argument", &word))).collect()
}

/// The volumes of a pod, each written as appc has it (`NAME,kind=host|empty,…`).
///
/// # Errors
///
/// One is malformed.
pub(crate) fn volumes(texts: &[String]) -> Result<Vec<Volume>, CommandError> {
    let volume = |text: &String| {
        let form = "a volume is written NAME,kind=host,source=/PATH[,readOnly=true] or NAME,kind=empty[,mode=0755]";
        text.parse().map_err(|error| CommandError::usage(format!("--volume={text:?}: {error}")).hint(form))
    };
    texts.iter().map(volume).collect()
}

/// Mounts, each written `volume=NAME,target=PATH`. A relative path begins at the app's root, as in rkt.
///
/// # Errors
///
/// One is malformed.
pub(crate) fn mounts(texts: &[String]) -> Result<Vec<Mount>, CommandError> {
    texts.iter().map(|text| mount(text)).collect()
}

fn mount(text: &str) -> Result<Mount, CommandError> {
    let refused = |why: String| {
        CommandError::usage(format!("--mount={text:?}: {why}")).hint("a mount is written volume=NAME,target=/PATH")
    };
    let mut mount = Mount::default();
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("volume", name)) if mount.volume.is_empty() => {
                mount.volume = name.parse().map_err(|error| refused(format!("volume {name:?}: {error}")))?;
            }
            Some(("target", path)) if mount.path.is_empty() && !path.is_empty() => {
                mount.path = format!("/{}", path.trim_start_matches('/'));
            }
            Some((key @ ("volume" | "target"), _)) => return Err(refused(format!("{key} must be given once"))),
            Some((key, _)) => return Err(refused(format!("unknown mount parameter {key:?}"))),
            None => return Err(refused(format!("{part:?} is not of the form KEY=VALUE"))),
        }
    }
    if mount.volume.is_empty() || mount.path.is_empty() {
        return Err(refused("volume and target must be given".to_owned()));
    }
    Ok(mount)
}

/// Splits each `NAME=VALUE`.
///
/// # Errors
///
/// A name is missing, not an identifier, given twice, or proa's own to set.
pub(crate) fn environment(variables: &[String]) -> Result<Vec<(String, String)>, CommandError> {
    let mut environment: Vec<(String, String)> = Vec::with_capacity(variables.len());
    for variable in variables {
        let refused = |why: &str| CommandError::usage(format!("--environment={variable:?}: {why}"));
        let (name, value) = variable.split_once('=').ok_or_else(|| refused("not of the form NAME=VALUE"))?;
        if !is_identifier(name) {
            return Err(refused("the name must be letters, digits and any of `_.-`, and not begin with a digit"));
        }
        if name.starts_with(RESERVED_PREFIX) {
            return Err(refused("variables beginning AC_ are set by proa and cannot be overridden"));
        }
        if environment.iter().any(|(other, _)| other == name) {
            return Err(refused("this variable is given twice"));
        }
        environment.push((name.to_owned(), value.to_owned()));
    }
    Ok(environment)
}

/// A working directory.
///
/// # Errors
///
/// It is not absolute (appc aci.md, workingDirectory).
pub(crate) fn working_directory(dir: String) -> Result<String, CommandError> {
    if dir.starts_with('/') {
        Ok(dir)
    } else {
        Err(CommandError::usage(format!("--working-dir={dir:?}: not an absolute path in the image")))
    }
}

/// Whether an environment variable may have this name (appc types, EnvironmentVariable: `^[A-Za-z_][A-Za-z_0-9.-]*$`).
fn is_identifier(name: &str) -> bool {
    let letter = |b: &u8| b.is_ascii_alphabetic() || *b == b'_';
    name.as_bytes().split_first().is_some_and(|(first, rest)| {
        letter(first) && rest.iter().all(|b| letter(b) || b.is_ascii_digit() || matches!(b, b'.' | b'-'))
    })
}

fn not_utf8(what: &str, word: &OsStr) -> CommandError {
    CommandError::usage(format!("{what} {word:?} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_keeps_order_and_splits_at_the_first_equals_sign() {
        let given = ["B=1", "a.b-c=x=y", "_=", "A= "].map(str::to_owned);
        let expected = [("B", "1"), ("a.b-c", "x=y"), ("_", ""), ("A", " ")];
        assert_eq!(environment(&given).unwrap(), expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    #[test]
    fn environment_refusals_name_the_variable() {
        for (given, why) in [
            (vec!["A"], "--environment=\"A\": not of the form NAME=VALUE"),
            (vec!["=x"], "--environment=\"=x\": the name must be letters"),
            (vec!["0A=x"], "--environment=\"0A=x\": the name must be letters"),
            (vec!["A B=x"], "--environment=\"A B=x\": the name must be letters"),
            (vec!["AC_APP_NAME=x"], "--environment=\"AC_APP_NAME=x\": variables beginning AC_ are set by proa"),
            (vec!["A=1", "A=2"], "--environment=\"A=2\": this variable is given twice"),
        ] {
            let given: Vec<String> = given.into_iter().map(str::to_owned).collect();
            let report = environment(&given).unwrap_err().report(None);
            assert!(report.starts_with(&format!("proa: {why}")), "{report}");
        }
    }

    #[test]
    fn mounts_name_a_volume_and_a_path() {
        let parsed = |text: &str| mount(text).map(|mount| format!("{}:{}", mount.volume, mount.path));
        assert_eq!(parsed("volume=v,target=/a/b").unwrap(), "v:/a/b");
        assert_eq!(parsed("target=dir1,volume=v").unwrap(), "v:/dir1");
        assert_eq!(parsed("volume=v,target=../../a=b").unwrap(), "v:/../../a=b");
        for (text, why) in [
            ("", "\"\" is not of the form KEY=VALUE"),
            ("v:/a", "\"v:/a\" is not of the form"),
            ("volume=v", "volume and target must be given"),
            ("target=/a", "volume and target must be given"),
            ("volume=v,target=", "target must be given once"),
            ("volume=v,target=/a,target=/b", "target must be given once"),
            ("volume=A,target=/a", "volume \"A\": "),
            ("volume=v,target=/a,readOnly=true", "unknown mount parameter \"readOnly\""),
        ] {
            let report = parsed(text).unwrap_err().report(None);
            assert!(report.starts_with(&format!("proa: --mount={text:?}: {why}")), "{report}");
        }
    }

    #[test]
    fn volumes_are_written_as_in_rkt() {
        let given = ["a,kind=empty,mode=0700,uid=5", "b,kind=host,source=/srv,readOnly=true"].map(str::to_owned);
        let shown: Vec<String> = volumes(&given).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(shown, given);
        let report = volumes(&["x,kind=host".to_owned()]).unwrap_err().report(None);
        assert!(report.starts_with("proa: --volume=\"x,kind=host\": source for host volume cannot be empty\nhint: "));
    }

    #[test]
    fn a_relative_working_directory_is_refused() {
        assert_eq!(working_directory("/srv".into()).unwrap(), "/srv");
        assert!(working_directory("srv".into()).is_err());
        assert!(working_directory(String::new()).is_err());
    }

    #[test]
    fn arguments_that_json_cannot_hold_are_refused() {
        use std::os::unix::ffi::OsStringExt;
        assert_eq!(args(vec!["a".into(), "".into()]).unwrap(), ["a", ""]);
        let report = args(vec![OsString::from_vec(vec![b'a', 0xff])]).unwrap_err().report(None);
        assert!(report.starts_with("proa: argument \"a\\xFF\" is not UTF-8\n"), "{report}");
    }
}
