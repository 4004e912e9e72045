//! `-v`, `--mount`, `--tmpfs` and `--volumes-from`: what docker mounts, as volumes of a pod and mounts of its app.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use appc::{AcName, Mount, Volume, VolumeKind};
use clap::Args;

use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::CommandError;
use crate::named_volumes::{Labels, NamedVolumes};

use scratch::Scratch;

mod inherited;
mod mount_text;
mod scratch;

// The options are flattened into those of `docker run`; a doc comment here would become its help text.
#[derive(Debug, Args)]
pub(crate) struct MountArgs {
    /// Bind mount a volume: [HOST_PATH|NAME:]PATH[:ro]
    #[arg(long, short, value_name = "VOLUME")]
    volume: Vec<String>,

    /// Attach a filesystem mount: type=bind|volume|tmpfs,source=…,target=…[,readonly]
    #[arg(long, value_name = "MOUNT")]
    mount: Vec<String>,

    /// Mount an empty file system in memory: PATH[:size=…,mode=…,uid=…,gid=…,exec,ro]
    #[arg(long, value_name = "PATH")]
    tmpfs: Vec<String>,

    /// Mount what another container mounts of the host, and its named volumes: CONTAINER[:ro]
    #[arg(long, value_name = "CONTAINER")]
    volumes_from: Vec<String>,
}

/// Begins the names of what these options mount.
const NAMES: &str = "mount-";

/// Where a mount's content comes from.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Host(String),
    Named(String),
    Empty,
    /// A file system in memory.
    Scratch(Scratch),
}

#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    source: Source,
    target: String,
    read_only: bool,
    /// Whether a named volume that is empty begins with what the image has there.
    copies: bool,
    /// The labels of a named volume that is made for this.
    labels: Labels,
}

/// What a container mounts.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// Whether something of the host's is among them that is not read-only. Named volumes are none.
    pub(super) writes_to_host: bool,
    /// What is mounted where.
    pub(super) mounts: Vec<Mount>,
    /// Paths of those into which the image's content is copied while they are empty.
    pub(super) filled: Vec<String>,
    /// Paths of those that begin as the image's content.
    pub(super) content: Vec<String>,
    /// As long as these are open, nobody removes its named volumes.
    pub(super) held: Vec<OwnedFd>,
    /// Paths of file systems in memory, and their options.
    pub(super) memory: BTreeMap<String, String>,
}

impl MountArgs {
    /// Declares the volumes in `volumes`, making named ones that are not there yet.
    ///
    /// # Errors
    ///
    /// An option makes no sense; a named volume cannot be made.
    pub(super) fn declare(&self, context: &Context, volumes: &mut Vec<Volume>) -> Result<Mounts, CommandError> {
        let mut wanted = self.volume.iter().map(|text| bind(text)).collect::<Result<Vec<_>, _>>()?;
        wanted.extend(self.mount.iter().map(|text| mount_text::parse(text)).collect::<Result<Vec<_>, _>>()?);
        wanted.extend(self.tmpfs.iter().map(|text| scratch::parse(text)).collect::<Result<Vec<_>, _>>()?);
        for wanted in &mut wanted {
            wanted.target = clean(&wanted.target)?;
        }
        // What is said of a path counts more than what another container has there.
        let inherited = inherited::of(context, &self.volumes_from)?;
        let is_free = |it: &Wanted| !wanted.iter().any(|wanted| wanted.target == it.target);
        let inherited: Vec<Wanted> = inherited.into_iter().filter(is_free).collect();
        wanted.extend(inherited);
        declare(context, wanted, volumes)
    }
}

fn declare(context: &Context, wanted: Vec<Wanted>, volumes: &mut Vec<Volume>) -> Result<Mounts, CommandError> {
    let mut all = Mounts::default();
    let mut anonymous = Vec::new();
    for Wanted { source, target, read_only, copies, labels } in wanted {
        if all.mounts.iter().any(|mount| mount.path == target) {
            return Err(CommandError::failed(format!("Duplicate mount point: {target}")));
        }
        let name: AcName = format!("{NAMES}{}", volumes.len()).parse().expect("it is letters, a dash and digits");
        let kind = match source {
            Source::Empty => {
                anonymous.extend(copies.then(|| target.clone()));
                Volume::empty(name.clone()).kind
            }
            Source::Scratch(Scratch { mode, uid, gid, tmpfs }) => {
                all.memory.insert(target.clone(), tmpfs.to_string());
                VolumeKind::Empty { mode: format!("{mode:04o}"), uid: uid.into(), gid: gid.into() }
            }
            Source::Host(source) => {
                all.writes_to_host |= !read_only;
                VolumeKind::Host { source, recursive: None }
            }
            Source::Named(volume) => {
                let (path, held) = NamedVolumes::create(context)?.hold(&volume, &labels)?;
                all.held.push(held);
                all.filled.extend(copies.then(|| target.clone()));
                let source = path.into_os_string().into_string();
                let source = source.map_err(|path| CommandError::failed(format!("{path:?} is not UTF-8")))?;
                VolumeKind::Host { source, recursive: None }
            }
        };
        volumes.push(Volume { kind, read_only: read_only.then_some(true), ..Volume::empty(name.clone()) });
        all.mounts.push(Mount { volume: name, path: target, app_volume: None });
    }
    // What lies in another volume cannot be the image's own directory.
    let is_inside = |path: &String| {
        let within = |mount: &Mount| path.strip_prefix(&mount.path).is_some_and(|rest| rest.starts_with('/'));
        all.mounts.iter().any(within)
    };
    let (inside, outside): (Vec<_>, Vec<_>) = anonymous.into_iter().partition(is_inside);
    all.filled.extend(inside);
    all.content.extend(outside);
    Ok(all)
}

/// An absolute path without dots and needless slashes, as docker takes it.
fn clean(target: &str) -> Result<String, CommandError> {
    if !target.starts_with('/') {
        return Err(CommandError::usage(format!("invalid mount path: {target:?}: mount path must be absolute")));
    }
    let mut parts = Vec::new();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        return Err(CommandError::usage(format!(
            "invalid volume specification: {target:?}: invalid specification: destination can't be '/'"
        )));
    }
    Ok(format!("/{}", parts.join("/")))
}

/// `[SOURCE:]TARGET[:OPTIONS]`.
fn bind(text: &str) -> Result<Wanted, CommandError> {
    let invalid = || CommandError::usage(format!("invalid volume specification: {text:?}"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => ("", *target, ""),
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return Err(invalid()),
    };
    if target.is_empty() || (parts.len() > 1 && source.is_empty()) {
        return Err(invalid());
    }
    let (mut read_only, mut copies) = (false, true);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "readonly" => read_only = true,
            "nocopy" => copies = false,
            // Labels and caches of others.
            "rw" | "z" | "Z" | "consistent" | "cached" | "delegated" => {}
            _ if is_propagation(&format!("-v {text}"), option) => {}
            _ => return Err(CommandError::usage(format!("invalid mode: {option} in {text:?}"))),
        }
    }
    let labels = Labels::new();
    Ok(Wanted { source: source_of(source)?, target: target.to_owned(), read_only, copies, labels })
}

/// Whether this says how mounts are passed on between the host and the container: they are not, and what else is wanted
/// is told.
fn is_propagation(option: &str, value: &str) -> bool {
    let others = ["shared", "rshared", "slave", "rslave"].contains(&value);
    if others {
        warn(&format!("{option}: {value} is not held: what is mounted later on the host is not seen"));
    }
    others || matches!(value, "private" | "rprivate")
}

/// A path, absolute or relative with a dot, or the name of a volume.
fn source_of(text: &str) -> Result<Source, CommandError> {
    if text.is_empty() {
        return Ok(Source::Empty);
    }
    if text.starts_with('/') {
        return Ok(Source::Host(text.to_owned()));
    }
    if text.starts_with('.') {
        let path = std::path::absolute(text).map_err(CommandError::from)?;
        return Ok(Source::Host(path.to_string_lossy().into_owned()));
    }
    Ok(Source::Named(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(wanted: Result<Wanted, CommandError>) -> String {
        match wanted {
            Ok(Wanted { source, target, read_only, copies: true, .. }) => format!("{source:?} {target} {read_only}"),
            Ok(Wanted { source, target, read_only, .. }) => format!("{source:?} {target} {read_only} nocopy"),
            Err(error) => error.chain(),
        }
    }

    #[test]
    fn targets_are_cleaned() {
        for (target, cleaned) in [("/a", "/a"), ("/a/", "/a"), ("//a/./b/../c", "/a/c"), ("/../a", "/a")] {
            assert_eq!(clean(target).unwrap(), cleaned);
        }
        for bad in ["a", "", "/", "/..", "/a/.."] {
            assert!(clean(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn binds() {
        for (text, expected) in [
            ("/a:/b", "Host(\"/a\") /b false"),
            ("/a:/b:ro", "Host(\"/a\") /b true"),
            ("/a:/b:rw,z", "Host(\"/a\") /b false"),
            ("data:/b", "Named(\"data\") /b false"),
            ("data:/b:nocopy", "Named(\"data\") /b false nocopy"),
            ("/b", "Empty /b false"),
            (":/b", "invalid volume specification: \":/b\""),
            ("/a:", "invalid volume specification: \"/a:\""),
            ("a:b:c:d", "invalid volume specification: \"a:b:c:d\""),
            ("/a:/b:rx", "invalid mode: rx in \"/a:/b:rx\""),
        ] {
            assert_eq!(shown(bind(text)), expected);
        }
    }
}
