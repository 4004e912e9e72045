//! Packs a file or a tree, which may be changing under it, into a tar archive.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{CWD, Dir, FileType, OFlags, ResolveFlags, Stat, fstat, fstatfs, readlinkat};
use rustix::io::Errno;
use store::beneath::{open_beneath, open_resolving};
use store::data::{DataError, DataWriter, Holes};
use store::flatten::{add_xattrs, header};
use store::walk::{HardLinks, Itinerary, Memory};
use tar_core::EntryType;

use super::Copied;
use crate::escape::printable;

/// Most files of one copy.
pub(super) const MOST_FILES: u64 = 10_000_000;

/// Two blocks of zeros end an archive.
const END: [u8; 1024] = [0; 1024];

/// File systems whose files are the kernel's answers, not anybody's data (statfs(2)).
const OF_THE_KERNEL: [u64; 10] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x27_e0eb,   // cgroup
    0x6367_7270, // cgroup2
    0x1cd1,      // devpts
    0x1980_0202, // mqueue
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0xcafe_4a11, // bpf
];

fn is_of_the_kernel(file: &OwnedFd) -> bool {
    fstatfs(file).is_ok_and(|found| OF_THE_KERNEL.contains(&(found.f_type.cast_unsigned() & 0xffff_ffff)))
}

/// What is to be copied.
#[derive(Clone, Debug)]
pub(super) struct Source {
    path: Vec<u8>,
    follow: bool,
    /// Whether what is in the directory is meant, not the directory.
    pub(super) contents: bool,
}

impl Source {
    /// What a path means: one that ends in `/.` is what is in the directory, and one that ends in a slash the directory that
    /// a link leads to.
    pub(super) fn new(path: &[u8], follow: bool) -> Self {
        let last = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let bare = path.iter().all(|&byte| byte == b'/');
        let contents = bare || last == b"." || last == b"..";
        Self { path: path.to_vec(), follow: follow || contents || last.is_empty(), contents }
    }

    /// Its name, or `.` for what is in a directory.
    pub(super) fn name(&self) -> &[u8] {
        match self.path.split(|&byte| byte == b'/').rfind(|part| !part.is_empty()) {
            Some(name) if !self.contents => name,
            _ => b".",
        }
    }

    fn shown(&self) -> String {
        printable(&String::from_utf8_lossy(&self.path)).into_owned()
    }
}

/// Writes an archive of the source, which is called `name` in it.
///
/// # Errors
///
/// It is not there, something of it cannot be read, or the archive not be written.
pub(super) fn pack(source: &Source, name: &[u8], out: &mut dyn Write) -> Result<Copied, String> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | if source.follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    let top = open_resolving(CWD, &source.path, flags, ResolveFlags::NO_MAGICLINKS);
    let top = top.map_err(|errno| format!("{}: {}", source.shown(), io::Error::from(errno)))?;
    let mut packer = Packer {
        top,
        path: &source.path,
        follow: source.follow,
        device: 0,
        name,
        shown: source.shown(),
        out,
        links: HardLinks::default(),
        memory: Memory::default(),
        data: DataWriter::new(Holes::Kept),
        copied: Copied::default(),
    };
    packer.all(source.contents)?;
    packer.write(&END)?;
    Ok(packer.copied)
}

/// Writing has failed.
pub(super) fn not_written(error: io::Error) -> String {
    format!("write the archive: {error}")
}

struct Packer<'a> {
    /// What was named, `O_PATH`.
    top: OwnedFd,
    path: &'a [u8],
    follow: bool,
    /// The file system that it is on.
    device: u64,
    name: &'a [u8],
    shown: String,
    out: &'a mut dyn Write,
    /// Files of several names that were met, by device and inode.
    links: HardLinks<(u64, u64)>,
    memory: Memory,
    data: DataWriter,
    copied: Copied,
}

impl Packer<'_> {
    fn all(&mut self, must_be_directory: bool) -> Result<(), String> {
        let stat = fstat(&self.top).map_err(|errno| self.failed(b"", "stat", errno))?;
        self.device = stat.st_dev;
        if must_be_directory && kind(&stat) != FileType::Directory {
            return Err(self.failed(b"", "open", Errno::NOTDIR));
        }
        if is_of_the_kernel(&self.top) {
            return Err(format!("{}: the kernel makes this up: there is nothing to copy", self.shown));
        }
        let mut way = Itinerary::default();
        let (mut next, mut files) = (Some(()), 0);
        while next.is_some() {
            files += 1;
            if files > MOST_FILES {
                return Err(format!("{}: more than {MOST_FILES} files", self.shown));
            }
            let mut names = self.one(way.path())?;
            names.sort_unstable();
            if !names.is_empty() {
                way.enter(names.into_iter().map(|name| (name, ())).collect());
            }
            next = way.next(&mut self.memory);
        }
        Ok(())
    }

    /// Packs one file; returns the names in it if it is a directory.
    fn one(&mut self, path: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let file = match self.open(path, OFlags::PATH) {
            Ok(file) => file,
            // It was removed between the listing and now; or a directory on the way was.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !path.is_empty() => return Ok(Vec::new()),
            Err(errno) => return Err(self.failed(path, "open", errno)),
        };
        let stat = fstat(&file).map_err(|errno| self.failed(path, "stat", errno))?;
        match kind(&stat) {
            FileType::Directory => self.directory(path, &file, &stat),
            FileType::RegularFile => self.file(path).map(|()| Vec::new()),
            FileType::Symlink => {
                let target = readlinkat(&file, "", Vec::new()).map_err(|errno| self.failed(path, "readlink", errno))?;
                let mut entry = header(&self.entry_name(path), stat.st_mode & 0o7777, owner(&stat), mtime(&stat));
                entry.entry_type(EntryType::Symlink).link_name(target.as_bytes());
                self.write(&entry.finish_bytes()).map(|()| Vec::new())
            }
            FileType::Fifo => {
                let mut entry = header(&self.entry_name(path), stat.st_mode & 0o7777, owner(&stat), mtime(&stat));
                entry.entry_type(EntryType::Fifo);
                self.write(&entry.finish_bytes()).map(|()| Vec::new())
            }
            // As tar and docker, which say nothing of sockets.
            FileType::Socket => Ok(Vec::new()),
            // Of /dev nobody expects it.
            _ if stat.st_dev != self.device => Ok(Vec::new()),
            _ => {
                self.copied.remark(format!("{}: a device is not copied", self.path_shown(path)));
                Ok(Vec::new())
            }
        }
    }

    fn directory(&mut self, path: &[u8], file: &OwnedFd, stat: &Stat) -> Result<Vec<Vec<u8>>, String> {
        let mut entry = header(&self.entry_name(path), stat.st_mode & 0o7777, owner(stat), mtime(stat));
        entry.path([&self.entry_name(path)[..], b"/"].concat());
        entry.entry_type(EntryType::Directory);
        self.write(&entry.finish_bytes())?;
        if is_of_the_kernel(file) {
            return Ok(Vec::new());
        }
        let dir = match self.open(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !path.is_empty() => return Ok(Vec::new()),
            Err(errno) => return Err(self.failed(path, "open", errno)),
        };
        let mut names = Vec::new();
        for entry in Dir::new(dir).map_err(|errno| self.failed(path, "readdir", errno))? {
            match entry {
                Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
                Ok(entry) => {
                    let name = entry.file_name().to_bytes();
                    self.memory.take(name).map_err(|error| format!("{}: {error}", self.path_shown(path)))?;
                    names.push(name.to_vec());
                }
                // The directory was removed meanwhile.
                Err(Errno::NOENT) => break,
                Err(errno) => return Err(self.failed(path, "readdir", errno)),
            }
        }
        Ok(names)
    }

    fn file(&mut self, path: &[u8]) -> Result<(), String> {
        // Should it be a named pipe by now, nobody waits for its other end.
        let file = match self.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !path.is_empty() => return Ok(()),
            Err(errno) => return Err(self.failed(path, "open", errno)),
        };
        let stat = fstat(&file).map_err(|errno| self.failed(path, "stat", errno))?;
        if kind(&stat) != FileType::RegularFile {
            return Ok(());
        }
        let name = self.entry_name(path);
        let mut entry = header(&name, stat.st_mode & 0o7777, owner(&stat), mtime(&stat));
        let met = self.links.meet((stat.st_dev, stat.st_ino), stat.st_nlink, &name, &mut self.memory);
        if let Some(first) = met.map_err(|error| format!("{}: {error}", self.path_shown(path)))? {
            entry.entry_type(EntryType::Link).link_name(first);
            return self.write(&entry.finish_bytes());
        }
        add_xattrs(&mut entry, file.as_fd()).map_err(|errno| self.failed(path, "flistxattr", errno))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        match self.data.write(&mut entry, &file, size, self.out) {
            Ok(shorter) => {
                if shorter {
                    self.copied.remark(format!("{}: became shorter while it was copied", self.path_shown(path)));
                }
                self.copied.bytes += size;
                Ok(())
            }
            Err(DataError::Write(error)) => Err(not_written(error)),
            Err(error) => Err(format!("{}: {error}", self.path_shown(path))),
        }
    }

    /// Opens what is at a path from the top: no link anywhere on the way, nothing outside.
    fn open(&self, path: &[u8], access: OFlags) -> Result<OwnedFd, Errno> {
        if !path.is_empty() {
            return open_beneath(&self.top, path, access);
        }
        let access = access | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if access.contains(OFlags::PATH) {
            return rustix::io::fcntl_dupfd_cloexec(&self.top, 0);
        }
        match fstat(&self.top).map(|stat| kind(&stat)) {
            Ok(FileType::Directory) => open_resolving(&self.top, b".", access, ResolveFlags::empty()),
            // By its name once more: a descriptor's own path is out of reach at the root of an app. What is opened is
            // looked at again.
            _ => {
                let nofollow = if self.follow { OFlags::empty() } else { OFlags::NOFOLLOW };
                open_resolving(CWD, self.path, (access - OFlags::NOFOLLOW) | nofollow, ResolveFlags::NO_MAGICLINKS)
            }
        }
    }

    /// The name that a path has in the archive.
    fn entry_name(&self, path: &[u8]) -> Vec<u8> {
        if path.is_empty() { self.name.to_vec() } else { [self.name, b"/", path].concat() }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.out.write_all(bytes).map_err(not_written)
    }

    fn path_shown(&self, path: &[u8]) -> String {
        let path = String::from_utf8_lossy(path);
        match path.is_empty() {
            true => self.shown.clone(),
            false => format!("{}/{}", self.shown.trim_end_matches('/'), printable(&path)),
        }
    }

    fn failed(&self, path: &[u8], call: &str, errno: Errno) -> String {
        format!("{}: {call}: {}", self.path_shown(path), io::Error::from(errno))
    }
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn owner(stat: &Stat) -> (u32, u32) {
    (stat.st_uid, stat.st_gid)
}

fn mtime(stat: &Stat) -> u64 {
    u64::try_from(stat.st_mtime).unwrap_or(0)
}
