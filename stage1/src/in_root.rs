//! Opening a path of an app's root as the app would: links are followed, and none leads out of it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::path::Arg;

/// Tries so often when something was renamed or mounted meanwhile, anywhere on the system: then the kernel cannot be sure that
/// `..`, in a link such as `../run`, has not led out (openat2(2), EAGAIN). Where 16 pods are started at a time that happens.
const ATTEMPTS: usize = 1000;

/// Opens `path` below `root`. It goes by no magic link, and by no other file system than `more` allows.
///
/// # Errors
/// Those of openat2(2).
pub(crate) fn open(
    root: impl AsFd,
    path: impl Arg + Copy,
    flags: OFlags,
    more: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
    for _ in 0..ATTEMPTS {
        match openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            opened => return opened,
        }
    }
    Err(Errno::AGAIN)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// A rename of another file lets the kernel doubt `..`: openat2(2) alone fails in one of some thousand times.
    #[test]
    fn renames_elsewhere_do_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/etc")).unwrap();
        fs::create_dir_all(dir.path().join("root/run")).unwrap();
        fs::write(dir.path().join("root/run/file"), "").unwrap();
        std::os::unix::fs::symlink("../run/file", dir.path().join("root/etc/link")).unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        fs::write(&one, "").unwrap();
        let root = File::open(dir.path().join("root")).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    fs::rename(&one, &other).unwrap();
                    fs::rename(&other, &one).unwrap();
                }
            });
            let refused =
                (0..5000).map(|_| open(&root, "etc/link", OFlags::PATH, ResolveFlags::NO_XDEV)).find_map(Result::err);
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(refused, None);
        });
    }

    #[test]
    fn no_link_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/etc")).unwrap();
        fs::write(dir.path().join("outside"), "").unwrap();
        for (name, to) in [("up", "../../outside"), ("absolute", "/outside"), ("magic", "/proc/self/root/outside")] {
            std::os::unix::fs::symlink(to, dir.path().join("root/etc").join(name)).unwrap();
            let root = File::open(dir.path().join("root")).unwrap();
            let opened = open(&root, format!("etc/{name}").as_str(), OFlags::PATH, ResolveFlags::empty());
            assert_eq!(opened.map(drop), Err(Errno::NOENT), "{to}");
        }
    }
}
