//! An OCI image's config as an appc image manifest.

use std::collections::BTreeSet;

use appc::environment::EnvironmentError;
use appc::name::NameError;
use appc::platform::PlatformError;
use appc::{AcIdentifier, AcName, Annotations, App, Environment, ImageManifest, Labels, MountPoint, Port};

use super::image::{OciConfig, OciImage};
use crate::quote::Quoted;

/// Annotation: the entrypoint as a JSON array of strings (docker2aci's name for it). With [`CMD`] it lets arguments
/// replace the one and keep the other.
pub const ENTRYPOINT: &str = "appc.io/docker/entrypoint";

/// Annotation: the default arguments as a JSON array of strings (docker2aci's name for it).
pub const CMD: &str = "appc.io/docker/cmd";

/// Annotation: the config's `User` where it names no group. OCI then wants the user's groups of the image's
/// /etc/passwd and /etc/group, and group 0 where there is no such user; `group` in the manifest is that 0.
pub const USER: &str = "proa.local/oci/user";

/// Annotation: the signal that asks the app to end, as written.
pub const STOP_SIGNAL: &str = "proa.local/oci/stop-signal";

/// Annotation: the health check, as JSON in docker's form. The image specification has none; docker's images have.
pub const HEALTHCHECK: &str = "proa.local/oci/healthcheck";

/// Annotation: variables whose names appc does not allow, as a JSON array of strings `NAME=VALUE`.
const ENVIRONMENT: &str = "proa.local/environment";

/// The most volumes, or ports, of one image.
const MAX_ITEMS: usize = 256;

/// The most characters of a name that came with an image; as much as a file name can have.
const MAX_NAME: usize = 255;

/// The most characters of a tag (distribution-spec, Pull).
const MAX_TAG: usize = 128;

/// Why a config cannot be mapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MappingError {
    /// A string that goes to the kernel holds a NUL.
    #[error("{field} {text} holds a NUL")]
    Nul {
        /// The field of the config.
        field: &'static str,
        /// The value.
        text: Quoted,
    },
    /// An `Env` entry without `=`.
    #[error("Env {0} is not of the form NAME=VALUE")]
    Env(Quoted),
    /// An `Env` entry whose name appc does not allow.
    #[error("bad Env in the config")]
    Environment(#[from] EnvironmentError),
    /// A volume at the root itself.
    #[error("volume {0} is the root directory")]
    RootVolume(Quoted),
    /// Something that is no `PORT[-PORT][/PROTOCOL]`.
    #[error("exposed port {0} is not of the form PORT[/PROTOCOL]")]
    Port(Quoted),
    /// More volumes or ports than anything real has.
    #[error("the config has {count} {field}, the limit is {MAX_ITEMS}")]
    TooMany {
        /// The field of the config.
        field: &'static str,
        /// How many there are.
        count: usize,
    },
    /// The platform has no name in appc.
    #[error("platform of the image")]
    Platform(#[from] PlatformError),
    /// No appc name could be made.
    #[error("name {text}")]
    Name {
        /// The text it would be made from.
        text: Quoted,
        /// What is wrong with it.
        source: NameError,
    },
}

/// Maps an image's config to an appc manifest, as docker2aci did: `exec` is entrypoint and command, volumes become
/// mount points and exposed ports ports. Paths are made absolute and free of `..`.
///
/// # Errors
/// [`MappingError`] names the field that makes no sense. What an appc manifest has no place for (the history)
/// is left out; it is still in [`OciImage::config`].
pub fn to_app(image: &OciImage) -> Result<ImageManifest, MappingError> {
    let config = &image.config_section;
    let text: String = image.name.chars().take(MAX_NAME).collect();
    // A directory may have a name without a single letter or digit that appc knows.
    let name = AcIdentifier::sanitize(&text).or_else(|_| identifier("image"))?;
    let (user, group) = user_and_group(&config.user);
    let (environment, odd) = environment(&config.env)?;
    let app = App {
        exec: config.entrypoint.iter().chain(&config.cmd).cloned().collect(),
        user: user.to_owned(),
        group: group.unwrap_or("0").to_owned(),
        working_directory: (!config.working_dir.is_empty()).then(|| absolute(&config.working_dir)),
        environment,
        mount_points: mount_points(&config.volumes)?,
        ports: ports(&config.exposed_ports)?,
        user_labels: config.labels.clone(),
        ..App::default()
    };
    for (field, texts) in [("Entrypoint or Cmd", &app.exec), ("User", &vec![config.user.clone()])] {
        texts.iter().try_for_each(|text| no_nul(field, text))?;
    }
    no_nul("WorkingDir", &config.working_dir)?;
    Ok(ImageManifest {
        labels: labels(image)?,
        app: Some(app),
        annotations: annotations(config, group.is_none(), &odd)?,
        ..ImageManifest::new(name)
    })
}

fn labels(image: &OciImage) -> Result<Labels, MappingError> {
    let (os, arch) = appc::platform::from_go(&image.os, &image.architecture, "")?;
    let mut labels = Labels::default();
    labels.set(identifier("os")?, os);
    labels.set(identifier("arch")?, arch);
    let tag = image.tag.as_deref().filter(|tag| tag.chars().count() <= MAX_TAG && !tag.contains(char::is_control));
    if let Some(tag) = tag {
        labels.set(identifier("version")?, tag);
    }
    Ok(labels)
}

fn annotations(config: &OciConfig, groupless: bool, odd: &[String]) -> Result<Annotations, MappingError> {
    let mut annotations = Annotations::default();
    let array = |words: &[String]| serde_json::Value::from(words).to_string();
    annotations.set(identifier(ENTRYPOINT)?, array(&config.entrypoint));
    annotations.set(identifier(CMD)?, array(&config.cmd));
    if groupless && !config.user.is_empty() {
        annotations.set(identifier(USER)?, config.user.clone());
    }
    if !odd.is_empty() {
        annotations.set(identifier(ENVIRONMENT)?, array(odd));
    }
    if let Some(signal) = &config.stop_signal {
        annotations.set(identifier(STOP_SIGNAL)?, signal.clone());
    }
    if let Some(check) = &config.healthcheck {
        no_nul("Healthcheck", check)?;
        annotations.set(identifier(HEALTHCHECK)?, check.clone());
    }
    Ok(annotations)
}

fn identifier(text: &str) -> Result<AcIdentifier, MappingError> {
    text.parse().map_err(|source| MappingError::Name { text: Quoted::new(text), source })
}

fn ac_name(text: &str) -> Result<AcName, MappingError> {
    let short: String = text.chars().take(MAX_NAME).collect();
    AcName::sanitize(&short).map_err(|source| MappingError::Name { text: Quoted::new(text), source })
}

/// Splits `user[:group]`; an empty user is root, an empty group none.
fn user_and_group(text: &str) -> (&str, Option<&str>) {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    (if user.is_empty() { "0" } else { user }, group.filter(|group| !group.is_empty()))
}

fn no_nul(field: &'static str, text: &str) -> Result<(), MappingError> {
    if text.contains('\0') { Err(MappingError::Nul { field, text: Quoted::new(text) }) } else { Ok(()) }
}

/// A later value of the same name wins, as it does for `execve` users that build a map. Entries whose names appc does not
/// allow come apart from the others.
fn environment(entries: &[String]) -> Result<(Environment, Vec<String>), MappingError> {
    let (mut environment, mut odd) = (Environment::default(), Vec::new());
    for entry in entries {
        no_nul("Env", entry)?;
        let (name, value) = entry.split_once('=').ok_or_else(|| MappingError::Env(Quoted::new(entry)))?;
        let one: Environment = [(name.to_owned(), String::new())].into_iter().collect();
        match one.validate() {
            Ok(()) => environment.set(name, value),
            Err(EnvironmentError::BadName { .. }) => odd.push(entry.clone()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok((environment, odd))
}

fn mount_points(volumes: &[String]) -> Result<Vec<MountPoint>, MappingError> {
    at_most("volumes", volumes.len())?;
    let paths: BTreeSet<String> = volumes.iter().map(|path| absolute(path)).collect();
    let mut names = BTreeSet::new();
    let mut mount_points = Vec::with_capacity(paths.len());
    for path in paths {
        no_nul("volume", &path)?;
        if path == "/" {
            return Err(MappingError::RootVolume(Quoted::new(&path)));
        }
        let base = ac_name(&format!("volume{path}"))?;
        let mut name = base.clone();
        // Different paths may have the same letters and digits.
        let mut count = 1;
        while !names.insert(name.clone()) {
            count += 1;
            name = ac_name(&format!("{base}-{count}"))?;
        }
        mount_points.push(MountPoint { name, path, read_only: false });
    }
    Ok(mount_points)
}

fn ports(exposed: &[String]) -> Result<Vec<Port>, MappingError> {
    at_most("exposed ports", exposed.len())?;
    let mut seen = BTreeSet::new();
    let mut ports = Vec::with_capacity(exposed.len());
    for text in exposed {
        let port = port(text).ok_or_else(|| MappingError::Port(Quoted::new(text)))?;
        // `80` and `80/tcp` are the same port.
        if seen.insert((port.port, port.count, port.protocol.clone())) {
            ports.push(port);
        }
    }
    Ok(ports)
}

fn port(text: &str) -> Option<Port> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if !matches!(protocol, "tcp" | "udp" | "sctp") {
        return None;
    }
    let number = |text: &str| -> Option<u16> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|port| digits && *port > 0)
    };
    let (first, last) = match numbers.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(numbers)?, number(numbers)?),
    };
    let count = last.checked_sub(first)?.checked_add(1)?;
    let name = AcName::sanitize(&format!("{numbers}-{protocol}")).ok()?;
    Some(Port { name, protocol: protocol.to_owned(), port: first, count, socket_activated: false })
}

fn at_most(field: &'static str, count: usize) -> Result<(), MappingError> {
    if count > MAX_ITEMS { Err(MappingError::TooMany { field, count }) } else { Ok(()) }
}

/// `path` from the root, with `.`, `..` and empty components resolved by text: whatever it says, it stays inside
/// (CVE-2022-23648). Links are the runner's business.
fn absolute(path: &str) -> String {
    let mut components: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(components.pop()),
            name => components.push(name),
        }
    }
    format!("/{}", components.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for (path, expected) in [
            ("/data", "/data"),
            ("data/", "/data"),
            ("", "/"),
            ("/../../canary", "/canary"),
            ("a/./b/../c//d", "/a/c/d"),
            ("/a/../..", "/"),
            ("/a/...", "/a/..."),
        ] {
            assert_eq!(absolute(path), expected, "{path}");
        }
    }

    #[test]
    fn users() {
        for (text, expected) in [
            ("", ("0", None)),
            ("app", ("app", None)),
            ("1000", ("1000", None)),
            ("1000:", ("1000", None)),
            (":5", ("0", Some("5"))),
            ("app:staff", ("app", Some("staff"))),
            ("a:b:c", ("a", Some("b:c"))),
        ] {
            assert_eq!(user_and_group(text), expected, "{text}");
        }
    }

    #[test]
    fn exposed_ports() {
        let parsed = |text| port(text).map(|port| (port.name.to_string(), port.port, port.count));
        assert_eq!(parsed("80"), Some(("80-tcp".into(), 80, 1)));
        assert_eq!(parsed("53/udp"), Some(("53-udp".into(), 53, 1)));
        assert_eq!(parsed("8000-8010/tcp"), Some(("8000-8010-tcp".into(), 8000, 11)));
        assert_eq!(parsed("1-65535/tcp"), Some(("1-65535-tcp".into(), 1, 65535)));
        for bad in ["", "0", "65536", "-1", "+80", "80/", "80/icmp", "80/TCP", "9-8", "http", "80/tcp/udp", "8 0"] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
        let twice = ports(&["80".into(), "80/tcp".into(), "80/udp".into()]).unwrap();
        assert_eq!(twice.len(), 2);
    }

    #[test]
    fn environment_entries_need_a_name_and_a_value() {
        let map = |entries: &[&str]| environment(&entries.iter().map(ToString::to_string).collect::<Vec<_>>());
        let (good, odd) = map(&["A=1", "conf.mod=x=y", "B=", "A=2", "1A=x", "server-block=a\nb", "A B=x"]).unwrap();
        assert_eq!(odd, ["1A=x", "A B=x"]);
        assert_eq!((good.get("A"), good.get("conf.mod"), good.get("B")), (Some("2"), Some("x=y"), Some("")));
        assert!(matches!(map(&["HOME"]), Err(MappingError::Env(_))));
        assert!(matches!(map(&["=x"]), Err(MappingError::Environment(EnvironmentError::NameEmpty))));
        assert!(matches!(map(&["A=\0"]), Err(MappingError::Nul { field: "Env", .. })));
    }

    #[test]
    fn volumes_have_distinct_names_and_stay_off_the_root() {
        let map = |paths: &[&str]| mount_points(&paths.iter().map(ToString::to_string).collect::<Vec<_>>());
        let points = map(&["/var/lib/x", "/var_lib/x", "/var/lib/x/", "/Data"]).unwrap();
        let names: Vec<_> = points.iter().map(|point| (point.name.as_str(), point.path.as_str())).collect();
        let expected =
            [("volume-data", "/Data"), ("volume-var-lib-x", "/var/lib/x"), ("volume-var-lib-x-2", "/var_lib/x")];
        assert_eq!(names, expected);
        for root in ["/", "", "..", "/a/.."] {
            assert!(matches!(map(&[root]), Err(MappingError::RootVolume(_))), "{root}");
        }
        let many: Vec<String> = (0..=MAX_ITEMS).map(|n| format!("/{n}")).collect();
        assert!(matches!(mount_points(&many), Err(MappingError::TooMany { count: 257, .. })));
    }
}
