//! What the tests of this crate share: data directories, ordinary users, raw views of the disk.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pod::{GcOptions, Place, Pod, PodName, Pods, Preparing, Running, Unaided};

/// An id that no system gives to anybody.
const ORDINARY: u32 = 54_321;

/// A data directory that is removed at the end, whatever modes its directories have by then.
pub(crate) struct Data {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) pods: Pods,
}

impl Data {
    pub(crate) fn new() -> Self {
        Self::in_dir(tempfile::tempdir().unwrap())
    }

    /// In memory where that is possible: for many pods, which a disk takes long to make.
    pub(crate) fn in_memory() -> Self {
        Self::in_dir(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    fn in_dir(dir: tempfile::TempDir) -> Self {
        let pods = Pods::ensure(dir.path()).unwrap();
        Self { dir, pods }
    }

    pub(crate) fn path(&self, below_pods: &str) -> PathBuf {
        self.dir.path().join("pods").join(below_pods)
    }

    pub(crate) fn pod_path(&self, place: Place, uuid: appc::PodUuid) -> PathBuf {
        match place {
            Place::Embryo => self.path(&format!("embryo/{:02}/{uuid}", uuid.as_bytes()[0] / 4)),
            _ => self.path(&format!("{place}/{uuid}")),
        }
    }

    pub(crate) fn preparing(&self, name: Option<&str>) -> Pod<Preparing> {
        let name: Option<PodName> = name.map(|name| name.parse().unwrap());
        self.pods.create(appc::PodUuid::new_v4(), name.as_ref()).unwrap().prepare().unwrap()
    }

    pub(crate) fn running(&self, name: Option<&str>) -> Pod<Running> {
        let pod = self.preparing(name);
        pod.write_manifest(b"{}").unwrap();
        pod.add_app(&"main".parse().unwrap(), None).unwrap();
        let pod = pod.into_running().unwrap();
        pod.mark_started().unwrap();
        pod
    }

    /// Everything in the places and among the names.
    pub(crate) fn left(&self) -> BTreeSet<String> {
        let mut left = BTreeSet::new();
        let cradles: Vec<String> = (0..64).map(|number| format!("embryo/{number:02}")).collect();
        let places = Place::ALL[1..].iter().map(|place| place.dir_name()).chain(["names"]);
        for place in cradles.iter().map(String::as_str).chain(places) {
            for entry in fs::read_dir(self.path(place)).unwrap() {
                left.insert(format!("{place}/{}", entry.unwrap().file_name().to_string_lossy()));
            }
        }
        left
    }

    /// Removes all that can be removed.
    pub(crate) fn gc_everything(&self) -> pod::GcReport {
        self.pods.gc(&everything(), &Unaided).unwrap()
    }
}

pub(crate) fn everything() -> GcOptions {
    GcOptions { grace: Duration::ZERO, expire_prepared: Duration::ZERO, mark_only: false }
}

/// Runs `work` as an ordinary user: as ourselves, or in a thread that has given up root.
///
/// Credentials belong to threads in Linux; children that the thread starts inherit them.
pub(crate) fn as_user<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let unprivileged = move || {
        if rustix::process::geteuid().is_root() {
            let (uid, gid) = (rustix::process::Uid::from_raw(ORDINARY), rustix::process::Gid::from_raw(ORDINARY));
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        }
        work()
    };
    match std::thread::spawn(unprivileged).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Everything below `dir`: path, kind, mode, size, modification time. Symbolic links are not followed.
pub(crate) fn snapshot(dir: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt as _;
    let mut found = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(path) = pending.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        found.push(format!("{} {:o} {} {}", path.display(), meta.mode(), meta.size(), meta.mtime_nsec()));
        if meta.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found.sort();
    found
}
