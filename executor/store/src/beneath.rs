//! Opening what lies below a directory of a tree: no link anywhere on the way, nothing outside.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// Tries so often when something was renamed meanwhile. With a lease an app could have it try for ever (fcntl(2), F_SETLEASE).
const ATTEMPTS: usize = 1000;

/// Opens what is at `path` below `root`; an empty path is the root itself. With `O_PATH` and without `O_DIRECTORY` the last
/// component may be a link, which is opened as such.
///
/// # Errors
/// Those of openat2(2): `ELOOP` where there is a link on the way, `EXDEV` where the path leads out, `EAGAIN` where too much
/// was renamed meanwhile.
pub fn open_beneath(root: impl AsFd, path: &[u8], access: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let path = if path.is_empty() { b"." } else { path };
    open_resolving(root, path, access | OFlags::NOFOLLOW | OFlags::CLOEXEC, resolve)
}

/// openat2(2), once more where that is what it asks for: a rename anywhere on the system has raced with it.
///
/// # Errors
/// Those of openat2(2).
pub fn open_resolving(
    dir: impl AsFd,
    path: &[u8],
    access: OFlags,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    for _ in 0..ATTEMPTS {
        match openat2(&dir, path, access, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
    Err(Errno::AGAIN)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn no_link_is_followed_and_nothing_outside_reached() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/a")).unwrap();
        fs::write(dir.path().join("root/a/file"), "").unwrap();
        fs::write(dir.path().join("outside"), "").unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("root/link")).unwrap();
        let root = fs::File::open(dir.path().join("root")).unwrap();
        let open = |path: &str, access| open_beneath(&root, path.as_bytes(), access).map(drop);
        assert_eq!(open("", OFlags::RDONLY | OFlags::DIRECTORY), Ok(()));
        assert_eq!(open("a/file", OFlags::RDONLY), Ok(()));
        assert_eq!(open("link", OFlags::PATH), Ok(()));
        assert_eq!(open("link", OFlags::RDONLY), Err(Errno::LOOP));
        assert_eq!(open("link/file", OFlags::PATH), Err(Errno::LOOP));
        assert_eq!(open("../outside", OFlags::RDONLY), Err(Errno::XDEV));
        assert_eq!(open("/etc", OFlags::PATH), Err(Errno::XDEV));
    }
}
