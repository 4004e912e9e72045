//! Finding, or making, the place in an app's root where a volume belongs.
//!
//! Nothing of the path is trusted: the image wrote the links in it, and may have written the path itself. It is walked
//! one component at a time, links are expanded here, and every directory is opened from the root by a path that is known
//! to hold no link, without leaving the root's own mount. The image cannot change meanwhile: no process of the app
//! exists yet, and other apps have other roots; what they can change (a shared volume) is on another mount.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawDir, ResolveFlags, Uid, chownat, fchown, fstat, mkdirat, openat, openat2,
    readlinkat, unlinkat,
};
use rustix::io::Errno;

use super::{Named as _, Refusal};

/// As many links as the kernel follows in one path (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// Directories that are made are the root's, for all to read (appc ace.md, "Volume Setup").
const DIR_MODE: Mode = Mode::from_raw_mode(0o755);

/// What a volume is, and so what its place must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A directory.
    Dir,
    /// Anything else.
    File,
}

/// A place for a mount.
#[derive(Debug)]
pub(super) struct Place {
    /// Opened with `O_PATH`.
    pub(super) fd: OwnedFd,
    /// Whether the image has something there that the mount will hide, other than a file under a file.
    pub(super) hides: bool,
    /// Whether it was made.
    pub(super) made: bool,
    /// Names of the directories that lead there from the root, and its own; none is a link.
    pub(super) path: Vec<String>,
}

/// A mount below the root that a place may lie in: another process may change what is in it meanwhile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around<'a> {
    /// Where it is, as in [`Place::path`].
    pub(super) path: &'a [String],
    /// Its directory.
    pub(super) mount: BorrowedFd<'a>,
}

/// The place that `path` means inside `root`, made if missing, for `owner`: root as the app counts.
///
/// # Errors
/// It is neither on the root's own mount nor on one of those `around` it, is the root itself, or of another kind than the
/// volume.
pub(super) fn ensure(
    root: BorrowedFd<'_>,
    path: &str,
    kind: Kind,
    owner: (u32, u32),
    around: &[Around<'_>],
) -> Result<Place, Refusal> {
    let mut walk = Walk { root, around, path, owner, reached: Vec::new() };
    let mut pending: VecDeque<String> = components(path).collect();
    let mut links = 0;
    let mut place = None;
    while let Some(component) = pending.pop_front() {
        if component == ".." {
            // As in the kernel's RESOLVE_IN_ROOT: the root's parent is the root.
            walk.reached.pop();
            place = None;
            continue;
        }
        let last = pending.is_empty();
        match walk.step(component, if last { kind } else { Kind::Dir }, last)? {
            Step::Link(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(walk.refuse(Errno::LOOP, "too many symbolic links"));
                }
                if target.starts_with('/') {
                    walk.reached.clear();
                }
                for component in components(&target).rev() {
                    pending.push_front(component);
                }
                place = None;
            }
            Step::At(found) => place = Some(found),
        }
    }
    if place.is_none() {
        // The path is empty or ends in `..`; what it leads to is known to be no link.
        let name = walk.reached.pop().ok_or_else(|| walk.refuse(Errno::BUSY, "the place is the image's root"))?;
        if let Step::At(found) = walk.step(name, kind, true)? {
            place = Some(found);
        }
    }
    place.ok_or_else(|| walk.refuse(Errno::LOOP, "too many symbolic links"))
}

/// Gives an open file to an owner of the pod's ids.
pub(super) fn give_to(file: BorrowedFd<'_>, (uid, gid): (u32, u32)) -> rustix::io::Result<()> {
    fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
}

fn components(path: &str) -> impl DoubleEndedIterator<Item = String> + '_ {
    path.split('/').filter(|component| !component.is_empty() && *component != ".").map(str::to_owned)
}

/// Where one component led.
enum Step {
    /// To a symbolic link with this content.
    Link(String),
    /// To a file or directory.
    At(Place),
}

/// A walk from the root.
struct Walk<'a> {
    root: BorrowedFd<'a>,
    /// Mounts that the way may lead into.
    around: &'a [Around<'a>],
    /// The whole path, for messages.
    path: &'a str,
    /// Whom what is made belongs to.
    owner: (u32, u32),
    /// Names of directories below the root, none of which is a link.
    reached: Vec<String>,
}

impl Walk<'_> {
    /// Goes on to `name`, which is made as `kind` if it is missing.
    fn step(&mut self, name: String, kind: Kind, last: bool) -> Result<Step, Refusal> {
        let is_there = |around: &&Around<'_>| around.path.split_last() == Some((&name, self.reached.as_slice()));
        if let Some(entered) = self.around.iter().rfind(is_there).filter(|_| !last) {
            let fd = entered.mount.try_clone_to_owned().named(|| self.call("fcntl"))?;
            self.reached.push(name);
            return Ok(Step::At(Place { fd, hides: false, made: false, path: self.reached.clone() }));
        }
        let parent = self.open_reached()?;
        let (_, depth) = self.base();
        let in_image = depth == 0;
        let (found, new) = match self.open(&parent, &name) {
            Err(refusal) if refusal.errno == Errno::NOENT => (self.make(&parent, &name, kind)?, true),
            opened => (opened?, false),
        };
        let file_type = FileType::from_raw_mode(fstat(&found).named(|| self.call("fstat"))?.st_mode);
        let (found, hides) = match (file_type, kind) {
            (FileType::Symlink, _) => {
                let target = readlinkat(&found, "", Vec::new()).named(|| self.call("readlinkat"))?;
                return match target.into_string() {
                    Ok(target) => Ok(Step::Link(target)),
                    Err(_) => Err(self.refuse(Errno::ILSEQ, "a symbolic link on the way is not UTF-8")),
                };
            }
            (FileType::Directory, Kind::Dir) => {
                let hides = in_image && last && !new && !self.is_empty(&found)?;
                (found, hides)
            }
            (FileType::Directory, Kind::File) if in_image => {
                return Err(self.refuse(Errno::ISDIR, "the image has a directory there, and the volume is a file"));
            }
            (FileType::Directory, Kind::File) => {
                return Err(self.refuse(Errno::ISDIR, "there is a directory in the volume around it"));
            }
            // A file in the place of a directory makes way for it (appc ace.md, "Volume Setup"). One of a volume is
            // somebody's.
            (_, Kind::Dir) if last && in_image => {
                unlinkat(&parent, name.as_str(), AtFlags::empty()).named(|| self.call("unlinkat"))?;
                (self.make(&parent, &name, kind)?, true)
            }
            (_, Kind::Dir) if in_image => {
                return Err(self.refuse(Errno::NOTDIR, "a part of the path is a file in the image"));
            }
            (_, Kind::Dir) => return Err(self.refuse(Errno::NOTDIR, "there is a file in the volume around it")),
            (_, Kind::File) => (found, false),
        };
        self.reached.push(name);
        Ok(Step::At(Place { fd: found, hides, made: new, path: self.reached.clone() }))
    }

    /// The innermost mount that what was reached lies in, and how many of its directories lead there: none to the root.
    fn base(&self) -> (BorrowedFd<'_>, usize) {
        let within = self.around.iter().filter(|around| self.reached.starts_with(around.path));
        let innermost = within.max_by_key(|around| around.path.len());
        innermost.map_or((self.root, 0), |around| (around.mount, around.path.len()))
    }

    fn open_reached(&self) -> Result<OwnedFd, Refusal> {
        let (base, depth) = self.base();
        let below = &self.reached[depth..];
        let path = if below.is_empty() { ".".to_owned() } else { below.join("/") };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(base, path, flags, Mode::empty(), resolve()).map_err(|errno| self.explain(errno))
    }

    /// Opens `name`, which may be a link: `RESOLVE_NO_SYMLINKS` lets a last one be opened as itself.
    fn open(&self, parent: &OwnedFd, name: &str) -> Result<OwnedFd, Refusal> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat2(parent, name, flags, Mode::empty(), resolve()).map_err(|errno| self.explain(errno))
    }

    fn make(&self, parent: &OwnedFd, name: &str, kind: Kind) -> Result<OwnedFd, Refusal> {
        let made = match kind {
            Kind::Dir => mkdirat(parent, name, DIR_MODE).named(|| self.call("mkdirat")),
            Kind::File => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mode = Mode::from_raw_mode(0o644);
                openat(parent, name, flags, mode).map(drop).named(|| self.call("openat"))
            }
        };
        let (_, depth) = self.base();
        match made {
            // Another pod with the same volume was faster; what it is shows when it is opened.
            Err(Refusal { errno: Errno::EXIST, .. }) if depth > 0 => {}
            made => made?,
        }
        let made = self.open(parent, name)?;
        // What is made in a volume belongs to who makes it: in one of the host that is the caller.
        if self.owner != (0, 0) && depth == 0 {
            let (uid, gid) = (Uid::from_raw(self.owner.0), Gid::from_raw(self.owner.1));
            chownat(&made, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH).named(|| self.call("fchownat"))?;
        }
        Ok(made)
    }

    fn is_empty(&self, dir: &OwnedFd) -> Result<bool, Refusal> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(dir, ".", flags, Mode::empty()).named(|| self.call("openat"))?;
        let mut buffer = Vec::with_capacity(1024);
        let mut entries = RawDir::new(dir.as_fd(), buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry.named(|| self.call("getdents64"))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn explain(&self, errno: Errno) -> Refusal {
        match errno {
            Errno::XDEV => self.refuse(errno, "the place is not on the image's own file system"),
            errno => Refusal::new(self.call("openat2"), errno),
        }
    }

    fn refuse(&self, errno: Errno, reason: &'static str) -> Refusal {
        Refusal::because(format!("attach at {:?}", self.path), errno, reason)
    }

    fn call(&self, name: &str) -> String {
        format!("{name}(<rootfs>, {:?})", self.path)
    }
}

fn resolve() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::{Path, PathBuf};

    use super::*;

    /// An image with links in every direction, in a directory beside which there is a canary.
    fn image() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        for path in ["a/full", "b", "etc"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        fs::create_dir(dir.path().join("canary")).unwrap();
        fs::write(root.join("a/full/file"), "x").unwrap();
        fs::write(root.join("etc/conf"), "x").unwrap();
        for (link, target) in [
            ("a/abs", "/b"),
            ("a/rel", "../b"),
            ("a/out", "../../../canary"),
            ("a/out-abs", "/../canary"),
            ("a/nowhere", "/new/deep"),
            ("a/root", "/"),
            ("a/loop", "loop"),
            ("a/to-file", "/etc/conf"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        (dir, root)
    }

    fn ensured(root: &Path, path: &str, kind: Kind) -> Result<(PathBuf, bool), Refusal> {
        let dir = fs::File::open(root).unwrap();
        let place = ensure(dir.as_fd(), path, kind, (0, 0), &[])?;
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&place.fd));
        let real = fs::read_link(link).unwrap();
        Ok((real.strip_prefix(root).expect("inside").to_owned(), place.hides))
    }

    #[test]
    fn links_and_dots_stay_inside() {
        for (path, place) in [
            ("/b", "b"),
            ("/b/", "b"),
            ("b", "b"),
            ("/a/abs", "b"),
            ("/a/rel/x", "b/x"),
            ("/a/../a/.//rel", "b"),
            ("/a/out", "canary"),
            ("/a/out-abs/x", "canary/x"),
            ("/a/nowhere/x", "new/deep/x"),
            ("/a/root/x", "x"),
            ("/a/full/..", "a"),
            ("../../../../b/y", "b/y"),
            ("/not/there/yet", "not/there/yet"),
        ] {
            let (dir, root) = image();
            assert_eq!(ensured(&root, path, Kind::Dir).unwrap().0, Path::new(place), "{path}");
            assert_eq!(fs::read_dir(dir.path().join("canary")).unwrap().count(), 0, "{path}");
            assert_eq!(ensured(&root, &format!("{path}/file"), Kind::File).unwrap().0, Path::new(place).join("file"));
        }
    }

    #[test]
    fn what_is_made_is_for_all_to_read() {
        let (_dir, root) = image();
        let mask = rustix::process::umask(Mode::empty());
        ensured(&root, "/new/er/file", Kind::File).unwrap();
        rustix::process::umask(mask);
        let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("new"), mode("new/er"), mode("new/er/file")), (0o755, 0o755, 0o644));
    }

    #[test]
    fn what_would_be_hidden_is_told() {
        let (_dir, root) = image();
        let hides = |path, kind| ensured(&root, path, kind).unwrap().1;
        assert!(hides("/a/full", Kind::Dir));
        assert!(!hides("/b", Kind::Dir));
        assert!(!hides("/etc/conf", Kind::File));
        assert!(!hides("/brand/new", Kind::Dir));
        assert!(hides("/etc/conf", Kind::Dir), "a directory takes the file's place");
        assert!(root.join("etc/conf").is_dir());
    }

    #[test]
    fn what_cannot_be_a_place_is_refused() {
        let (_dir, root) = image();
        for (path, kind, why) in [
            ("/", Kind::Dir, "the image's root"),
            ("", Kind::Dir, "the image's root"),
            ("/..", Kind::Dir, "the image's root"),
            ("/a/root", Kind::Dir, "the image's root"),
            ("/a/loop", Kind::Dir, "too many symbolic links"),
            ("/a/full", Kind::File, "the volume is a file"),
            ("/etc/conf/x", Kind::Dir, "a part of the path is a file"),
        ] {
            let refusal = ensured(&root, path, kind).unwrap_err().to_string();
            assert!(refusal.contains(why), "{path}: {refusal}");
        }
    }
}
