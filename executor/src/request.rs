//! What a `run` line means: the pod that is wanted, before anything is read or made.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use appc::{AcName, ExposedPort, Isolator, Mount, PodManifest, Volume};
use fetch::ImageRef;
use pod::PodName;
use stage1::TerminalSize;
use stage1::isolators::net_admin::NetAdmin;
use stage1::supervise::{ExitPolicy, Restart};

use crate::annotations::Remarks;
use crate::app_isolators::Given;
use crate::environment::PodEnvironment;
use crate::error::{CommandError, Kind};
use crate::net::NetChoice;
use crate::protection::{Landlock, Profile};
use crate::pull_policy::Pulling;
use crate::seccomp_profile::SeccompProfile;
use crate::setup::Life;
use crate::userns::Userns;
use crate::uuid_file::UuidFile;

/// A pod to be run.
#[derive(Debug, Default)]
pub(crate) struct PodRequest {
    /// Its unique name, if it is to have one.
    pub(crate) name: Option<PodName>,
    /// When the origin of an image is asked, and what is told of that.
    pub(crate) pulling: Pulling,
    /// How it lives and ends.
    pub(crate) lifecycle: Lifecycle,
    /// Volumes that were declared.
    pub(crate) volumes: Vec<Volume>,
    /// Whether symbolic links in the sources of volumes are followed.
    pub(crate) follow_symlinks: bool,
    /// How its ids are mapped.
    pub(crate) userns: Userns,
    /// Its network, if anything was said of it.
    pub(crate) net: Option<NetChoice>,
    /// Ports of the host that lead into it.
    pub(crate) ports: Vec<ExposedPort>,
    /// Isolators of the pod as a whole.
    pub(crate) isolators: Vec<Isolator>,
    /// How its apps are protected.
    pub(crate) profile: Profile,
    /// What Landlock guards.
    pub(crate) landlock: Landlock,
    /// Which apps have rights over its network.
    pub(crate) net_admin: NetAdmin,
    /// Whether all its apps have them, whatever their names, if it has a network of its own.
    pub(crate) all_net_admins: bool,
    /// Whether what would be narrowed, ignored or made up is refused.
    pub(crate) strict: bool,
    /// Whether its apps have ContainerSSH's agent; without a word those whose images ask for it.
    pub(crate) guest_agent: Option<bool>,
    /// Variables for all apps.
    pub(crate) environment: PodEnvironment,
    /// What is said of the pod.
    pub(crate) remarks: Remarks,
    /// Its apps, in the order in which they start.
    pub(crate) apps: Vec<AppRequest>,
    /// The pod manifest that takes the place of all these, but for name and strictness.
    pub(crate) template: Option<Template>,
}

/// A pod manifest that somebody wrote.
#[derive(Debug)]
pub(crate) struct Template {
    /// Where it was read from.
    pub(crate) file: PathBuf,
    /// It, perhaps with open questions.
    pub(crate) manifest: PodManifest,
}

/// How a pod lives and ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lifecycle {
    /// Whether it has a monitor of its own, and the command returns when its apps run.
    pub(crate) detach: bool,
    /// Whether its app has the caller's input, and a terminal if the caller sits at one.
    pub(crate) interactive: bool,
    /// Whether its only app has the caller's streams through a supervisor that keeps logs of them; whether it has a
    /// terminal is then said below.
    pub(crate) attached: bool,
    /// A terminal of this size for it.
    pub(crate) terminal: Option<TerminalSize>,
    /// What kind of terminal its apps are told to have; without it the caller's.
    pub(crate) term: Option<&'static str>,
    /// Whether its directory stays when it has ended.
    pub(crate) keep: bool,
    /// Whether its apps are started again.
    pub(crate) restart: Restart,
    /// When it is over.
    pub(crate) exit_policy: ExitPolicy,
    /// The host name inside; without it the pod's name, or one made of its UUID.
    pub(crate) hostname: Option<String>,
    /// Whether docker's rules hold for the host's name: it is the beginning of the container's id unless another was chosen,
    /// and every app finds it in the variable HOSTNAME.
    pub(crate) host_is_named: bool,
    /// The file that tells which pod it is.
    pub(crate) uuid_file: Option<UuidFile>,
    /// What is written down of this for who starts it later.
    pub(crate) life: Option<Life>,
}

impl Lifecycle {
    /// Whether the process that runs the pod is the one that was asked to: it has no monitor of its own.
    pub(crate) fn is_here(&self) -> bool {
        !self.detach && !self.interactive && !self.attached
    }
}

/// One app of it: an image and what is to be different from what the image says.
#[derive(Debug, PartialEq, Eq)]
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
    /// Further groups, instead of the image's.
    pub(crate) supplementary_gids: Option<Vec<i64>>,
    /// The working directory, instead of the image's; absolute.
    pub(crate) working_directory: Option<String>,
    /// Whether its root file system is read-only.
    pub(crate) read_only_root: bool,
    /// Volumes to be mounted besides those that the image has mount points for.
    pub(crate) mounts: Vec<Mount>,
    /// Isolators instead of the image's.
    pub(crate) isolators: Vec<Given>,
    /// Its filter of system calls, in place of any isolator's.
    pub(crate) seccomp_profile: Option<SeccompProfile>,
    /// What is said of it.
    pub(crate) remarks: Remarks,
}

impl AppRequest {
    /// An image as it stands.
    pub(crate) fn of(image: ImageRef) -> Self {
        Self {
            image,
            signature: None,
            name: None,
            exec: None,
            args: None,
            environment: Vec::new(),
            user: None,
            group: None,
            supplementary_gids: None,
            working_directory: None,
            read_only_root: false,
            mounts: Vec::new(),
            isolators: Vec::new(),
            seccomp_profile: None,
            remarks: Remarks::default(),
        }
    }
}

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

/// When a pod is over: `failure`, `any`, `all`, `never`.
///
/// # Errors
///
/// It is none of these.
pub(crate) fn exit_policy(text: &str) -> Result<ExitPolicy, CommandError> {
    Ok(match text {
        "failure" => ExitPolicy::Failure,
        "any" => ExitPolicy::Any,
        "all" => ExitPolicy::All,
        "never" => ExitPolicy::Never,
        _ => {
            return Err(CommandError::usage(format!("--exit-policy={text:?}: not one of failure, any, all, never")));
        }
    })
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

/// Supplementary groups, written `GID,GID`.
///
/// # Errors
///
/// One is no group id.
pub(crate) fn gids(list: &str) -> Result<Vec<i64>, CommandError> {
    let gid = |text: &str| {
        let refused = || CommandError::usage(format!("--supplementary-gids={list:?}: {text:?} is not a group id"));
        text.parse::<u32>().ok().filter(|gid| *gid != u32::MAX).map(i64::from).ok_or_else(refused)
    };
    list.split(',').map(gid).collect()
}

/// A host name, as hostname(7) has it.
///
/// # Errors
///
/// It is longer than 64 bytes (sethostname(2)), or has characters that no host name has.
pub(crate) fn hostname(name: String) -> Result<String, CommandError> {
    let labels = || name.split('.').all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'));
    let characters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    if name.len() <= 64 && characters && labels() {
        Ok(name)
    } else {
        let form = "a host name is up to 64 letters, digits, dashes and dots";
        Err(CommandError::usage(format!("--hostname={name:?}: not a host name")).hint(form))
    }
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

fn not_utf8(what: &str, word: &OsStr) -> CommandError {
    CommandError::usage(format!("{what} {word:?} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn host_names() {
        let good = ["a", "web-1", "db.example.com", "4", &"x".repeat(64)].map(str::to_owned);
        assert!(good.into_iter().all(|name| hostname(name).is_ok()));
        let bad = ["", "-a", "a-", "a..b", ".", "a b", "ü", "a_b", "a\n", &"x".repeat(65)].map(str::to_owned);
        assert!(bad.into_iter().all(|name| hostname(name).is_err()));
    }

    #[test]
    fn supplementary_groups() {
        assert_eq!(gids("5,0,100").unwrap(), [5, 0, 100]);
        for bad in ["", "5,", "-1", "staff", "4294967295", "5 ,6"] {
            assert!(gids(bad).is_err(), "{bad:?}");
        }
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
