//! Which pods there are, and in which state: read from places and locks alone.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use appc::PodUuid;
use rustix::fs::{FileType, OFlags, RawDir, fstat};
use rustix::io::Errno;

use crate::dir::{Dir, mtime_ns};
use crate::root::{Pods, Root, path};
use crate::{LockState, Place, PodError, PodName, State, cradles, lock, names};

/// What is known of a pod without reading its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PodEntry {
    /// Its UUID.
    pub uuid: PodUuid,
    /// Where it stood when it was looked at; it may have moved forward since.
    pub place: Place,
    /// Its state then.
    pub state: State,
    /// Its name, if it has one and holds it.
    pub name: Option<PodName>,
    /// When it was created, in nanoseconds since the epoch; unknown if its lock file is gone.
    pub created_ns: Option<u64>,
    /// When its first app was started, in nanoseconds since the epoch.
    pub started_ns: Option<u64>,
}

impl Pods {
    /// All pods, also those being created and removed, oldest first.
    ///
    /// A pod that moves during the listing is seen, once. Five calls a pod; no file of a pod is read.
    ///
    /// # Errors
    /// [`PodError`] if a directory of pods cannot be read. A pod that cannot be looked at fails the listing only if
    /// the kernel refuses the look; what stands in its files does not matter here.
    pub fn list(&self) -> Result<Vec<PodEntry>, PodError> {
        // Places forward, names last: a pod seen here has its name by then, or has none.
        let mut found = HashMap::new();
        for place in Place::ALL {
            for uuid in uuids(&self.root, place)? {
                if let Some(entry) = look_at(&self.root, place, uuid)? {
                    found.insert(uuid, entry);
                }
            }
        }
        for (name, uuid) in names::all(&self.root)? {
            if let Some(entry) = found.get_mut(&uuid) {
                entry.name = Some(name);
            }
        }
        let mut entries: Vec<PodEntry> = found.into_values().collect();
        entries.sort_unstable_by_key(|entry| (entry.created_ns, entry.uuid));
        Ok(entries)
    }
}

/// A pod's lock, looked at.
pub(crate) struct Probe {
    pub(crate) lock: LockState,
    pub(crate) created_ns: Option<u64>,
    /// The lock file, held shared if `lock` is `Free`, until this is dropped. Absent if the pod has lost it, which
    /// only happens to pods that are being removed.
    pub(crate) file: Option<OwnedFd>,
}

/// Looks at the lock of a pod that stands in `place`; `None` if it does not stand there (any more).
pub(crate) fn probe_lock(root: &Root, place: Place, uuid: PodUuid) -> Result<Option<Probe>, PodError> {
    let pod = path(place, uuid);
    let Some((file, created_ns)) = open_lock(&root.dir, &pod, OFlags::RDONLY)? else {
        let gone = !root.dir.exists(&pod)?;
        return Ok((!gone).then_some(Probe { lock: LockState::Free, created_ns: None, file: None }));
    };
    let lock = lock::probe(&file).map_err(|e| root.dir.error("flock", &format!("{pod}/lock"), e))?;
    // Who completes a pod renames it first and unlocks it then. So a free lock in `prepare` may be that of a pod
    // which is `prepared` by now; only if it still stands there was it abandoned.
    if place == Place::Prepare && lock == LockState::Free && !root.dir.exists(&pod)? {
        return Ok(None);
    }
    Ok(Some(Probe { lock, created_ns, file: Some(file) }))
}

/// Opens the lock file of the pod at `pod` with its time of creation, which is the pod's; `None` if it is not there.
pub(crate) fn open_lock(dir: &Dir, pod: &str, flags: OFlags) -> Result<Option<(OwnedFd, Option<u64>)>, PodError> {
    let path = format!("{pod}/lock");
    let file = match dir.open(&path, flags) {
        Ok(file) => file,
        Err(e) if e.is_absence() => return Ok(None),
        Err(e) if matches!(e.source, Errno::LOOP | Errno::ISDIR | Errno::NXIO) => {
            return Err(PodError::NotAFile { path: dir.shown(&path) });
        }
        Err(e) => return Err(e.into()),
    };
    let stat = fstat(&file).map_err(|e| dir.error("fstat", &path, e))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(PodError::NotAFile { path: dir.shown(&path) });
    }
    Ok(Some((file, Some(mtime_ns(&stat)))))
}

/// Where a pod stands and in which state it is; `None` if it is gone.
///
/// Pods move forward only, and so does this: what it misses in one place it meets in a later one.
pub(crate) fn locate(root: &Root, uuid: PodUuid) -> Result<Option<(Place, State)>, PodError> {
    for place in Place::ALL {
        if !root.dir.exists(&path(place, uuid))? {
            continue;
        }
        if !place.lock_matters() {
            return Ok(Some((place, State::of(place, LockState::Free))));
        }
        if let Some(probe) = probe_lock(root, place, uuid)? {
            return Ok(Some((place, State::of(place, probe.lock))));
        }
    }
    Ok(None)
}

/// Everything about one pod in one place but its name; `None` if it is not there (any more).
pub(crate) fn look_at(root: &Root, place: Place, uuid: PodUuid) -> Result<Option<PodEntry>, PodError> {
    let probe = if place.lock_matters() {
        match probe_lock(root, place, uuid) {
            // A pod whose lock is not a file is not running; saying so must not hide the other pods.
            Err(PodError::NotAFile { .. }) => Some(Probe { lock: LockState::Free, created_ns: None, file: None }),
            other => other?,
        }
    } else {
        let pod = path(place, uuid);
        match root.dir.stat(&format!("{pod}/lock")) {
            Ok(stat) => Some(Probe { lock: LockState::Free, created_ns: Some(mtime_ns(&stat)), file: None }),
            Err(e) if !e.is_absence() => return Err(e.into()),
            Err(_) if root.dir.exists(&pod)? => Some(Probe { lock: LockState::Free, created_ns: None, file: None }),
            Err(_) => None,
        }
    };
    let Some(probe) = probe else { return Ok(None) };
    let started_ns = if place >= Place::Run {
        match root.dir.stat(&format!("{}/started", path(place, uuid))) {
            Ok(stat) => Some(mtime_ns(&stat)),
            Err(e) if e.is_absence() => None,
            Err(e) => return Err(e.into()),
        }
    } else {
        None
    };
    let state = State::of(place, probe.lock);
    Ok(Some(PodEntry { uuid, place, state, name: None, created_ns: probe.created_ns, started_ns }))
}

/// The UUIDs in a place. Entries with other names are not ours and are passed over.
pub(crate) fn uuids(root: &Root, place: Place) -> Result<Vec<PodUuid>, PodError> {
    let mut found = Vec::new();
    match place {
        Place::Embryo => {
            for cradle in cradles::all() {
                let born = entries(&root.dir, &cradle)?.into_iter().filter_map(canonical);
                found.extend(born.filter(|uuid| cradles::of(*uuid) == cradle));
            }
        }
        _ => found.extend(entries(&root.dir, place.dir_name())?.into_iter().filter_map(canonical)),
    }
    Ok(found)
}

/// The UUIDs of embryos that stand beside the cradles: before there were any, pods were born there.
pub(crate) fn old_embryos(root: &Root) -> Result<Vec<PodUuid>, PodError> {
    Ok(entries(&root.dir, Place::Embryo.dir_name())?.into_iter().filter_map(canonical).collect())
}

/// The UUID that an entry is named after, written as this program writes it.
fn canonical(name: String) -> Option<PodUuid> {
    name.parse::<PodUuid>().ok().filter(|uuid| uuid.to_string() == name)
}

/// The names in a directory, without `.`, `..` and those that are not UTF-8; none if it does not exist.
pub(crate) fn entries(dir: &Dir, path: &str) -> Result<Vec<String>, PodError> {
    let open = match dir.open(path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(open) => open,
        Err(e) if e.source == Errno::NOENT => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let mut buffer = Vec::with_capacity(32 << 10);
    buffer.resize(32 << 10, MaybeUninit::uninit());
    let mut reader = RawDir::new(open.as_fd(), &mut buffer);
    let mut found = Vec::new();
    while let Some(entry) = reader.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(Errno::NOENT) => break,
            Err(e) => return Err(dir.error("getdents64", path, e).into()),
        };
        match entry.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => found.push(name.to_owned()),
        }
    }
    Ok(found)
}
