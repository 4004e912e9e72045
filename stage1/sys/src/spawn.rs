//! Starting a program without waiting until it is there.

use std::ffi::{CString, c_void};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::process::WaitIdStatus;

use crate::beside::Beside;
use crate::exec::{ExecArgs, place};

/// A program that was started. Dropped, it is killed.
#[derive(Debug)]
pub struct Spawned {
    // Before what it uses.
    process: Beside,
    /// Not a box, which would say that nobody else has a pointer to it.
    order: Rc<Order>,
    _null: OwnedFd,
}

/// What the new process needs, as long as it shares this one's memory.
#[derive(Debug)]
struct Order {
    path: CString,
    args: ExecArgs,
    null: RawFd,
    stderr: RawFd,
    /// Why the program could not be executed, an errno; 0 otherwise.
    failure: AtomicI32,
}

/// Starts the program with these arguments, its own name first, and an empty environment. It has /dev/null for input and
/// output; what it says goes to `stderr`.
///
/// # Errors
/// As [`crate::fork::fork`]; /dev/null cannot be opened. That the program cannot be executed is known when it is waited for.
pub fn spawn(path: CString, args: Vec<CString>, stderr: BorrowedFd<'_>) -> io::Result<Spawned> {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null");
    // The caller names the program, which is not what is missing.
    let null: OwnedFd = null.map_err(|error| io::Error::new(error.kind(), format!("open /dev/null: {error}")))?.into();
    let args = ExecArgs::new(args, Vec::new());
    let failure = AtomicI32::new(0);
    let order = Rc::new(Order { path, args, null: null.as_raw_fd(), stderr: stderr.as_raw_fd(), failure });
    let argument = Rc::as_ptr(&order).cast_mut().cast::<c_void>();
    // SAFETY: the order goes with the process, which is waited for first. `execute` makes system calls
    // only, and sets errno only where its program cannot be executed: then it ends.
    let process = unsafe { Beside::start(0, execute, argument) }?;
    Ok(Spawned { process, order, _null: null })
}

impl Spawned {
    /// Waits for its end.
    ///
    /// # Errors
    /// The program could not be executed: those of execve(2).
    pub fn wait(&mut self) -> io::Result<WaitIdStatus> {
        let status = self.process.wait()?;
        match self.order.failure.load(Ordering::Acquire) {
            0 => Ok(status),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// In the new process.
extern "C" fn execute(order: *mut c_void) -> libc::c_int {
    // SAFETY: `spawn` gave a pointer to an order, which is there until this process has executed something or ended.
    let order = unsafe { &*order.cast::<Order>().cast_const() };
    let error = execute_now(order);
    order.failure.store(error.raw_os_error().unwrap_or(libc::EIO), Ordering::Release);
    127
}

/// Returns only on failure.
fn execute_now(order: &Order) -> io::Error {
    for (fd, number) in [(order.null, 0), (order.null, 1), (order.stderr, 2)] {
        // SAFETY: the descriptors are copies of the caller's, which were open when this process was made.
        if let Err(error) = place(unsafe { BorrowedFd::borrow_raw(fd) }, number) {
            return error;
        }
    }
    order.args.execve(&order.path)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn run(path: &str, script: &str) -> (io::Result<Option<i32>>, String) {
        let (mut ours, theirs) = io::pipe().unwrap();
        let args = [path, "-c", script].map(|word| CString::new(word).unwrap());
        let mut spawned = spawn(CString::new(path).unwrap(), args.to_vec(), std::os::fd::AsFd::as_fd(&theirs)).unwrap();
        drop(theirs);
        let status = spawned.wait().map(|status| status.exit_status());
        let mut said = String::new();
        ours.read_to_string(&mut said).unwrap();
        (status, said)
    }

    #[test]
    fn it_has_nothing_but_what_it_is_given() {
        let (status, said) = run("/bin/sh", "read line; echo out; echo \"$line $HOME\" >&2; exit 3");
        assert_eq!((status.unwrap(), said.as_str()), (Some(3), " \n"));
    }

    #[test]
    fn what_cannot_be_executed_says_why() {
        let (status, said) = run("/nonexistent/program", "");
        assert_eq!((status.unwrap_err().raw_os_error(), said.as_str()), (Some(libc::ENOENT), ""));
    }

    /// What this process outlives ends a program that does not expect it, as anywhere else: 128 and SIGXFSZ.
    #[test]
    fn it_does_not_outlive_the_limit_of_file_sizes() {
        crate::signal::outlive_the_limit_of_file_sizes();
        let file = std::env::temp_dir().join(format!("limited-{}", std::process::id()));
        let script = format!("ulimit -f 1; (printf %9000s x >{}); exit $?", file.display());
        let (status, _) = run("/bin/sh", &script);
        let _ = std::fs::remove_file(file);
        assert_eq!(status.unwrap(), Some(128 + libc::SIGXFSZ));
    }

    #[test]
    fn dropped_it_is_gone() {
        let (mut ours, theirs) = io::pipe().unwrap();
        let args = ["sh", "-c", "exec sleep 600"].map(|word| CString::new(word).unwrap());
        let spawned =
            spawn(CString::new("/bin/sh").unwrap(), args.to_vec(), std::os::fd::AsFd::as_fd(&theirs)).unwrap();
        drop((spawned, theirs));
        // The end of the pipe: nobody has it open.
        assert_eq!(ours.read(&mut [0]).unwrap(), 0);
    }
}
