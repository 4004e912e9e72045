//! Loading a seccomp filter (seccomp(2)).

use std::io;

use crate::check;

/// One instruction of classic BPF: code, jump if true, jump if false, operand (`struct sock_filter`).
pub type Instruction = (u16, u8, u8, u32);

/// Loads a filter for the calling thread. From the next system call on, it decides.
///
/// # Errors
/// - `EACCES`: neither `no_new_privs` is set nor has the caller CAP_SYS_ADMIN in its user namespace.
/// - `EINVAL`: the kernel refuses the program, or it is longer than 4,096 instructions.
/// - `ENOSYS`: a kernel without seccomp filters.
pub fn load(program: impl IntoIterator<Item = Instruction>) -> io::Result<()> {
    let mut filter: Vec<libc::sock_filter> =
        program.into_iter().map(|(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
    let len = u16::try_from(filter.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
    // SAFETY: `program` points to `len` initialised instructions which live until the kernel has copied them.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, std::ptr::from_ref(&program)) };
    check(result).map(drop)
}
