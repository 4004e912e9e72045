//! Unpacks an archive below a directory, where something may be already. No link is followed on the way, and directories
//! and other files do not take each other's places.

use std::fs::File;
use std::io::{self, BufRead, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, chmodat, chownat, fchmod, fchown, fsetxattr,
    linkat, mkdirat, mknodat, openat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use store::archive::{EntryPath, Member, MemberKind, MemberReader as _, TarReader};
use store::beneath::open_beneath;
use store::extract::{ExtractError, ExtractLimits};

use super::Copied;
use super::pack::MOST_FILES;
use super::place::{Destination, Target};
use crate::escape::printable;

/// Whose the files become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owners {
    /// Of whoever copies.
    Ours,
    /// Of whom the archive says.
    Kept,
}

/// How an archive is unpacked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unpacker {
    pub(super) owners: Owners,
    /// Whether set-user-ID bits and file capabilities are kept. On the host they would give an app's program the rights of
    /// whoever has copied it.
    pub(super) privileged_modes: bool,
}

/// What is said last of an archive that this program made, when whoever makes it has ended.
pub(super) const ENDS_EARLY: &str = "the archive ends early";

/// Bytes remembered of directories until the end, when they get their modes: a directory of mode 0500 is filled first.
const MOST_REMEMBERED: usize = 256 << 20;

/// A directory that was made, and what it is to be like.
struct Made {
    path: Vec<u8>,
    mode: u32,
    mtime: (i64, u32),
}

/// An archive being unpacked.
struct Unpacking<'a, R> {
    reader: TarReader<R>,
    how: Unpacker,
    limits: ExtractLimits,
    destination: &'a Destination,
    /// Once the first member is known.
    target: Option<Target>,
    made: Vec<Made>,
    remembered: usize,
    copied: Copied,
}

type Result<T> = std::result::Result<T, String>;

impl Unpacker {
    /// Unpacks what `tar` brings.
    ///
    /// # Errors
    ///
    /// The archive is none or ends early, or something of it cannot be made: a text for people.
    pub(super) fn unpack(self, tar: impl BufRead, destination: &Destination) -> Result<Copied> {
        let limits = ExtractLimits::default();
        let reader = TarReader::new(tar, &limits);
        let (target, made, copied) = (None, Vec::new(), Copied::default());
        let mut unpacking = Unpacking { reader, how: self, limits, destination, target, made, remembered: 0, copied };
        if destination.is_for_archives() {
            unpacking.target = Some(destination.find(true)?);
        }
        let mut files = 0;
        while let Some(member) = unpacking.next()? {
            files += 1;
            if files > MOST_FILES {
                return Err(format!("the archive has more than {MOST_FILES} files"));
            }
            unpacking.member(member)?;
        }
        unpacking.finish()
    }
}

impl<R: BufRead> Unpacking<'_, R> {
    fn next(&mut self) -> Result<Option<Member>> {
        match self.reader.next_member() {
            // Whoever packs says why, if it is not the reader's own archive.
            Err(ExtractError::Truncated { .. } | ExtractError::NotTar(_)) if !self.destination.is_for_archives() => {
                Err(ENDS_EARLY.to_owned())
            }
            other => other.map_err(|error| error.to_string()),
        }
    }

    fn member(&mut self, member: Member) -> Result<()> {
        let shown = printable(&String::from_utf8_lossy(&member.name)).into_owned();
        let path = self.path_of(&member.name).map_err(|why| format!("{shown}: {why}"))?;
        if self.target.is_none() {
            self.target = Some(self.destination.find(member.kind == MemberKind::Directory)?);
        }
        let path = self.in_target(path);
        if path.is_empty() {
            // What is in a directory goes into one that is there.
            return match member.kind {
                MemberKind::Directory => Ok(()),
                _ => Err(format!("{shown}: it is no directory")),
            };
        }
        self.make(&path, member).map_err(|why| format!("{}: {why}", self.target().shown(&path)))
    }

    /// The path of a member's name: with one that is copied the first part is whoever packs it its.
    fn path_of(&self, name: &[u8]) -> Result<Vec<u8>> {
        let parsed = EntryPath::parse(name, &self.limits).map_err(|fault| fault.to_string())?;
        let path = parsed.path.as_bytes();
        if self.destination.is_for_archives() {
            return Ok(path.to_vec());
        }
        Ok(path.iter().position(|&byte| byte == b'/').map_or_else(Vec::new, |slash| path[slash + 1..].to_vec()))
    }

    /// The path below the target's directory.
    fn in_target(&self, path: Vec<u8>) -> Vec<u8> {
        let name = self.target.as_ref().map(|target| target.name.as_slice()).unwrap_or_default();
        match (name.is_empty(), path.is_empty()) {
            (true, _) => path,
            (false, true) => name.to_vec(),
            (false, false) => [name, b"/", &path].concat(),
        }
    }

    fn target(&self) -> &Target {
        self.target.as_ref().expect("the first member has found it")
    }

    fn make(&mut self, path: &[u8], member: Member) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        let directory = member.kind == MemberKind::Directory;
        let there = match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(FileType::from_raw_mode(stat.st_mode)),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(call("stat", errno)),
        };
        match there {
            Some(FileType::Directory) if directory => return Ok(()),
            Some(FileType::Directory) => return Err("a directory is there, and what is copied is none".to_owned()),
            Some(_) if directory => return Err("something is there that is no directory".to_owned()),
            _ => {}
        }
        match &member.kind {
            MemberKind::Directory => {
                mkdirat(&parent, name, Mode::RWXU).map_err(|errno| call("mkdir", errno))?;
                self.remember(path, &member)?;
                self.give(&parent, name, &member)
            }
            MemberKind::File | MemberKind::Sparse(..) => self.make_file(&parent, name, &member, there),
            MemberKind::Symlink(target) => {
                clear(&parent, name).map_err(|errno| call("unlink", errno))?;
                symlinkat(target.as_slice(), &parent, name).map_err(|errno| call("symlink", errno))?;
                self.give(&parent, name, &member)
            }
            MemberKind::HardLink(first) => {
                let first = self.in_target(self.path_of(first)?);
                let (first_parent, first_name) = self.parent(&first)?;
                if first == path {
                    return Err("it is a link to itself".to_owned());
                }
                clear(&parent, name).map_err(|errno| call("unlink", errno))?;
                linkat(&first_parent, first_name, &parent, name, AtFlags::empty()).map_err(|errno| call("link", errno))
            }
            MemberKind::Fifo => {
                clear(&parent, name).map_err(|errno| call("unlink", errno))?;
                mknodat(&parent, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
                    .map_err(|errno| call("mkfifo", errno))?;
                let mode = Mode::from_raw_mode(self.mode(&member));
                chmodat(&parent, name, mode, AtFlags::empty()).map_err(|errno| call("chmod", errno))?;
                self.give(&parent, name, &member)
            }
            MemberKind::Device => {
                self.copied.remark(format!("{}: a device is not copied", printable(&String::from_utf8_lossy(path))));
                Ok(())
            }
            MemberKind::Unknown(kind) => Err(format!("unknown type of entry 0x{kind:02x}")),
        }
    }

    /// Makes a file with its content; `there` is what has its name now.
    fn make_file(&mut self, parent: &OwnedFd, name: &[u8], member: &Member, there: Option<FileType>) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let (file, in_place) = match clear(parent, name) {
            Ok(()) => (openat(parent, name, flags | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR), false),
            // Something is mounted there, /etc/hosts for instance: written in place, it stays as it is otherwise.
            Err(Errno::BUSY) if there == Some(FileType::RegularFile) => {
                (openat(parent, name, flags | OFlags::TRUNC, Mode::empty()), true)
            }
            Err(errno) => return Err(call("unlink", errno)),
        };
        let file = File::from(file.map_err(|errno| call("open", errno))?);
        self.fill(&file, member)?;
        if in_place { Ok(()) } else { self.finish_file(&file, member) }
    }

    /// Opens the directory that a path is in, below the target's, and makes what is missing of it.
    fn parent<'p>(&self, path: &'p [u8]) -> Result<(OwnedFd, &'p [u8])> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |path: &[u8]| open_beneath(&self.target().dir, path, flags);
        let Some(slash) = path.iter().rposition(|&byte| byte == b'/') else {
            return Ok((open(b".").map_err(|errno| call("open", errno))?, path));
        };
        let (parent, name) = (&path[..slash], &path[slash + 1..]);
        match open(parent) {
            Ok(parent) => return Ok((parent, name)),
            Err(Errno::NOENT) => {}
            Err(Errno::LOOP | Errno::NOTDIR) => return Err("something on the way is no directory".to_owned()),
            Err(errno) => return Err(call("open", errno)),
        }
        // Archives of others need not name every directory.
        for end in (0..parent.len()).filter(|&at| parent[at] == b'/').chain([parent.len()]) {
            let (above, last) = match parent[..end].iter().rposition(|&byte| byte == b'/') {
                Some(slash) => (&parent[..slash], &parent[slash + 1..end]),
                None => (&b"."[..], &parent[..end]),
            };
            let above = open(above).map_err(|errno| call("open", errno))?;
            match mkdirat(&above, last, Mode::RWXU) {
                // Whatever the umask is.
                Ok(()) => open_up(&above, last).map_err(|errno| call("chmod", errno))?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(call("mkdir", errno)),
            }
        }
        Ok((open(parent).map_err(|errno| call("open", errno))?, name))
    }

    /// Writes the content of a file. What is zero stays a hole.
    fn fill(&mut self, file: &File, member: &Member) -> Result<()> {
        let whole = [(0, member.size)];
        let (regions, size) = match &member.kind {
            MemberKind::Sparse(regions, size) => (regions.as_slice(), *size),
            _ => (&whole[..], member.size),
        };
        let mut refused = None;
        for &(offset, length) in regions {
            let mut out = file;
            let mut refuse = |error: io::Error| {
                refused = Some(format!("write: {error}"));
                ExtractError::Read(String::new())
            };
            out.seek(SeekFrom::Start(offset)).map_err(|error| format!("seek: {error}"))?;
            let read = self.reader.data(length, &mut |bytes| {
                match bytes.iter().all(|&byte| byte == 0) {
                    true => out.seek(SeekFrom::Current(bytes.len() as i64)).map(drop),
                    false => out.write_all(bytes),
                }
                .map_err(&mut refuse)
            });
            if let Err(error) = read {
                return Err(match error {
                    ExtractError::Truncated { .. } if !self.destination.is_for_archives() => ENDS_EARLY.to_owned(),
                    error => refused.unwrap_or_else(|| error.to_string()),
                });
            }
        }
        file.set_len(size).map_err(|error| format!("truncate: {error}"))?;
        self.copied.bytes += size;
        Ok(())
    }

    /// Gives a file that was made its owner, mode, attributes and time, in this order: a new owner clears bits of the mode.
    fn finish_file(&self, file: &File, member: &Member) -> Result<()> {
        if let Some((uid, gid)) = self.owner(member)? {
            fchown(file, Some(uid), Some(gid)).map_err(|errno| refused_owner(member, errno))?;
        }
        fchmod(file, Mode::from_raw_mode(self.mode(member))).map_err(|errno| call("chmod", errno))?;
        for (name, value) in member.xattrs.iter().filter(|_| self.how.privileged_modes) {
            match fsetxattr(file, name.as_slice(), value, rustix::fs::XattrFlags::empty()) {
                // Not every file system has them, and not everybody may set them.
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL) => {}
                Err(errno) => return Err(call("setxattr", errno)),
            }
        }
        rustix::fs::futimens(file, &times(member.mtime)).map_err(|errno| call("utimens", errno))
    }

    /// Gives what was made its owner, and if it is no directory its time.
    fn give(&self, parent: impl AsFd, name: &[u8], member: &Member) -> Result<()> {
        let parent = parent.as_fd();
        if let Some((uid, gid)) = self.owner(member)? {
            let changed = chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
            changed.map_err(|errno| refused_owner(member, errno))?;
        }
        if member.kind != MemberKind::Directory {
            let set = utimensat(parent, name, &times(member.mtime), AtFlags::SYMLINK_NOFOLLOW);
            set.map_err(|errno| call("utimens", errno))?;
        }
        Ok(())
    }

    fn owner(&self, member: &Member) -> Result<Option<(Uid, Gid)>> {
        if self.how.owners == Owners::Ours {
            return Ok(None);
        }
        let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        match (id(member.uid), id(member.gid)) {
            (Some(uid), Some(gid)) => Ok(Some((Uid::from_raw(uid), Gid::from_raw(gid)))),
            _ => Err(format!("the owner {}:{} is no id", member.uid, member.gid)),
        }
    }

    fn mode(&self, member: &Member) -> u32 {
        member.mode & if self.how.privileged_modes { 0o7777 } else { 0o1777 }
    }

    fn remember(&mut self, path: &[u8], member: &Member) -> Result<()> {
        self.remembered += path.len() + size_of::<Made>();
        if self.remembered > MOST_REMEMBERED {
            return Err("there are too many directories".to_owned());
        }
        self.made.push(Made { path: path.to_vec(), mode: self.mode(member), mtime: member.mtime });
        Ok(())
    }

    /// Gives the directories their modes and times, the deepest first.
    fn finish(mut self) -> Result<Copied> {
        if self.target.is_none() {
            return Err("there is nothing to copy: neither devices nor sockets are".to_owned());
        }
        for made in std::mem::take(&mut self.made).iter().rev() {
            let of = |why: String| format!("{}: {why}", printable(&String::from_utf8_lossy(&made.path)));
            let (parent, name) = self.parent(&made.path).map_err(of)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let finished = openat(&parent, name, flags, Mode::empty()).and_then(|dir| {
                fchmod(&dir, Mode::from_raw_mode(made.mode))?;
                rustix::fs::futimens(&dir, &times(made.mtime))
            });
            match finished {
                // Whoever lives there has removed it.
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(of(call("chmod", errno))),
            }
        }
        Ok(self.copied)
    }
}

/// Lets everybody into a directory that nobody has named.
fn open_up(above: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fchmod(openat(above, name, flags, Mode::empty())?, Mode::from_raw_mode(0o755))
}

/// Why something cannot be given to the owner that the archive says.
fn refused_owner(member: &Member, errno: Errno) -> String {
    match errno {
        Errno::INVAL => format!("its owner {}:{} is none of the ids of the pod", member.uid, member.gid),
        errno => call("chown", errno),
    }
}

fn times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Makes room for what is to have a name: what has it, and is no directory, goes.
fn clear(parent: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        removed => removed,
    }
}

fn call(name: &str, errno: Errno) -> String {
    match errno {
        // Whatever was tried first.
        Errno::ROFS => io::Error::from(errno).to_string(),
        errno => format!("{name}: {}", io::Error::from(errno)),
    }
}
