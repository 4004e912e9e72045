//! Runs a program where chosen system calls fail, as on a kernel that lacks them.
//!
//! The filter is loaded by perl, which every Debian has, because loading one takes a raw system call and these tests
//! have no unsafe code. It is loaded as root, without no_new_privs: newuidmap keeps its privileges.

use std::ffi::OsString;
use std::str::FromStr;

use syscalls::Sysno;

use crate::needs;

/// The wrapper for [`crate::Proa::through_as_invoker`] under which the named system calls fail with `errno`.
///
/// # Errors
/// When this process is not root, or there is no perl.
///
/// # Panics
/// When a name is not a system call's.
pub fn of(names: &[&str], errno: syscalls::Errno) -> Result<Vec<OsString>, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("needs root to load a system call filter without no_new_privs".to_owned());
    }
    let perl = needs::tool("perl")?;
    let numbers = names.iter().map(|it| number(it).to_string()).collect::<Vec<_>>().join(",");
    let verdict = (0x0005_0000 | u32::from(errno.into_raw() as u16)).to_string();
    let args = ["-e".to_owned(), LOAD.to_owned(), number("seccomp").to_string(), verdict, numbers];
    Ok(std::iter::once(perl.into_os_string()).chain(args.map(OsString::from)).collect())
}

/// The number of a system call on this architecture.
///
/// # Panics
/// When there is none of that name.
pub fn number(name: &str) -> usize {
    Sysno::from_str(name).unwrap_or_else(|()| panic!("there is no system call {name}")).id() as usize
}

/// Classic BPF: load the number; for each of ours return the verdict; else allow.
const LOAD: &str = r#"
    my ($seccomp, $verdict, $numbers) = splice @ARGV, 0, 3;
    my $program = pack "SCCL", 0x20, 0, 0, 0;
    $program .= pack("SCCL", 0x15, 0, 1, $_) . pack("SCCL", 0x06, 0, 0, $verdict) for split /,/, $numbers;
    $program .= pack "SCCL", 0x06, 0, 0, 0x7fff0000;
    my $argument = pack "S x![P] P", length($program) / 8, $program;
    syscall($seccomp + 0, 1, 0, $argument) == 0 or die "seccomp: $!";
    exec { $ARGV[0] } @ARGV or die "$ARGV[0]: $!";
"#;
