//! Compares all of two trees but the contents of files.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fgetxattr, flistxattr, fstat, getxattr, listxattr, openat, readlinkat,
    statat,
};
use rustix::io::Errno;

use super::Damage;
use crate::beneath::open_beneath;
use crate::digest::{Algorithm, Digest};
use crate::os_error::OsError;
use crate::removal::for_each_entry;
use crate::shown::Shown;

/// The attributes that a layer decides on; labels of security modules are the host's.
fn counts(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name == b"security.capability"
}

/// Whether `found` is as `expected`, with `contents` that of files too.
///
/// # Errors
/// The first difference, in the order of the paths of directories.
pub(super) fn compare(found: &OwnedFd, expected: &OwnedFd, contents: bool) -> Result<(), Damage> {
    // Inode numbers of files of several names, of the one tree by those of the other, and the other way round. How many
    // names there are says nothing: a merged tree's files are further names of these.
    let (mut links, mut back) = (HashMap::new(), HashMap::new());
    let mut queue = vec![Vec::new()];
    while let Some(path) = queue.pop() {
        let dirs = [directory(found, &path)?, directory(expected, &path)?];
        let stats = [stat(&path, &dirs[0])?, stat(&path, &dirs[1])?];
        same_attributes(&path, &stats[0], &stats[1])?;
        same_xattrs(&path, [xattrs(&dirs[0]), xattrs(&dirs[1])])?;
        let names = [names(&path, &dirs[0])?, names(&path, &dirs[1])?];
        for name in same_names(&path, names)? {
            let below = if path.is_empty() { name.clone() } else { [&path[..], b"/", &name].concat() };
            let stat = |dir: &OwnedFd| statat(dir, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
            let [a, b] = [stat(&dirs[0]), stat(&dirs[1])];
            let (a, b) = (a.map_err(|e| failed(&below, e))?, b.map_err(|e| failed(&below, e))?);
            if FileType::from_raw_mode(b.st_mode) == FileType::Directory && same_kind(&a, &b) {
                queue.push(below);
                continue;
            }
            same_attributes(&below, &a, &b)?;
            if contents && (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino) {
                continue;
            }
            if !contents && (b.st_nlink > 1 || a.st_nlink > 1) {
                let known = (*links.entry(b.st_ino).or_insert(a.st_ino), *back.entry(a.st_ino).or_insert(b.st_ino));
                if known != (a.st_ino, b.st_ino) {
                    return Err(differs(&below, "its hard links are others"));
                }
            }
            match FileType::from_raw_mode(b.st_mode) {
                FileType::Symlink => {
                    let target = |dir: &OwnedFd| readlinkat(dir, name.as_slice(), Vec::new());
                    let target = |dir| target(dir).map_err(|e| failed(&below, e));
                    let (a, b) = (target(&dirs[0])?, target(&dirs[1])?);
                    if a != b {
                        let (a, b) = (Shown::new(a.as_bytes()), Shown::new(b.as_bytes()));
                        return Err(differs(&below, &format!("it leads to {a} instead of {b}")));
                    }
                }
                FileType::RegularFile => {
                    same_xattrs(&below, [file_xattrs(&dirs[0], &name), file_xattrs(&dirs[1], &name)])?;
                    if contents && hash(&below, &dirs[0], &name)? != hash(&below, &dirs[1], &name)? {
                        return Err(differs(&below, "its contents are others"));
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Opens a directory of a tree.
fn directory(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Damage> {
    open_beneath(root, path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(|errno| failed(path, errno))
}

fn stat(path: &[u8], dir: &OwnedFd) -> Result<Stat, Damage> {
    fstat(dir).map_err(|errno| failed(path, errno))
}

fn names(path: &[u8], dir: &OwnedFd) -> Result<Vec<Vec<u8>>, Damage> {
    let mut names = Vec::new();
    let read = for_each_entry(dir, |name, _| {
        names.push(name.to_vec());
        Ok(())
    });
    read.map_err(|error| differs(path, &OsError::from(error).to_string()))?;
    names.sort_unstable();
    Ok(names)
}

/// The names, if there are the same ones.
fn same_names(path: &[u8], [found, expected]: [Vec<Vec<u8>>; 2]) -> Result<Vec<Vec<u8>>, Damage> {
    let below = |name: &[u8]| if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() };
    if let Some(name) = found.iter().find(|name| expected.binary_search(name).is_err()) {
        return Err(differs(&below(name), "it does not belong there"));
    }
    if let Some(name) = expected.iter().find(|name| found.binary_search(name).is_err()) {
        return Err(differs(&below(name), "it is missing"));
    }
    Ok(expected)
}

fn same_kind(a: &Stat, b: &Stat) -> bool {
    FileType::from_raw_mode(a.st_mode) == FileType::from_raw_mode(b.st_mode)
}

fn same_attributes(path: &[u8], found: &Stat, expected: &Stat) -> Result<(), Damage> {
    let (is, should) = (FileType::from_raw_mode(found.st_mode), FileType::from_raw_mode(expected.st_mode));
    if is != should {
        return Err(differs(path, &format!("it is {is:?} instead of {should:?}")));
    }
    let mode = |stat: &Stat| stat.st_mode & 0o7777;
    if mode(found) != mode(expected) {
        return Err(differs(path, &format!("its mode is {:04o} instead of {:04o}", mode(found), mode(expected))));
    }
    if (found.st_uid, found.st_gid) != (expected.st_uid, expected.st_gid) {
        let [is, should] = [found, expected].map(|stat| format!("{}:{}", stat.st_uid, stat.st_gid));
        return Err(differs(path, &format!("its owner is {is} instead of {should}")));
    }
    if is != FileType::Directory && found.st_size != expected.st_size {
        return Err(differs(path, &format!("its size is {} instead of {}", found.st_size, expected.st_size)));
    }
    // Marks of what is hidden have the time of the extraction: no archive gives them another.
    let mark = is == FileType::CharacterDevice;
    if !mark && (found.st_mtime, found.st_mtime_nsec) != (expected.st_mtime, expected.st_mtime_nsec) {
        return Err(differs(path, "its modification time is another"));
    }
    if found.st_rdev != expected.st_rdev {
        return Err(differs(path, "it is another device"));
    }
    Ok(())
}

/// The digest of a file's contents.
fn hash(path: &[u8], dir: &OwnedFd, name: &[u8]) -> Result<Digest, Damage> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::empty()).map_err(|e| failed(path, e))?;
    let read = Digest::of_reader(Algorithm::Sha256, File::from(file));
    read.map_err(|error| differs(path, &OsError::from(error).to_string()))
}

type Xattrs = rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>>;

fn same_xattrs(path: &[u8], [found, expected]: [Xattrs; 2]) -> Result<(), Damage> {
    let (found, expected) = (found.map_err(|e| failed(path, e))?, expected.map_err(|e| failed(path, e))?);
    if found == expected { Ok(()) } else { Err(differs(path, "its extended attributes are others")) }
}

/// The attributes of an open directory.
fn xattrs(dir: &OwnedFd) -> Xattrs {
    read_xattrs(|buffer| flistxattr(dir, buffer), |name, buffer| fgetxattr(dir, name, buffer))
}

/// The attributes of a file, which is never opened: that its mode forbids reading it does not matter here.
fn file_xattrs(dir: &OwnedFd, name: &[u8]) -> Xattrs {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::empty())?;
    // O_PATH descriptors have no attributes; this link leads to the very file.
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    read_xattrs(|buffer| listxattr(link.as_str(), buffer), |name, buffer| getxattr(link.as_str(), name, buffer))
}

/// What the kernel lets one attribute, and the list of all names, be at most (xattr(7)).
const LONGEST: usize = 64 << 10;

fn read_xattrs(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> Xattrs {
    let mut buffer = [0; 1024];
    let names = match list(&mut buffer) {
        Ok(length) => buffer[..length].to_vec(),
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {
            let mut buffer = vec![0; LONGEST];
            let length = list(&mut buffer)?;
            buffer.truncate(length);
            buffer
        }
        Err(errno) => return Err(errno),
    };
    let mut value = Vec::new();
    let mut found = Vec::new();
    for name in names.split(|&b| b == 0).filter(|name| counts(name)) {
        value.resize(LONGEST, 0);
        let length = get(name, &mut value)?;
        found.push((name.to_vec(), value[..length].to_vec()));
    }
    found.sort_unstable();
    Ok(found)
}

fn failed(path: &[u8], errno: Errno) -> Damage {
    differs(path, &OsError::from(errno).to_string())
}

fn differs(path: &[u8], difference: &str) -> Damage {
    let path = if path.is_empty() { b"/" } else { path };
    Damage::Differs { path: Shown::new(path), difference: difference.to_owned() }
}
