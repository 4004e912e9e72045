//! The directory of the store: opened, trusted, made complete.

use std::fs::{DirBuilder, File};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{ABS, CWD, Mode, OFlags, Stat, fstat, fstatfs, fsync, mkdirat, openat, renameat};
use rustix::io::Errno;

use crate::error::{StoreError, failed};
use crate::shown::Shown;
use crate::spread::spread;
use crate::work::WorkDir;

/// The layout that this version writes, in the file `format`.
pub(crate) const KNOWN: u32 = 1;

/// What lies below the store; parents first.
const DIRECTORIES: [&str; 7] = ["blobs", "blobs/sha256", "blobs/sha512", "images", "trees", "tmp", "locks"];

/// The store of one data directory. It holds one descriptor and no state; every process opens its own.
#[derive(Debug)]
pub struct Store {
    /// `None` where there is none, and nobody has asked for one to be made: nothing is found in it.
    dir: Option<OwnedFd>,
    path: PathBuf,
    format: u32,
    /// Stores that are only read: what this one does not have may be there.
    behind: Vec<Store>,
}

impl Store {
    /// Opens the store in `data_dir/store`, making the directories (mode 0700) where they are missing.
    ///
    /// # Errors
    /// [`StoreError::NotDirectory`], [`StoreError::Owner`], [`StoreError::Mode`], [`StoreError::FileSystem`] if the
    /// directory cannot be trusted, [`StoreError::FormatUnreadable`], [`StoreError::System`].
    pub fn ensure(data_dir: &Path) -> Result<Self, StoreError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || openat(CWD, data_dir, flags, Mode::empty());
        let data = match open() {
            Err(Errno::NOENT) => {
                let make = DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
                make.map_err(|error| failed("mkdir", data_dir.display().to_string())(error))?;
                open()
            }
            other => other,
        };
        Self::ensure_at(data.map_err(|errno| not_opened(data_dir, errno))?.as_fd(), data_dir)
    }

    /// Opens the store in `data_dir/store` as it is. Where there is none nothing is found, and nothing can be put into it:
    /// for those who only look, who make nothing and may be on a file system where nothing can be made.
    ///
    /// # Errors
    /// As [`Store::ensure`].
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let path = data_dir.join("store");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let data = match openat(CWD, data_dir, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Self { dir: None, path, format: KNOWN, behind: Vec::new() }),
            data => data.map_err(|errno| not_opened(data_dir, errno))?,
        };
        check_data_dir(data.as_fd(), data_dir)?;
        let dir = match openat(&data, "store", flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Self { dir: None, path, format: KNOWN, behind: Vec::new() }),
            dir => dir.map_err(|errno| not_opened(&path, errno))?,
        };
        check_store(&dir, &path)?;
        // Without a format it is about to be completed, or was cut off at that: there is nothing in it yet.
        let format = read_format(&dir)?.unwrap_or(KNOWN);
        Ok(Self { dir: Some(dir), path, format, behind: Vec::new() })
    }

    /// [`Store::ensure`] for a data directory that is open already; `shown` is its path for messages.
    ///
    /// # Errors
    /// As [`Store::ensure`].
    pub fn ensure_at(data_dir: BorrowedFd<'_>, shown: &Path) -> Result<Self, StoreError> {
        let path = shown.join("store");
        check_data_dir(data_dir, shown)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = match openat(data_dir, "store", flags, Mode::empty()) {
            Err(Errno::NOENT) => {
                create(data_dir, &path)?;
                openat(data_dir, "store", flags, Mode::empty())
            }
            other => other,
        };
        let dir = dir.map_err(|errno| not_opened(&path, errno))?;
        check_store(&dir, &path)?;
        let format = match read_format(&dir)? {
            Some(format) => format,
            None => {
                complete(&dir, &path)?;
                KNOWN
            }
        };
        Ok(Self { dir: Some(dir), path, format, behind: Vec::new() })
    }

    /// Puts a store that is only ever read behind this one: that of the data directory `data_dir`, or `data_dir` itself if
    /// that is a store. Its images are found as if they were here, and run without being copied.
    ///
    /// # Errors
    /// [`StoreError::NoStore`] if there is none, [`StoreError::Owner`], [`StoreError::Mode`] if it cannot be trusted: it must
    /// be this user's or root's, and writable for nobody else. [`StoreError::FormatUnreadable`], [`StoreError::NewerFormat`],
    /// [`StoreError::System`].
    pub fn put_behind(&mut self, data_dir: &Path) -> Result<(), StoreError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let given = openat(CWD, data_dir, flags, Mode::empty()).map_err(|errno| not_opened(data_dir, errno))?;
        let (dir, path) = match openat(&given, "store", flags | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(store) => (store, data_dir.join("store")),
            Err(Errno::NOENT) => (given, data_dir.to_owned()),
            Err(errno) => return Err(not_opened(&data_dir.join("store"), errno)),
        };
        let found = stat(dir.as_fd(), &path)?;
        if found.st_uid != 0 {
            check_owner(&found, &path)?;
        }
        check_mode(&found, &path, 0o022, "it must not be writable by group or others")?;
        let Some(format) = read_format(&dir)? else { return Err(StoreError::NoStore { path }) };
        if format > KNOWN {
            return Err(StoreError::NewerFormat { found: format, known: KNOWN });
        }
        let own = self.dir.as_ref().map(|own| stat(own.as_fd(), &self.path)).transpose()?;
        if own.is_none_or(|own| (own.st_dev, own.st_ino) != (found.st_dev, found.st_ino)) {
            self.behind.push(Self { dir: Some(dir), path, format, behind: Vec::new() });
        }
        Ok(())
    }

    /// This store if there is one, then those behind it.
    pub(crate) fn with_those_behind(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).filter(|store| store.exists()).chain(&self.behind)
    }

    /// Whether there is such a directory: [`Store::open`] makes none.
    pub fn exists(&self) -> bool {
        self.dir.is_some()
    }

    /// Whether the store was written by a later version, so that it is only read.
    pub fn is_read_only(&self) -> bool {
        self.format > KNOWN
    }

    /// The store's path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An empty file without a name, on the store's file system: it is gone when it is closed. Beside a store that cannot be
    /// written to it is where temporary files are.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn scratch(&self) -> Result<File, StoreError> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let unnamed = |dir: BorrowedFd<'_>, path: &Path| openat(dir, path, flags, Mode::RUSR | Mode::WUSR);
        match unnamed(self.dir(), Path::new("tmp")) {
            Ok(file) => return Ok(File::from(file)),
            Err(Errno::ROFS) => {
                let elsewhere = std::env::temp_dir();
                let file = unnamed(CWD, &elsewhere).map_err(failed("open", elsewhere.display().to_string()))?;
                return Ok(File::from(file));
            }
            // Not every file system can make such files.
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => {}
            Err(errno) => return Err(failed("open", "tmp")(errno)),
        }
        let work = WorkDir::create(self)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(work.dir(), "scratch", flags, Mode::RUSR | Mode::WUSR);
        file.map(File::from).map_err(failed("create", "tmp/scratch"))
    }

    /// The directory. That of a store which does not exist is none, so that every path in it is EBADF; who comes by
    /// [`Store::with_those_behind`] or [`Store::check_writable`] does not meet it.
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_ref().map_or(ABS, AsFd::as_fd)
    }

    /// Makes the directories that somebody has removed, so that what was in them can be fetched again.
    pub(crate) fn restore_directories(&self) -> Result<(), StoreError> {
        make_directories(self.dir(), &self.path)
    }

    pub(crate) fn check_writable(&self) -> Result<(), StoreError> {
        if !self.exists() {
            return Err(StoreError::NoStore { path: self.path.clone() });
        }
        if self.is_read_only() {
            return Err(StoreError::NewerFormat { found: self.format, known: KNOWN });
        }
        Ok(())
    }

    /// Opens a directory below the store for reading or syncing it.
    pub(crate) fn subdirectory(&self, name: &str) -> Result<OwnedFd, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(self.dir(), name, flags, Mode::empty()).map_err(failed("open", name))
    }

    /// Makes the entries of a directory below the store durable.
    pub(crate) fn sync_directory(&self, name: &str) -> Result<(), StoreError> {
        fsync(self.subdirectory(name)?).map_err(failed("fsync", name))
    }
}

fn stat(dir: BorrowedFd<'_>, path: &Path) -> Result<Stat, StoreError> {
    fstat(dir).map_err(failed("fstat", path.display().to_string()))
}

fn not_opened(path: &Path, errno: Errno) -> StoreError {
    match errno {
        Errno::LOOP | Errno::NOTDIR => StoreError::NotDirectory { path: path.to_owned() },
        errno => failed("open", path.display().to_string())(errno),
    }
}

/// Others may know that there is a store (a home directory is often 0755), but not exchange it.
fn check_data_dir(dir: BorrowedFd<'_>, shown: &Path) -> Result<(), StoreError> {
    let found = stat(dir, shown)?;
    check_owner(&found, shown)?;
    check_mode(&found, shown, 0o022, "it must not be writable by group or others")
}

/// Set-user-id files of images lie below: nobody else may reach them.
fn check_store(dir: &OwnedFd, path: &Path) -> Result<(), StoreError> {
    let found = stat(dir.as_fd(), path)?;
    check_owner(&found, path)?;
    check_mode(&found, path, 0o077, "it must be closed to group and others (0700)")
}

fn check_owner(stat: &Stat, path: &Path) -> Result<(), StoreError> {
    let expected = rustix::process::geteuid().as_raw();
    match stat.st_uid {
        found if found == expected => Ok(()),
        found => Err(StoreError::Owner { path: path.to_owned(), found, expected }),
    }
}

fn check_mode(stat: &Stat, path: &Path, forbidden: u32, needed: &'static str) -> Result<(), StoreError> {
    let mode = stat.st_mode & 0o7777;
    if mode & forbidden == 0 {
        return Ok(());
    }
    Err(StoreError::Mode { path: path.to_owned(), mode, needed })
}

/// File systems on which flock is emulated or owners are somebody else's decision (statfs(2), f_type).
const UNFIT: [(i64, &str); 4] = [(0x6969, "NFS"), (0xff53_4d42, "SMB"), (0x517b, "SMB"), (0x0102_1997, "9P")];

fn create(data_dir: BorrowedFd<'_>, path: &Path) -> Result<(), StoreError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let data = openat(data_dir, ".", flags, Mode::empty()).map_err(|errno| not_opened(path, errno))?;
    let kind = fstatfs(&data).map_err(failed("statfs", path.display().to_string()))?.f_type;
    if let Some((_, kind)) = UNFIT.iter().find(|(magic, _)| *magic == kind) {
        return Err(StoreError::FileSystem { path: path.to_owned(), kind });
    }
    spread(&data);
    match mkdirat(&data, "store", Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => fsync(&data).map_err(failed("fsync", path.display().to_string())),
        Err(errno) => Err(failed("mkdir", path.display().to_string())(errno)),
    }
}

/// Makes what lies below the store, and last the `format` file, which says that all of it is there.
fn complete(store: &OwnedFd, path: &Path) -> Result<(), StoreError> {
    make_directories(store.as_fd(), path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let tmp =
        openat(store, "tmp", flags, Mode::empty()).map_err(failed("open", path.join("tmp").display().to_string()))?;
    spread(&tmp);
    let temporary = format!("tmp/format-{}", std::process::id());
    let shown = || path.join("format").display().to_string();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(store, temporary.as_str(), flags, Mode::RUSR | Mode::WUSR).map_err(failed("create", shown()))?;
    let mut file = File::from(file);
    file.write_all(format!("{KNOWN}\n").as_bytes()).map_err(|error| failed("write", shown())(error))?;
    // An empty format file after a power cut would lock the user out of every image.
    file.sync_all().map_err(|error| failed("fsync", shown())(error))?;
    // What the file says must be true after a power cut, too: the directories' names come before its own.
    let sync = |name: &str| {
        let dir = openat(store, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        fsync(dir.map_err(failed("open", shown()))?).map_err(failed("fsync", shown()))
    };
    sync("blobs")?;
    sync(".")?;
    match renameat(store, temporary.as_str(), store, "format") {
        // Somebody else's was there first, and a gc already.
        Err(Errno::NOENT) if read_format(store)?.is_some() => {}
        renamed => renamed.map_err(failed("rename", shown()))?,
    }
    sync(".")
}

fn make_directories(store: BorrowedFd<'_>, path: &Path) -> Result<(), StoreError> {
    for name in DIRECTORIES {
        match mkdirat(store, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed("mkdir", path.join(name).display().to_string())(errno)),
        }
    }
    Ok(())
}

/// Without waiting for whoever might write to a fifo of that name.
const FORMAT_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

fn read_format(store: &OwnedFd) -> Result<Option<u32>, StoreError> {
    let file = match openat(store, "format", FORMAT_FLAGS, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(failed("open", "format")(errno)),
    };
    let mut bytes = [0; 16];
    let length = File::from(file).read(&mut bytes).map_err(|error| failed("read", "format")(error))?;
    let number = std::str::from_utf8(&bytes[..length]).ok().and_then(|text| text.trim_end().parse().ok());
    match number {
        Some(number) if number > 0 => Ok(Some(number)),
        _ => Err(StoreError::FormatUnreadable { found: Shown::new(&bytes[..length]) }),
    }
}
