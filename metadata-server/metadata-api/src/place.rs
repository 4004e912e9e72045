//! Where the service of a user listens, and how there comes to be one.
//!
//! ```text
//! DIR/                  0700, of the user
//! ├── metadata.lock     0600, empty; locked while a socket is put there or taken away
//! └── metadata.sock     0600, the service's listening socket
//! ```
//!
//! A socket file that nobody listens at is what a killed service leaves; the next one replaces it. Whoever needs the
//! service and finds none binds the socket first and hands it to the service it starts: a connection can be made at
//! once, and of two who start one, the second finds the first one's socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, chmodat, flock, fstat, mkdirat, openat, renameat, statat,
    unlinkat,
};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with, sockopt,
};
use rustix::process::geteuid;

const SOCKET: &str = "metadata.sock";
const LOCK: &str = "metadata.lock";

/// A socket on its way to its place.
const NEW_SOCKET: &str = ".metadata.sock";

/// Connections that wait to be accepted: a restart of the service makes every pod on the host register again.
const BACKLOG: i32 = 4096;

/// How long the lock may be held by others, who hold it for microseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why there is no way to the service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// The directory is somebody else's, or open to others.
    #[error("{dir}: {problem}", dir = .dir.display())]
    Unsafe {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A service listens there already.
    #[error("a metadata service is listening at {}", .socket.display())]
    Occupied {
        /// Its socket.
        socket: PathBuf,
    },
    /// A system call failed.
    #[error("{step} {path}", path = .path.display())]
    System {
        /// What was being done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// The directory of the service's socket.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    dir: OwnedFd,
}

impl Place {
    /// Opens the directory and makes it if it is missing.
    ///
    /// # Errors
    /// It is not the caller's own, others may write or look into it, or it cannot be made.
    pub fn ensure(path: &Path) -> Result<Self, PlaceError> {
        let failed = |step| move |errno: Errno| PlaceError::System { step, path: path.into(), source: errno.into() };
        match mkdirat(CWD, path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed("create")(errno)),
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = openat(CWD, path, flags, Mode::empty()).map_err(failed("open"))?;
        let stat = fstat(&dir).map_err(failed("look at"))?;
        let unsafe_for = |problem| Err(PlaceError::Unsafe { dir: path.into(), problem });
        if stat.st_uid != geteuid().as_raw() {
            return unsafe_for("the directory of the metadata socket belongs to another user");
        }
        if stat.st_mode & 0o077 != 0 {
            return unsafe_for("the directory of the metadata socket must be accessible to its owner alone (0700)");
        }
        Ok(Self { path: path.into(), dir })
    }

    /// The path of the service's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path.join(SOCKET)
    }

    /// Connects to the service; `None` if none listens.
    ///
    /// # Errors
    /// [`PlaceError::System`].
    pub fn connect(&self) -> Result<Option<OwnedFd>, PlaceError> {
        let attempt = || {
            let socket = stream_socket()?;
            // A service that hangs with a full backlog must not hang the caller as well.
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
            connect(&socket, &self.address(SOCKET)?)?;
            Ok(socket)
        };
        match attempt() {
            Ok(socket) => Ok(Some(socket)),
            Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
            Err(errno) => Err(self.failed("connect to", errno)),
        }
    }

    /// Connects to the service. If none listens, `start` is to start one that accepts on the given listening socket.
    ///
    /// # Errors
    /// [`PlaceError::System`], also for what `start` returns.
    pub fn connect_or_start(&self, start: impl FnOnce(OwnedFd) -> io::Result<()>) -> Result<OwnedFd, PlaceError> {
        if let Some(connection) = self.connect()? {
            return Ok(connection);
        }
        let lock = self.lock()?;
        if let Some(connection) = self.connect()? {
            return Ok(connection);
        }
        let listener = self.listen()?;
        drop(lock);
        let starting =
            |source| PlaceError::System { step: "start the metadata service at", path: self.socket(), source };
        start(listener).map_err(starting)?;
        self.connect()?.ok_or_else(|| starting(io::ErrorKind::ConnectionRefused.into()))
    }

    /// Puts a listening socket there.
    ///
    /// # Errors
    /// [`PlaceError::Occupied`] if a service listens already.
    pub fn occupy(&self) -> Result<OwnedFd, PlaceError> {
        let _lock = self.lock()?;
        match self.connect()? {
            Some(_) => Err(PlaceError::Occupied { socket: self.socket() }),
            None => self.listen(),
        }
    }

    /// Takes the socket file away if it is `listener`'s. `is_idle` is asked while nobody can put another one there, and
    /// may refuse; a caller that connects after that finds no service and starts one.
    ///
    /// # Errors
    /// [`PlaceError::System`].
    pub fn retire(&self, listener: BorrowedFd<'_>, is_idle: impl FnOnce() -> bool) -> Result<bool, PlaceError> {
        let _lock = self.lock()?;
        if !is_idle() {
            return Ok(false);
        }
        if self.holds(listener) {
            unlinkat(&self.dir, SOCKET, AtFlags::empty()).map_err(|errno| self.failed("remove", errno))?;
        }
        Ok(true)
    }

    /// Whether the socket file was bound by this process for `listener`. A socket that systemd bound stays.
    fn holds(&self, listener: BorrowedFd<'_>) -> bool {
        // The name under which it was bound: it has been renamed since.
        let bound = rustix::net::getsockname(listener).ok().and_then(|name| SocketAddrUnix::try_from(name).ok());
        bound.is_some_and(|name| name.path_bytes().is_some_and(|path| path.ends_with(NEW_SOCKET.as_bytes())))
            && statat(&self.dir, SOCKET, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket)
    }

    fn listen(&self) -> Result<OwnedFd, PlaceError> {
        let make = || {
            match unlinkat(&self.dir, NEW_SOCKET, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
            let socket = stream_socket()?;
            bind(&socket, &self.address(NEW_SOCKET)?)?;
            chmodat(&self.dir, NEW_SOCKET, Mode::RUSR | Mode::WUSR, AtFlags::empty())?;
            listen(&socket, BACKLOG)?;
            renameat(&self.dir, NEW_SOCKET, &self.dir, SOCKET)?;
            Ok(socket)
        };
        make().map_err(|errno| self.failed("listen at", errno))
    }

    fn lock(&self) -> Result<OwnedFd, PlaceError> {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = openat(&self.dir, LOCK, flags, Mode::RUSR | Mode::WUSR).map_err(|e| self.failed("lock", e))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(lock),
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
                Err(errno) => return Err(self.failed("lock", errno)),
            }
        }
    }

    /// An address by way of the directory's descriptor: a socket's path has 108 bytes at most (unix(7)).
    fn address(&self, name: &str) -> Result<SocketAddrUnix, Errno> {
        SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", self.dir.as_fd().as_raw_fd()))
    }

    fn failed(&self, step: &'static str, errno: Errno) -> PlaceError {
        PlaceError::System { step, path: self.socket(), source: errno.into() }
    }
}

fn stream_socket() -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use rustix::net::accept;

    use super::*;

    fn place() -> (tempfile::TempDir, Place) {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::ensure(&dir.path().join("run")).unwrap();
        (dir, place)
    }

    #[test]
    fn directory_and_socket_are_the_users_alone() {
        let (_dir, place) = place();
        let _listener = place.occupy().unwrap();
        assert_eq!(fs::metadata(&place.path).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(fs::metadata(place.socket()).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&place.path).unwrap().count(), 2, "nothing but socket and lock");
    }

    #[test]
    fn a_directory_that_others_can_enter_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        fs::create_dir(&path).unwrap();
        for mode in [0o701, 0o710, 0o755, 0o777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(Place::ensure(&path), Err(PlaceError::Unsafe { .. })), "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        Place::ensure(&path).unwrap();
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        assert!(Place::ensure(&dir.path().join("link")).is_err());
    }

    #[test]
    fn one_service_at_a_time_and_a_dead_ones_socket_is_replaced() {
        let (_dir, place) = place();
        assert!(place.connect().unwrap().is_none());
        let first = place.occupy().unwrap();
        assert!(matches!(place.occupy(), Err(PlaceError::Occupied { .. })));
        drop(first);
        assert!(place.connect().unwrap().is_none(), "nobody listens");
        let second = place.occupy().unwrap();
        assert!(place.connect().unwrap().is_some());
        drop(second);
    }

    #[test]
    fn whoever_finds_no_service_starts_one_and_is_connected() {
        let (_dir, place) = place();
        let mut started = None;
        let connection = place
            .connect_or_start(|listener| {
                started = Some(listener);
                Ok(())
            })
            .unwrap();
        let accepted = accept(started.as_ref().unwrap()).unwrap();
        let again = place.connect_or_start(|_| panic!("there is one")).unwrap();
        drop((connection, again, accepted));
        drop(started);
        let refused = place.connect_or_start(|_| Err(io::ErrorKind::NotFound.into())).unwrap_err();
        assert!(refused.to_string().starts_with("start the metadata service at "), "{refused}");
        let gone = place.connect_or_start(|listener| {
            drop(listener);
            Ok(())
        });
        assert!(gone.is_err(), "a service that is gone at once is no service");
    }

    #[test]
    fn an_idle_service_takes_its_socket_away_and_a_busy_one_does_not() {
        let (_dir, place) = place();
        let listener = place.occupy().unwrap();
        assert!(!place.retire(listener.as_fd(), || false).unwrap());
        assert!(place.socket().exists());
        assert!(place.retire(listener.as_fd(), || true).unwrap());
        assert!(!place.socket().exists());
        // Not its own: systemd binds the final name.
        let foreign = std::os::unix::net::UnixListener::bind(place.socket()).unwrap();
        assert!(place.retire(foreign.as_fd(), || true).unwrap());
        assert!(place.socket().exists());
    }

    #[test]
    fn a_directory_deeper_than_a_sockets_path_may_be_long() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(200));
        let place = Place::ensure(&deep).unwrap();
        let _listener = place.occupy().unwrap();
        assert!(place.connect().unwrap().is_some());
    }
}
