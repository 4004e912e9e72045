//! Running from a copy of this program that nobody can write to, where Landlock does not protect the original.
//!
//! Container root is the user himself, so an app that gets at the runner's executable (`#!/proc/self/exe`,
//! CVE-2019-5736) could write to it if the user can. Landlock keeps apps from it; a kernel without Landlock does not.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::fs::{Access, MemfdFlags, SealFlags, access, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

use crate::diagnostics::warn;
use crate::error::{CommandError, Explain as _};

const SELF: &str = "/proc/self/exe";

/// How the kernel names a memory file made here (memfd_create(2)).
const MEMFD_LINK: &str = "/memfd:proa";

/// Makes sure that an app cannot write to the executable of this process: usually that is so, else this process is
/// executed again from a sealed copy, and the call does not return.
///
/// # Errors
///
/// The copy cannot be made or executed.
pub(crate) fn ensure() -> Result<(), CommandError> {
    if stage1::landlock::supported() || is_sealed()? {
        return Ok(());
    }
    if !is_writable()? {
        warn("this kernel has no Landlock: namespaces, mounts and the system call filter alone confine apps");
        return Ok(());
    }
    warn("this kernel has no Landlock and you could overwrite proa: running a sealed copy, some milliseconds a start");
    let copy = seal(&File::open(SELF)?).during(|| "copy proa to sealed memory".into())?;
    let mut argv = std::env::args_os();
    let mut command = Command::new(format!("/proc/self/fd/{}", copy.as_raw_fd()));
    command.arg0(argv.next().unwrap_or_default()).args(argv);
    Err(command.exec()).during(|| "execute the sealed copy of proa".into())
}

fn is_sealed() -> io::Result<bool> {
    Ok(std::fs::read_link(SELF)?.to_string_lossy().starts_with(MEMFD_LINK))
}

/// Whether this user can write to the executable, or could after a chmod. Root's pods have ids of their own, none of
/// which owns a file of the host.
fn is_writable() -> io::Result<bool> {
    let user = rustix::process::geteuid();
    let owner = File::open(SELF)?.metadata()?.uid();
    Ok(!user.is_root() && (owner == user.as_raw() || access(SELF, Access::WRITE_OK).is_ok()))
}

fn seal(program: &File) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Linux 6.3 wants to be told that it will be executed; older ones do not know the flag.
    let copy = match memfd_create("proa", flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => memfd_create("proa", flags),
        made => made,
    }?;
    let mut copy = File::from(copy);
    io::copy(&mut &*program, &mut copy)?;
    fcntl_add_seals(&copy, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn a_sealed_copy_is_whole_and_cannot_be_written() {
        let program = File::open("/bin/sh").unwrap();
        let mut sealed = seal(&program).unwrap();
        assert_eq!(sealed.metadata().unwrap().len(), program.metadata().unwrap().len());
        assert_eq!(sealed.write(b"x").unwrap_err().raw_os_error(), Some(Errno::PERM.raw_os_error()));
        assert!(sealed.set_len(0).is_err());
        let mut again = File::open(format!("/proc/self/fd/{}", sealed.as_raw_fd())).unwrap();
        let mut magic = [0; 4];
        again.read_exact(&mut magic).unwrap();
        assert_eq!(&magic, b"\x7fELF");
    }
}
