//! The lowest layer of every app's root file system: places for what proa mounts there.
//!
//! An image need not have /proc or /run/proa. Made in the app's writable layer, such a directory costs a tenth of a
//! millisecond at the pod's start and again at its end (measured on ext4); below all layers of the image it is made once
//! and for all pods. The image's own files lie above it and hide nothing but what is not there.
//!
//! ```text
//! DATA/skeleton.3/        0755, of container root, as everything in it; never changed
//! ├── dev/ proc/ sys/
//! ├── etc/hosts etc/hostname    empty
//! ├── etc/mtab -> ../proc/self/mounts
//! └── run/proa/
//! ```
//!
//! It is on the file system of the store, because an overlay over several file systems gives its files device numbers
//! that differ from its directories', and `find -xdev` and `tar --one-file-system` would stop at each.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FlockOperation, Gid, Mode, OFlags, Uid, chmodat, chownat, flock, fstat, mkdirat, openat, renameat,
    statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use stage1::idmap::{IdMapping, Tier};

/// The version is part of the name: what pods may be using is never changed.
const NAME: &str = "skeleton.3";

/// Its directories, each after the one it is in.
const DIRS: [&str; 6] = ["dev", "etc", "proc", "sys", "run", "run/proa"];

/// Its files, which every app has: an empty file of an image is replaced.
const FILES: [&str; 2] = ["etc/hosts", "etc/hostname"];

/// Where programs look for what is mounted, if the image says nothing else, as in rkt; and where that is.
const MTAB: (&str, &str) = ("etc/mtab", "../proc/self/mounts");

/// Its paths.
pub(crate) fn paths() -> impl Iterator<Item = &'static str> {
    DIRS.into_iter().chain(FILES).chain([MTAB.0])
}

/// Most layers of an image under which it is put. Linux before 6.8 takes fourteen in all, as they are given.
const MOST_LAYERS: usize = 13;

const DIR_MODE: Mode = Mode::from_raw_mode(0o755);

const FILE_MODE: Mode = Mode::from_raw_mode(0o644);

/// Puts the skeleton under the layers of each app. Where that cannot be, stage1 makes what is missing in the app.
pub(crate) fn put_under(layers: &mut [Vec<OwnedFd>], data_dir: &Path, mapping: &IdMapping) {
    let Ok(skeleton) = ensure(data_dir, mapping) else { return };
    for layers in layers.iter_mut().filter(|layers| layers.len() <= MOST_LAYERS) {
        if let Ok(skeleton) = skeleton.try_clone() {
            layers.insert(0, skeleton);
        }
    }
}

fn ensure(data_dir: &Path, mapping: &IdMapping) -> Result<OwnedFd, Errno> {
    // A user is container root himself.
    let owner = (mapping.tier() == Tier::Root).then(|| mapping.container_root());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let data = openat(CWD, data_dir, flags, Mode::empty())?;
    let open = || openat(&data, NAME, flags, Mode::empty());
    let found = match open() {
        Err(Errno::NOENT) => {
            make(&data, owner)?;
            open()?
        }
        opened => opened?,
    };
    let stat = fstat(&found)?;
    match owner {
        // Another map would show it as nobody's.
        Some((uid, gid)) if (stat.st_uid, stat.st_gid) != (uid, gid) => Err(Errno::PERM),
        _ => Ok(found),
    }
}

/// Makes it under another name first: it is there whole or not at all. Of two that make it at once the second finds that of the
/// first; what a killed one left is removed by the next.
fn make(data: &OwnedFd, owner: Option<(u32, u32)>) -> Result<(), Errno> {
    // Whoever came second would take away what the first is about to give its name. Where there are no locks, so be it.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let _lock = openat(data, ".", flags, Mode::empty())
        .and_then(|dir| flock(&dir, FlockOperation::LockExclusive).map(|()| dir));
    if statat(data, NAME, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Ok(());
    }
    let new = format!(".{NAME}");
    let below = |name: &&str| format!("{new}/{name}");
    let dirs: Vec<String> = std::iter::once(new.clone()).chain(DIRS.iter().map(below)).collect();
    let files: Vec<String> = FILES.iter().map(below).collect();
    let mtab = below(&MTAB.0);
    // What cannot be removed is in the way of what follows, which then says why.
    let remove = || {
        for file in files.iter().chain([&mtab]) {
            let _ = unlinkat(data, file.as_str(), AtFlags::empty());
        }
        for dir in dirs.iter().rev() {
            let _ = unlinkat(data, dir.as_str(), AtFlags::REMOVEDIR);
        }
    };
    remove();
    let made = fill(data, &dirs, &files, &mtab, owner).and_then(|()| renameat(data, new.as_str(), data, NAME));
    if made.is_err() {
        remove();
    }
    made
}

fn fill(data: &OwnedFd, dirs: &[String], files: &[String], mtab: &str, owner: Option<(u32, u32)>) -> Result<(), Errno> {
    let own = |path: &str| match owner {
        Some((uid, gid)) => {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            chownat(data, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
        }
        None => Ok(()),
    };
    // The umask of proa lets nobody but the user in.
    let give = |path: &str, mode: Mode| {
        chmodat(data, path, mode, AtFlags::empty())?;
        own(path)
    };
    for dir in dirs {
        mkdirat(data, dir.as_str(), DIR_MODE)?;
        give(dir, DIR_MODE)?;
    }
    for file in files {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(data, file.as_str(), flags, FILE_MODE)?;
        give(file, FILE_MODE)?;
    }
    symlinkat(MTAB.1, data, mtab)?;
    own(mtab)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn it_is_made_once_and_put_under_every_image() {
        let data = tempfile::tempdir().unwrap();
        let mapping = IdMapping::single(1000, 1000);
        let layer = || OwnedFd::from(fs::File::open("/").unwrap());
        let mut layers = vec![vec![layer()], (0..14).map(|_| layer()).collect()];
        put_under(&mut layers, data.path(), &mapping);
        assert_eq!(layers.iter().map(Vec::len).collect::<Vec<_>>(), [2, 14]);
        let inode = fs::metadata(data.path().join(NAME)).unwrap().ino();
        assert_eq!(fstat(&layers[0][0]).unwrap().st_ino, inode, "the lowest");
        for dir in DIRS {
            assert_eq!(fs::metadata(data.path().join(NAME).join(dir)).unwrap().mode() & 0o7777, 0o755, "{dir}");
        }
        let mtab = fs::read_link(data.path().join(NAME).join(MTAB.0)).unwrap();
        assert_eq!(mtab, Path::new("../proc/self/mounts"));
        put_under(&mut layers, data.path(), &mapping);
        assert_eq!(fs::metadata(data.path().join(NAME)).unwrap().ino(), inode);
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn those_who_make_it_at_once_all_have_it_whole() {
        const AT_ONCE: usize = 8;
        for _ in 0..50 {
            let data = tempfile::tempdir().unwrap();
            let barrier = std::sync::Barrier::new(AT_ONCE);
            let begin = || {
                barrier.wait();
                ensure(data.path(), &IdMapping::single(1000, 1000)).map(drop)
            };
            let made: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(begin)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(made, [Ok(()); AT_ONCE]);
            for path in paths() {
                assert!(fs::symlink_metadata(data.path().join(NAME).join(path)).is_ok(), "{path}");
            }
        }
    }

    #[test]
    fn without_it_pods_run_all_the_same() {
        let mut layers = vec![vec![]];
        put_under(&mut layers, Path::new("/nowhere"), &IdMapping::single(1000, 1000));
        assert!(layers[0].is_empty());
    }
}
