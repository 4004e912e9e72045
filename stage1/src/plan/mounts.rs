//! Which volumes an app gets, where, and with which attributes (appc pods.md, "mounts"; ace.md, "Volume Setup").

use std::collections::BTreeMap;

use appc::{App, MountPoint, PodManifest, RuntimeApp, Volume, VolumeKind};
use sys::mount::MountAttr;

use super::ids::{is_in, ranges, shown};
use super::keep_id::KeepId;
use super::tmpfs::{self, Tmpfs};
use super::{DOCKERS_RULES, FILLED, IMAGE_CONTENT, PlanError, PodOptions, SourceKind, strings};
use crate::idmap::{IdMapping, Tier};
use crate::op::{Op, Slot};

/// One mount of an app.
#[derive(Debug)]
pub(super) struct Mount {
    /// Index of the volume in the pod manifest.
    volume: usize,
    name: String,
    attr: MountAttr,
    place: Place,
    /// Whether it may lie in another mount of the app.
    nested: bool,
}

#[derive(Debug)]
enum Place {
    /// Path in the app's root, for a volume of the host or one of the pod's own directories.
    Root { path: String, recursive: bool, own: bool, owner: Option<(u32, u32)>, filled: bool },
    /// Path below the app's /dev, for a device node.
    Dev(String),
    /// Path in the app's root, for a file system in memory.
    Memory { path: String, options: Vec<(&'static str, String)> },
    /// Path in the app's root whose content is the volume.
    Content(String),
}

impl Mount {
    /// What is done while the host's files are in reach.
    pub(super) fn build(&self, mount: usize) -> Vec<Op> {
        let (volume, attr) = (self.volume, self.attr);
        match &self.place {
            Place::Root { recursive, owner, path, filled, .. } => {
                let own = owner.map(|(uid, gid)| Op::OwnVolume { volume, uid, gid });
                let fill = filled.then(|| Op::FillVolume { volume, path: path.clone() });
                let bind = Op::BindVolume { volume, recursive: *recursive, attr, mount };
                own.into_iter().chain(fill).chain([bind]).collect()
            }
            Place::Memory { options, .. } => {
                vec![Op::NewFs { fs: "tmpfs", options: options.clone(), attr, slot: Slot::Volume(mount) }]
            }
            Place::Dev(_) => vec![Op::BindVolume { volume, recursive: false, attr, mount }],
            Place::Content(_) => vec![],
        }
    }

    /// What is done in the app's own mount namespace.
    pub(super) fn enter(&self, mount: usize) -> Op {
        match &self.place {
            &Place::Root { ref path, own, .. } => {
                let (name, nested) = (self.name.clone(), self.nested);
                Op::AttachVolume { mount, name, path: path.clone(), nested, own }
            }
            Place::Memory { path, .. } => {
                let (name, nested) = (self.name.clone(), self.nested);
                Op::AttachVolume { mount, name, path: path.clone(), nested, own: true }
            }
            Place::Dev(path) => Op::AttachDevice { mount, path: path.clone() },
            Place::Content(path) => Op::KeepContent { mount, path: path.clone(), attr: self.attr },
        }
    }

    /// Where it is.
    fn path(&self) -> String {
        match &self.place {
            Place::Root { path, .. } | Place::Memory { path, .. } | Place::Content(path) => path.clone(),
            Place::Dev(path) => format!("/dev/{path}"),
        }
    }
}

/// For each volume, whether it is one of the pod's own directories.
pub(super) fn own_volumes(manifest: &PodManifest, sources: &[Option<SourceKind>]) -> Result<Vec<bool>, PlanError> {
    let own = |(index, volume): (usize, &Volume)| match volume.kind {
        VolumeKind::Empty { .. } => Ok(true),
        VolumeKind::Host { .. } => match sources.get(index) {
            Some(Some(_)) => Ok(false),
            _ => Err(PlanError::NoSource(volume.name.to_string())),
        },
    };
    manifest.volumes.iter().enumerate().map(own).collect()
}

/// The app's mounts: those of the pod manifest, and the image's mount points that a volume of the same name satisfies.
pub(super) fn of(
    manifest: &PodManifest,
    runtime: &RuntimeApp,
    app: &App,
    surroundings: &Surroundings<'_>,
) -> Result<Vec<Mount>, PlanError> {
    let explicit = runtime.mounts.iter().map(|mount| (mount.volume.as_str(), mount.path.as_str()));
    let covered = |point: &&MountPoint| runtime.mounts.iter().all(|mount| !same_path(&mount.path, &point.path));
    let named = app.mount_points.iter().filter(covered).map(|point| (point.name.as_str(), point.path.as_str()));
    let (content, filled) = (strings(runtime, IMAGE_CONTENT), strings(runtime, FILLED));
    let nested = are_dockers(runtime);
    let memory = tmpfs::of(runtime)?;
    let context =
        Context { manifest, runtime, app, surroundings, nested, content: &content, filled: &filled, memory: &memory };
    let mounts = explicit.chain(named).map(|(volume, path)| context.mount(volume, path));
    let mut mounts: Vec<Mount> = mounts.collect::<Result<_, _>>()?;
    refuse_overlaps(runtime.name.as_str(), &mounts, nested)?;
    if nested {
        // What lies in another comes after it, in whatever order they were asked for.
        mounts.sort_by_cached_key(|mount| mount.path().split('/').map(str::to_owned).collect::<Vec<_>>());
    }
    Ok(mounts)
}

/// Whether docker's rules hold for the app.
pub(super) fn are_dockers(runtime: &RuntimeApp) -> bool {
    runtime.annotations.get(DOCKERS_RULES) == Some("true")
}

/// What counts beside the manifest.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    sources: &'a [Option<SourceKind>],
    mapping: &'a IdMapping,
    tier: Tier,
    keep_id: Option<&'a KeepId>,
}

impl<'a> Surroundings<'a> {
    pub(super) fn new(options: &PodOptions<'a>, keep_id: Option<&'a KeepId>) -> Self {
        Self { sources: options.sources, mapping: options.mapping, tier: options.mapping.tier(), keep_id }
    }

    /// What ids of the app are among those of the pod.
    fn in_pod(&self, ids: (u32, u32)) -> (u32, u32) {
        match self.keep_id {
            Some(keep) if self.tier != Tier::Single => keep.in_pod(self.tier, ids),
            // There is one id alone, which the app's root would have as well.
            Some(keep) => (if ids.0 == keep.uid { 0 } else { ids.0 }, if ids.1 == keep.gid { 0 } else { ids.1 }),
            None => ids,
        }
    }

    /// Refuses an owner whom no file of the pod can have; the error is the ids that there are.
    fn check(&self, (uid, gid): (u32, u32)) -> Result<(), String> {
        let (uids, gids) = (ranges(self.mapping.uids()), ranges(self.mapping.gids()));
        if is_in(&uids, uid) && is_in(&gids, gid) {
            return Ok(());
        }
        Err(if uids == gids {
            shown(&uids)
        } else {
            format!("{} for users, {} for groups", shown(&uids), shown(&gids))
        })
    }
}

struct Context<'a> {
    manifest: &'a PodManifest,
    runtime: &'a RuntimeApp,
    app: &'a App,
    surroundings: &'a Surroundings<'a>,
    /// Whether mounts may lie in each other.
    nested: bool,
    /// Paths whose volume begins with the image's content.
    content: &'a [String],
    /// Paths whose volume is filled with it.
    filled: &'a [String],
    /// Paths of file systems in memory.
    memory: &'a BTreeMap<String, Tmpfs>,
}

impl Context<'_> {
    fn mount(&self, volume: &str, path: &str) -> Result<Mount, PlanError> {
        let app = || self.runtime.name.to_string();
        let found = self.manifest.volumes.iter().enumerate().find(|(_, known)| known.name.as_str() == volume);
        let Some((index, declared)) = found else {
            return Err(PlanError::NoVolume { app: app(), volume: volume.to_owned(), path: path.to_owned() });
        };
        let parts: Vec<&str> = components(path).collect();
        if !path.starts_with('/') || path.contains('\0') {
            return Err(PlanError::BadPath { app: app(), path: path.to_owned() });
        }
        let is_device = self.surroundings.sources.get(index) == Some(&Some(SourceKind::Device));
        // By name here, so that the error is a good one; a symbolic link of the image, or a `..`, that leads there is
        // refused when the mount is attached (docs/security/corpus.md MNT-01).
        let place = match parts.first() {
            Some(&"dev") if is_device && parts.len() > 1 && !parts.contains(&"..") => Place::Dev(parts[1..].join("/")),
            None | Some(&("proc" | "sys" | "dev")) => {
                return Err(PlanError::ReservedPath { app: app(), path: path.to_owned() });
            }
            Some(_) => self.place(index, declared, format!("/{}", parts.join("/")))?,
        };
        let kind = if is_device { MountAttr::NOEXEC } else { MountAttr::NODEV };
        let mut attr = MountAttr::NOSUID.with(kind);
        if self.read_only(declared, path) {
            attr = attr.with(MountAttr::RDONLY);
        }
        if matches!(place, Place::Memory { .. }) && self.in_memory(path).is_some_and(|it| it.noexec) {
            attr = attr.with(MountAttr::NOEXEC);
        }
        Ok(Mount { volume: index, name: declared.name.to_string(), attr, place, nested: self.nested })
    }

    fn place(&self, index: usize, volume: &Volume, path: String) -> Result<Place, PlanError> {
        match &volume.kind {
            VolumeKind::Host { recursive, .. } => {
                let is_dir = self.surroundings.sources.get(index) == Some(&Some(SourceKind::Directory));
                let filled = is_dir && self.filled.iter().any(|known| same_path(known, &path));
                let recursive = is_dir && *recursive != Some(false);
                Ok(Place::Root { path, recursive, own: false, owner: None, filled })
            }
            VolumeKind::Empty { .. } if self.begins_with_content(volume, &path) => Ok(Place::Content(path)),
            &VolumeKind::Empty { ref mode, uid, gid } => {
                let (uid, gid) = self.owner(volume, uid, gid)?;
                if let Some(tmpfs) = self.in_memory(&path) {
                    let owned = [("mode", mode.clone()), ("uid", uid.to_string()), ("gid", gid.to_string())];
                    return Ok(Place::Memory { path, options: owned.into_iter().chain(tmpfs.options()).collect() });
                }
                let owner = Some((uid, gid)).filter(|&owner| owner != (0, 0));
                let filled = self.filled.iter().any(|known| same_path(known, &path));
                Ok(Place::Root { path, recursive: false, own: true, owner, filled })
            }
        }
    }

    /// Whose an empty volume is, in the ids of the pod.
    fn owner(&self, volume: &Volume, uid: i64, gid: i64) -> Result<(u32, u32), PlanError> {
        let bad = || PlanError::BadOwner { volume: volume.name.to_string(), uid, gid };
        let id = |id| u32::try_from(id).ok().filter(|&id| id != u32::MAX).ok_or_else(bad);
        let ids = (id(uid)?, id(gid)?);
        let owner = self.surroundings.in_pod(ids);
        let unmapped = |ids_shown| PlanError::UnmappedOwner {
            volume: volume.name.to_string(),
            uid: ids.0,
            gid: ids.1,
            ids: ids_shown,
        };
        self.surroundings.check(owner).map_err(unmapped)?;
        Ok(owner)
    }

    /// What is said of a file system in memory at this path.
    fn in_memory(&self, path: &str) -> Option<&Tmpfs> {
        self.memory.iter().find(|(known, _)| same_path(known, path)).map(|(_, tmpfs)| tmpfs)
    }

    /// Only a volume that nobody else mounts can be a part of this app's root.
    fn begins_with_content(&self, volume: &Volume, path: &str) -> bool {
        let users = |runtime: &RuntimeApp| {
            let mounts = runtime.mounts.iter().filter(|mount| mount.volume == volume.name).count();
            let points = runtime.app.iter().flat_map(|app| &app.mount_points);
            mounts.max(points.filter(|point| point.name == volume.name).count())
        };
        self.content.iter().any(|known| same_path(known, path))
            && self.manifest.apps.iter().map(users).sum::<usize>() <= 1
    }

    /// rkt's rule: what the volume says overrides what the app's mount point says.
    fn read_only(&self, volume: &Volume, path: &str) -> bool {
        let point = |point: &MountPoint| point.read_only && (point.name == volume.name || same_path(&point.path, path));
        volume.read_only.unwrap_or_else(|| self.app.mount_points.iter().any(point))
    }
}

/// Two mounts of which one hides the other are an error (appc ace.md, "Volume Setup"); where they may lie in each other, two
/// at one place. Paths that only links make the same are told apart when they are attached: the second place is then not on
/// the root's own mount.
fn refuse_overlaps(app: &str, mounts: &[Mount], nested: bool) -> Result<(), PlanError> {
    let mut paths: Vec<String> = mounts.iter().map(Mount::path).collect();
    // With a slash behind each, what is below a path follows it at once.
    paths.iter_mut().for_each(|path| path.push('/'));
    paths.sort_unstable();
    let overlap = |pair: &&[String]| if nested { pair[0] == pair[1] } else { pair[1].starts_with(&pair[0]) };
    match paths.windows(2).find(overlap) {
        None => Ok(()),
        Some(pair) => {
            let shown = |path: &str| path.trim_end_matches('/').to_owned();
            Err(PlanError::Overlap { app: app.to_owned(), outer: shown(&pair[0]), inner: shown(&pair[1]) })
        }
    }
}

fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
}

fn same_path(one: &str, other: &str) -> bool {
    components(one).eq(components(other))
}
