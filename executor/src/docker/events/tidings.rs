//! What the kernel tells (inotify(7)): which pods come to a place, and whose control groups change.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use appc::PodUuid;
use pod::Place;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use crate::error::{CommandError, Explain as _};

/// Whoever listens to the kernel.
pub(super) struct Tidings {
    inotify: OwnedFd,
    /// The directory of the places of pods.
    dir: PathBuf,
    /// The place that each watch is of.
    places: BTreeMap<i32, Place>,
    /// The pod that each watch of a control group is of.
    groups: BTreeMap<i32, PodUuid>,
}

/// What it has told. That anything has changed counts as well: then all pods are to be looked at.
#[derive(Default)]
pub(super) struct Told {
    /// Pods that have come to where they are complete or run, in the order in which they came.
    pub(super) arrived: Vec<(PodUuid, Place)>,
    /// Pods whose control groups have changed.
    pub(super) groups: BTreeSet<PodUuid>,
}

impl Tidings {
    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// The kernel has no more watches.
    pub(super) fn begin(data_dir: &Path) -> Result<Self, CommandError> {
        let inotify =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).during(|| "inotify_init1()".into())?;
        let mut tidings =
            Self { inotify, dir: data_dir.join("pods"), places: BTreeMap::new(), groups: BTreeMap::new() };
        let come_and_go = WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE | WatchFlags::ONLYDIR;
        for place in Place::VISIBLE {
            let watch = tidings.watch(&tidings.dir.join(place.dir_name()), come_and_go)?;
            tidings.places.insert(watch, place);
        }
        tidings.watch(&tidings.dir.join("names"), come_and_go)?;
        Ok(tidings)
    }

    /// Has it told when something comes into being in a pod's directory. The kernel lets go of a watch with what it is of.
    pub(super) fn watch_pod(&self, place: Place, uuid: PodUuid) {
        let path = self.dir.join(place.dir_name()).join(uuid.to_string());
        let _ = self.watch(&path, WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR);
    }

    /// Has it told when the file of a control group is written anew.
    pub(super) fn watch_group(&mut self, uuid: PodUuid, file: &Path) {
        if let Ok(watch) = self.watch(file, WatchFlags::MODIFY) {
            self.groups.insert(watch, uuid);
        }
    }

    fn watch(&self, path: &Path, flags: WatchFlags) -> Result<i32, CommandError> {
        inotify::add_watch(&self.inotify, path, flags).during(|| format!("inotify_add_watch({})", path.display()))
    }

    /// Whether there is more, within this time.
    ///
    /// # Errors
    ///
    /// A failed system call.
    pub(super) fn wait(&self, time: Timespec) -> Result<bool, CommandError> {
        let mut polled = [PollFd::new(&self.inotify, PollFlags::IN)];
        match poll(&mut polled, Some(&time)) {
            Err(Errno::INTR) => Ok(false),
            ready => Ok(ready? > 0),
        }
    }

    /// Takes in what there is, without waiting; `None` if that is nothing.
    ///
    /// # Errors
    ///
    /// A failed system call.
    pub(super) fn take(&mut self) -> Result<Option<Told>, CommandError> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut told = None;
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Ok(told),
                Err(errno) => return Err(errno).during(|| "read(<inotify>)".into()),
            };
            let told = told.get_or_insert_with(Told::default);
            let (watch, name) = (event.wd(), event.file_name().and_then(|name| name.to_str().ok()?.parse().ok()));
            if event.events().contains(ReadFlags::IGNORED) {
                self.groups.remove(&watch);
            } else if let Some(uuid) = self.groups.get(&watch) {
                told.groups.insert(*uuid);
            } else if let (Some(place @ (Place::Prepared | Place::Run)), Some(uuid)) = (self.places.get(&watch), name)
                && event.events().contains(ReadFlags::MOVED_TO)
            {
                told.arrived.push((uuid, *place));
            }
        }
    }
}

impl AsFd for Tidings {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
