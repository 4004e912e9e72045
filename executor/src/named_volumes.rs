//! Volumes with names: directories of the data directory that outlive pods, `volumes/NAME`.
//!
//! A volume has its name, and [`labels`] if somebody gave it any; what is in it belongs to whoever wrote it, ids of pods
//! included. Making one is one mkdir(2), after its labels are written; removing one is a rename(2) to a name that no volume can have, then the removal of what is in it. Whoever makes a
//! pod holds its volumes until that is there: a byte of the file `.lock` for each name, because what a volume belongs to may
//! keep the user from opening it.

mod labels;

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use appc::VolumeKind;
use pod::{PodEntry, PodName, PodNameError, Pods, TreeRemover as _};
use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, open};
use sha2::{Digest as _, Sha256};
use stage1::idmap::{IdMapping, Tier};
use sys::lock::{self, Kind};

use crate::context::Context;
use crate::disk_usage;
use crate::error::{CommandError, Explain as _};
use crate::idmap::{self, Remover};

pub(crate) use labels::Labels;

/// How long somebody else may take to remove a volume: it is put aside at once, and emptied later.
const PATIENCE: Duration = Duration::from_secs(10);

/// The directory of volumes in the data directory.
pub(crate) const DIR: &str = "volumes";

/// Begins the names of volumes that are being removed. No name of a volume begins so.
const REMOVED: &str = ".removed-";

/// Begins what the byte stands for that is locked while a volume is made. No name of a volume begins so.
const MAKING: &str = ".making-";

/// The file whose bytes are locked.
const LOCK: &str = ".lock";

/// What became of a volume that was to be removed.
#[derive(Debug)]
pub(crate) enum Removal {
    /// It is gone.
    Done,
    /// Others were faster.
    Gone,
    /// These pods have it; if there are none, one that is being made.
    InUse(Vec<PodEntry>),
}

/// The name of the volume that a path of a data directory is of, if it is one's.
pub(crate) fn name_of(path: &str) -> Option<&str> {
    let (_, name) = path.rsplit_once(&format!("/{DIR}/"))?;
    (!name.contains('/')).then_some(name)
}

/// The named volumes of a data directory.
#[derive(Debug)]
pub(crate) struct NamedVolumes {
    dir: PathBuf,
    mapping: IdMapping,
}

/// A volume.
#[derive(Debug)]
pub(crate) struct NamedVolume {
    /// Its name.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// When it was last changed, in nanoseconds since the epoch: its making, or the last entry that came or went.
    pub(crate) changed_ns: u64,
}

impl NamedVolumes {
    /// The volumes that there are; where they would be nothing is made.
    ///
    /// # Errors
    ///
    /// There is no place for data, or no id map.
    pub(crate) fn open(context: &Context) -> Result<Self, CommandError> {
        let data_dir = std::path::absolute(context.data_dir()?)?;
        let data_dir = match fs::canonicalize(&data_dir) {
            // Then there are no volumes.
            Err(error) if error.kind() == io::ErrorKind::NotFound => data_dir,
            found => found.during(|| format!("find {}", data_dir.display()))?,
        };
        Ok(Self { mapping: idmap::detect(&data_dir)?, dir: data_dir.join(DIR) })
    }

    /// [`NamedVolumes::open`], making their directory where there is none.
    ///
    /// # Errors
    ///
    /// There is no place for data, or nothing can be made there.
    pub(crate) fn create(context: &Context) -> Result<Self, CommandError> {
        context.create_data_dir()?;
        let volumes = Self::open(context)?;
        let dir = &volumes.dir;
        DirBuilder::new().recursive(true).mode(0o700).create(dir).during(|| format!("create {}", dir.display()))?;
        Ok(volumes)
    }

    /// Where the volume of this name is, as [`NamedVolumes::ensure`] has it with these labels. Nobody removes it before what comes with it is
    /// dropped.
    ///
    /// # Errors
    ///
    /// As there; it cannot be held.
    pub(crate) fn hold(&self, name: &str, labels: &Labels) -> Result<(PathBuf, OwnedFd), CommandError> {
        let file = self.lock_file()?;
        let deadline = Instant::now() + PATIENCE;
        while !lock::try_take(file.as_fd(), byte_of(name), Kind::Shared).during(|| format!("hold volume {name}"))? {
            wait_a_moment(deadline)?;
        }
        Ok((self.ensure(name, labels)?, file))
    }

    fn lock_file(&self) -> Result<OwnedFd, CommandError> {
        let path = self.dir.join(LOCK);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        open(&path, flags, Mode::from_raw_mode(0o600)).during(|| format!("open {}", path.display()))
    }

    /// Where the volume of this name is; it is made with these labels if there is none.
    ///
    /// # Errors
    ///
    /// The name is none, or the directory cannot be made.
    pub(crate) fn ensure(&self, name: &str, labels: &Labels) -> Result<PathBuf, CommandError> {
        // The rules of pods' names are docker's of volumes.
        let name: PodName = name.parse().map_err(|error| match error {
            PodNameError::Character { .. } => CommandError::usage(format!(
                "create {name}: {name:?} includes invalid characters for a local volume name, \
                 only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed"
            )),
            PodNameError::TooLong { .. } => {
                CommandError::usage(format!("create {name}: the name is longer than {} bytes", PodName::MAX))
            }
            error => CommandError::usage(format!("create {name}: {error}")),
        })?;
        let path = self.dir.join(name.as_str());
        if fs::symlink_metadata(&path).is_ok() {
            return Ok(path);
        }
        // Whoever makes it says what its labels are.
        let making = self.lock_file()?;
        let during = || format!("create {}", path.display());
        let deadline = Instant::now() + PATIENCE;
        while !lock::try_take(making.as_fd(), byte_of(&format!("{MAKING}{name}")), Kind::Exclusive).during(during)? {
            wait_a_moment(deadline)?;
        }
        if fs::symlink_metadata(&path).is_ok() {
            return Ok(path);
        }
        labels::write(&self.dir, name.as_str(), labels).during(|| format!("write the labels of volume {name}"))?;
        match DirBuilder::new().mode(0o755).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(path),
            made => made.during(during)?,
        }
        // The caller's umask is tight, and pods may have other users; who gets here is decided above.
        let open_up = || {
            let dir = open(&path, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            rustix::fs::fchmod(&dir, Mode::from_raw_mode(0o755))?;
            if self.mapping.tier() == Tier::Root {
                let (uid, gid) = self.mapping.container_root();
                fchown(dir.as_fd(), Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            }
            rustix::io::Result::Ok(())
        };
        open_up().during(during)?;
        Ok(path)
    }

    /// The volume of this name, if there is one.
    ///
    /// # Errors
    ///
    /// The directory cannot be read.
    pub(crate) fn find(&self, name: &str) -> Result<Option<NamedVolume>, CommandError> {
        Ok(self.all()?.into_iter().find(|volume| volume.name == name))
    }

    /// All volumes, by name.
    ///
    /// # Errors
    ///
    /// The directory cannot be read.
    pub(crate) fn all(&self) -> Result<Vec<NamedVolume>, CommandError> {
        let mut found = Vec::new();
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries.during(|| format!("read {}", self.dir.display()))?,
        };
        for entry in entries {
            let entry = entry.during(|| format!("read {}", self.dir.display()))?;
            match volume_at(&entry) {
                // It was removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                volume => found.extend(volume.during(|| format!("look at {}", entry.path().display()))?),
            }
        }
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// The pods that have this volume, whether they run or have ended.
    ///
    /// # Errors
    ///
    /// A pod cannot be read.
    pub(crate) fn users(&self, volume: &NamedVolume, pods: &Pods) -> Result<Vec<PodEntry>, CommandError> {
        let mut users = Vec::new();
        for entry in pods.list()?.into_iter().filter(|entry| pod::Place::VISIBLE.contains(&entry.place)) {
            if entry.place == pod::Place::Prepare {
                continue;
            }
            let manifest = match pods.open(&entry).and_then(|pod| pod.manifest()) {
                Ok(manifest) => manifest,
                Err(pod::PodError::NotFound { .. }) => continue,
                Err(error) => return Err(CommandError::from(error).during(format!("pod {}", entry.uuid))),
            };
            let is_it = |kind: &VolumeKind| match kind {
                VolumeKind::Host { source, .. } => OsStr::new(source) == volume.path.as_os_str(),
                VolumeKind::Empty { .. } => false,
            };
            if manifest.volumes.iter().any(|volume| is_it(&volume.kind)) {
                users.push(entry);
            }
        }
        Ok(users)
    }

    /// Removes a volume with all that is in it, if no pod has it.
    ///
    /// # Errors
    ///
    /// It cannot be removed; what is left of it is no volume any more.
    pub(crate) fn remove(&self, volume: &NamedVolume, pods: &Pods) -> Result<Removal, CommandError> {
        self.sweep()?;
        let held = self.lock_file()?;
        let during = || format!("remove {}", volume.path.display());
        let deadline = Instant::now() + PATIENCE;
        while !lock::try_take(held.as_fd(), byte_of(&volume.name), Kind::Exclusive).during(during)? {
            match lock::holder(held.as_fd(), byte_of(&volume.name)).during(during)? {
                Some(Kind::Shared) => return Ok(Removal::InUse(self.users(volume, pods)?)),
                Some(Kind::Exclusive) => wait_a_moment(deadline)?,
                None => {}
            }
        }
        // Whoever begins to make a pod now waits, and makes the volume anew.
        let users = self.users(volume, pods)?;
        if !users.is_empty() {
            return Ok(Removal::InUse(users));
        }
        let aside = format!("{REMOVED}{}", volume.name);
        match fs::rename(&volume.path, self.dir.join(&aside)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Removal::Gone),
            renamed => renamed.during(during)?,
        }
        // What is left of them counts for no volume that is made later.
        let _ = labels::remove(&self.dir, &volume.name);
        drop(held);
        self.sweep().map(|()| Removal::Done)
    }

    /// Removes what removals that were cut off have left.
    fn sweep(&self) -> Result<(), CommandError> {
        let during = || format!("sweep {}", self.dir.display());
        let dir = open(&self.dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).during(during)?;
        for entry in fs::read_dir(&self.dir).during(during)? {
            let name = entry.during(during)?.file_name().into_string().unwrap_or_default();
            if let Some(volume) = labels::name_of(&name) {
                self.sweep_labels(volume)?;
            }
            if name.starts_with(REMOVED) {
                let removed = pod::removal::remove_tree(dir.as_fd(), &name);
                if removed.is_err() {
                    Remover::new(&self.mapping)
                        .remove_tree(dir.as_fd(), &name)
                        .map_err(CommandError::of)
                        .during(during)?;
                }
            }
        }
        Ok(())
    }

    /// Removes labels of a volume that is not there, unless somebody is making it.
    fn sweep_labels(&self, name: &str) -> Result<(), CommandError> {
        let is_there = || fs::symlink_metadata(self.dir.join(name)).is_ok();
        if is_there() {
            return Ok(());
        }
        let during = || format!("sweep the labels of volume {name}");
        let making = self.lock_file()?;
        let is_free = lock::try_take(making.as_fd(), byte_of(&format!("{MAKING}{name}")), Kind::Exclusive);
        if is_free.during(during)? && !is_there() {
            labels::remove(&self.dir, name).during(during)?;
        }
        Ok(())
    }

    /// The labels of a volume.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub(crate) fn labels(&self, volume: &NamedVolume) -> Result<Labels, CommandError> {
        labels::read(&self.dir, &volume.name).during(|| format!("read the labels of volume {}", volume.name))
    }

    /// Bytes of the files in a volume, as far as they can be read.
    pub(crate) fn size(&self, volume: &NamedVolume) -> u64 {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        open(&volume.path, flags, Mode::empty()).map_or(0, |dir| disk_usage::below(dir.as_fd(), &self.mapping))
    }
}

/// Waits a moment for somebody else who makes or removes a volume, which takes no time, or has just done so.
fn wait_a_moment(deadline: Instant) -> Result<(), CommandError> {
    if Instant::now() >= deadline {
        return Err(CommandError::failed("somebody else has been making or removing it for too long")
            .hint("is that command stopped (Ctrl-Z)?"));
    }
    std::thread::sleep(Duration::from_millis(1));
    Ok(())
}

/// The byte of the lock file that stands for a name: one of so many that no two have the same.
fn byte_of(name: &str) -> i64 {
    let digest = Sha256::digest(name);
    let first = digest.first_chunk().expect("a digest is longer");
    // The last one cannot be locked.
    i64::from_be_bytes(*first) & (i64::MAX >> 1)
}

/// What an entry of the directory of volumes is, if it is one.
fn volume_at(entry: &fs::DirEntry) -> io::Result<Option<NamedVolume>> {
    let name = entry.file_name().into_string().unwrap_or_default();
    if name.parse::<PodName>().is_err() || !entry.file_type()?.is_dir() {
        return Ok(None);
    }
    let changed = entry.metadata()?.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let changed_ns = u64::try_from(changed.as_nanos()).unwrap_or(u64::MAX);
    Ok(Some(NamedVolume { name, path: entry.path(), changed_ns }))
}
