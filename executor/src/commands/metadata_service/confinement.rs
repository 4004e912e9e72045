//! What the metadata service may still do once it listens: apps talk to it, and it holds the keys of their user.
//!
//! It takes what monitors hand over and reads and writes its keys. It connects to nobody and executes nothing.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use metadata_api::place::Place;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::thread::set_no_new_privs;
use stage1::seccomp::policy::{Action, Arch, Decision, Policy};
use syscalls::Sysno;

use crate::error::{CommandError, Explain as _};

/// Where its keys are, in the data directory.
const KEYS: &str = "metadata";

/// What nobody who talked it into something could use. Everything else is allowed: it has threads, clocks and memory
/// like any program.
const REFUSED: &[Sysno] = &[
    Sysno::execve,
    Sysno::execveat,
    Sysno::socket,
    Sysno::connect,
    Sysno::bind,
    Sysno::listen,
    Sysno::ptrace,
    Sysno::process_vm_readv,
    Sysno::process_vm_writev,
    Sysno::process_madvise,
    Sysno::pidfd_open,
    Sysno::pidfd_getfd,
    Sysno::kcmp,
    Sysno::kill,
    Sysno::mount,
    Sysno::umount2,
    Sysno::pivot_root,
    Sysno::chroot,
    Sysno::open_tree,
    Sysno::move_mount,
    Sysno::fsopen,
    Sysno::fsconfig,
    Sysno::fsmount,
    Sysno::mount_setattr,
    Sysno::unshare,
    Sysno::setns,
    Sysno::keyctl,
    Sysno::add_key,
    Sysno::request_key,
    Sysno::bpf,
    Sysno::perf_event_open,
    Sysno::userfaultfd,
    Sysno::io_uring_setup,
    Sysno::open_by_handle_at,
    Sysno::memfd_create,
];

/// What the service keeps when everything else is out of its reach.
#[derive(Debug)]
pub(super) struct Confinement {
    /// The directory of its keys.
    keys: OwnedFd,
    /// The directory of its socket.
    socket_dir: OwnedFd,
}

impl Confinement {
    /// Opens what is kept, while paths mean what they meant to whoever gave them.
    ///
    /// # Errors
    ///
    /// A directory cannot be opened.
    pub(super) fn prepare(data_dir: &Path, place: &Place) -> Result<Self, CommandError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let keys = openat(CWD, data_dir.join(KEYS), flags, Mode::empty()).during(|| "confine the service".into())?;
        let socket = place.socket();
        let socket_dir = socket.parent().unwrap_or(Path::new("/"));
        let socket_dir = openat(CWD, socket_dir, flags, Mode::empty()).during(|| "confine the service".into())?;
        Ok(Self { keys, socket_dir })
    }

    /// Confines the process for the rest of its life.
    ///
    /// # Errors
    ///
    /// The kernel refuses the filter. A kernel without Landlock has none.
    pub(super) fn enter(self) -> Result<(), CommandError> {
        set_no_new_privs(true).during(|| "confine the service".into())?;
        // Its socket is taken away by way of its own descriptors in /proc, which are no files to be opened.
        stage1::landlock::confine_to(&[self.keys.as_fd(), self.socket_dir.as_fd()])
            .map_err(|error| CommandError::failed(format!("confine the service: {error}")))?;
        let policy = policy().ok_or_else(|| CommandError::failed("no filters for this architecture"))?;
        let program = stage1::seccomp::compile(&policy)
            .map_err(|error| CommandError::failed(format!("confine the service: {error}")))?;
        sys::seccomp::load(program.iter().map(|filter| (filter.code, filter.jt, filter.jf, filter.k)))
            .during(|| "confine the service".into())
    }
}

fn policy() -> Option<Policy> {
    let arch = Arch::from_rust_name(std::env::consts::ARCH)?;
    let refused = Decision::Always(Action::Errno(u16::try_from(Errno::PERM.raw_os_error()).ok()?));
    let calls = REFUSED.iter().map(|call| u32::try_from(call.id()).map(|number| (number, refused.clone())));
    Some(Policy { arch, calls: calls.collect::<Result<_, _>>().ok()?, unknown: Action::Allow })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_filter_can_be_made() {
        assert!(stage1::seccomp::compile(&super::policy().expect("an architecture that is known")).is_ok());
    }
}
