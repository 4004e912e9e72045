//! A process that waits in a user namespace until it is to fork there.
//!
//! To make a process in a user namespace that lies in another one, one has to be in the outer one, and can hardly come back
//! from there. Moreover the outer one's id maps may have to be written first, by programs that take milliseconds. So there is
//! a process that does nothing else: it waits until all is known that the new process needs, and then forks it with its
//! caller's memory and descriptors and as its caller's child, as if the caller had done it.

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_void};
use std::fmt;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::ptr::{null, null_mut};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, getppid, pidfd_send_signal, set_parent_process_death_signal, waitid,
};
use rustix::thread::{LinkNameSpaceType, futex, move_into_link_name_space};

use crate::beside::Beside;
use crate::fork::{Namespaces, single_threaded};
use crate::signal;

/// What [`Shared::order`] says: there is nothing to do yet, there is a fork to make.
const WAIT: u32 = 0;
const FORK: u32 = 1;

/// How far below the frame of the caller, who waits, the child's stack begins in its copy of the caller's. The frames of the
/// waiting lie between.
const GAP: usize = 4 << 10;

/// Such a process. Dropped, it is killed.
pub struct Outpost {
    // Before what it uses.
    process: Beside,
    /// Not a box, which would say that nobody else has a pointer to it.
    shared: Rc<Shared>,
}

impl fmt::Debug for Outpost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Outpost").field(&self.process).finish()
    }
}

/// The id maps of a user namespace, as they are written to the files of user_namespaces(7).
#[derive(Debug)]
pub struct IdMaps {
    /// Whether nobody in there may change groups: `deny` is written to setgroups.
    pub deny_setgroups: bool,
    /// uid_map
    pub uids: String,
    /// gid_map
    pub gids: String,
}

/// What both processes know.
struct Shared {
    /// The namespace to go into; none if the process was made in it.
    namespace: Option<OwnedFd>,
    order: AtomicU32,
    /// The waiting process's from the order to fork until its end; else the caller's.
    task: UnsafeCell<Task>,
    /// Who has made the outpost.
    parent: Pid,
}

/// A fork that is wanted, and what has come of it.
struct Task {
    flags: libc::c_int,
    stack: *mut c_void,
    mask: signal::Mask,
    child: unsafe extern "C" fn(*mut c_void),
    given: *mut c_void,
    maps: *const IdMaps,
    /// A process id, or −1 if there is none.
    pid: libc::pid_t,
    pidfd: RawFd,
    /// What was refused last, and why; 0 if nothing was.
    step: Step,
    errno: i32,
}

/// What the outpost does.
#[derive(Clone, Copy, Debug)]
enum Step {
    Enter,
    Fork,
    Map(&'static str),
}

impl Step {
    fn refused(self, errno: i32) -> io::Error {
        let error = io::Error::from_raw_os_error(errno);
        match self {
            Self::Fork => error,
            Self::Enter => io::Error::new(error.kind(), format!("enter the outer user namespace: {error}")),
            Self::Map(name) => io::Error::new(error.kind(), format!("write {name}: {error}")),
        }
    }
}

impl Outpost {
    /// Makes a process in a user namespace of its own.
    ///
    /// # Errors
    /// As [`crate::fork::fork`].
    pub fn found() -> io::Result<Self> {
        Self::start(libc::CLONE_NEWUSER, None)
    }

    /// Makes a process that will fork in this user namespace, over which the caller has all rights.
    ///
    /// # Errors
    /// As [`crate::fork::fork`].
    pub fn within(namespace: OwnedFd) -> io::Result<Self> {
        Self::start(0, Some(namespace))
    }

    fn start(flags: libc::c_int, namespace: Option<OwnedFd>) -> io::Result<Self> {
        extern "C" fn nothing(_: *mut c_void) {}
        let task = Task {
            flags: 0,
            stack: null_mut(),
            mask: signal::Mask::current()?,
            child: nothing,
            given: null_mut(),
            maps: null(),
            pid: -1,
            pidfd: -1,
            step: Step::Fork,
            errno: 0,
        };
        let (order, task, parent) = (AtomicU32::new(WAIT), UnsafeCell::new(task), getpid());
        let shared = Rc::new(Shared { namespace, order, task, parent });
        let argument = Rc::as_ptr(&shared).cast_mut().cast::<c_void>();
        // What is meant for the caller's whole group, such as Ctrl-C, must not end it: the caller sees to that. The death of
        // the caller does.
        let _blocked = signal::Blocked::all()?;
        // SAFETY: what is shared goes with the process, which is waited for first. `wait_and_fork` makes system calls only;
        // those of the C library come when the caller waits for it.
        let process = unsafe { Beside::start(flags | libc::CLONE_FILES, wait_and_fork, argument) }?;
        Ok(Self { process, shared })
    }

    /// Its number: that of the first process of a namespace of its own, for which that one's maps are written.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Forks a child of the caller's into new namespaces, a user namespace with these maps among them, whose parent is the
    /// outpost's. It calls `child` with what is given. The caller gets the child's number and pidfd, and still has what
    /// was given. Whatever is the matter, no child stays.
    ///
    /// # Errors
    /// As [`crate::fork::fork`]; the maps are refused; another process than the caller has made the outpost. `BrokenPipe`: it
    /// was killed, and there may be a child that nobody knows, which sees the end of whatever the caller had for it.
    pub fn fork<T>(
        self,
        namespaces: Namespaces,
        maps: &IdMaps,
        given: &mut Option<T>,
        child: fn(T) -> !,
    ) -> io::Result<(Pid, OwnedFd)> {
        if !single_threaded() || self.shared.parent != getpid() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "fork in another process or thread"));
        }
        let mut call = Call { given, child };
        let (child, errno) = self.fork_raw(namespaces, maps, begin::<T>, (&raw mut call).cast())?;
        match (child, errno) {
            (Some(child), None) => Ok(child),
            (Some((_, pidfd)), Some(error)) => {
                let _ = pidfd_send_signal(&pidfd, Signal::KILL);
                while matches!(waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED), Err(Errno::INTR)) {}
                Err(error)
            }
            (None, Some(error)) => Err(error),
            (None, None) => {
                Err(io::Error::new(io::ErrorKind::BrokenPipe, "the process that forks ended without a word"))
            }
        }
    }

    /// The child, if there is one, and what was refused. Not inlined: all that the child needs lies in the frames above this one.
    #[inline(never)]
    fn fork_raw(
        mut self,
        namespaces: Namespaces,
        maps: &IdMaps,
        child: unsafe extern "C" fn(*mut c_void),
        given: *mut c_void,
    ) -> io::Result<(Option<Child>, Option<io::Error>)> {
        let here = 0_u8;
        let stack = ((&raw const here) as usize).saturating_sub(GAP) & !0xf;
        let flags = libc::c_int::try_from(namespaces.bits()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let order = Task {
            flags: flags | libc::CLONE_PARENT | libc::CLONE_PIDFD,
            stack: std::ptr::without_provenance_mut(stack),
            mask: signal::Mask::current()?,
            child,
            given,
            maps,
            pid: -1,
            pidfd: -1,
            step: Step::Fork,
            errno: 0,
        };
        let task = self.shared.task.get();
        // SAFETY: the other process looks at the task only when the order has changed, below.
        unsafe { *task = order };
        self.shared.order.store(FORK, Ordering::Release);
        futex::wake(&self.shared.order, futex::Flags::empty(), 1)?;
        self.process.wait()?;
        // SAFETY: the other process has ended.
        let Task { pid, pidfd, step, errno, .. } = unsafe { &*task };
        let child = Pid::from_raw((*pid).max(0)).map(|pid| {
            // SAFETY: the kernel stored a fresh descriptor there, in the table that both processes share; nobody else owns it.
            (pid, unsafe { OwnedFd::from_raw_fd(*pidfd) })
        });
        Ok((child, (*errno != 0).then(|| step.refused(*errno))))
    }
}

/// Its number and pidfd.
type Child = (Pid, OwnedFd);

/// What the child calls.
struct Call<'a, T> {
    given: &'a mut Option<T>,
    child: fn(T) -> !,
}

/// The outpost's life.
extern "C" fn wait_and_fork(shared: *mut c_void) -> libc::c_int {
    // SAFETY: `Outpost::start` gave a pointer to what is shared, which is there until this process has ended; what changes in
    // it are atomics and a cell.
    let shared = unsafe { &*shared.cast::<Shared>().cast_const() };
    // One that died before is noticed by the second.
    if set_parent_process_death_signal(Some(Signal::KILL)).is_err() || getppid() != Some(shared.parent) {
        return 1;
    }
    while shared.order.load(Ordering::Acquire) == WAIT {
        // It may return for no reason.
        let _ = futex::wait(&shared.order, futex::Flags::empty(), WAIT, None);
    }
    let task = shared.task.get();
    // SAFETY: the order has changed: the task is this process's, as its memory is while the other one waits.
    let task = unsafe { &mut *task };
    if let Err(errno) = make_child(shared, task) {
        task.errno = errno.raw_os_error();
    }
    0
}

/// Enters the namespace, forks, and writes the child's maps.
fn make_child(shared: &Shared, task: &mut Task) -> rustix::io::Result<()> {
    if let Some(namespace) = &shared.namespace {
        task.step = Step::Enter;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User))?;
    }
    task.step = Step::Fork;
    let argument = (&raw mut *task).cast::<c_void>();
    // SAFETY: the child has a copy of the memory, in which the stack is free from there downwards: the frames that lie there in
    // the other process are those of its waiting, which goes on in that process only. What is written there before the
    // copy is made lies below those (GAP).
    let pid = unsafe { libc::clone(first_frame, task.stack, task.flags, argument, &raw mut task.pidfd) };
    if pid == -1 {
        let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        return Err(Errno::from_raw_os_error(errno));
    }
    task.pid = pid;
    // SAFETY: the caller of `fork` has it, and waits.
    let maps = unsafe { &*task.maps };
    let deny = maps.deny_setgroups.then_some(("setgroups", "deny"));
    for (name, text) in deny.into_iter().chain([("uid_map", maps.uids.as_str()), ("gid_map", maps.gids.as_str())]) {
        task.step = Step::Map(name);
        write_map(pid, name, text)?;
    }
    Ok(())
}

/// Writes one of the files, without the allocator, which is the caller's.
fn write_map(pid: libc::pid_t, name: &str, text: &str) -> rustix::io::Result<()> {
    let mut path = [0_u8; 48];
    // One byte less: a NUL stays behind what is written.
    let room = path.len() - 1;
    write!(&mut path[..room], "/proc/{pid}/{name}").map_err(|_| Errno::NAMETOOLONG)?;
    let path = CStr::from_bytes_until_nul(&path).map_err(|_| Errno::NAMETOOLONG)?;
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    // All at once or not at all (user_namespaces(7)).
    rustix::io::write(file, text.as_bytes()).map(drop)
}

/// The child's, in its own copy of the memory.
extern "C" fn first_frame(task: *mut c_void) -> libc::c_int {
    // SAFETY: `wait_and_fork` made it of a reference to a task, of which this is the copy.
    let task = unsafe { &*task.cast::<Task>().cast_const() };
    if task.mask.set().is_err() {
        return 1;
    }
    // SAFETY: it is `begin` with what `Outpost::fork` gave for it.
    unsafe { (task.child)(task.given) };
    1
}

/// # Safety
/// `call` is that of [`Outpost::fork`] for the same `T`, in a copy of the memory that is this process's own.
unsafe extern "C" fn begin<T>(call: *mut c_void) {
    // SAFETY: the caller's promise.
    let call = unsafe { &mut *call.cast::<Call<'_, T>>() };
    if let Some(given) = call.given.take() {
        (call.child)(given);
    }
}
