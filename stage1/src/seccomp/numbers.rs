//! Which number a system call has on an architecture, from the tables of the `syscalls` crate (Linux 6.17 and later).
//!
//! Used at build time and by tests only; the program carries what the build script makes of it.

use super::policy::Arch;
use std::collections::BTreeMap;

/// The numbers 403 to 423 of the generic table are the 64-bit-time variants of calls, which 32-bit systems have and
/// aarch64, though it takes its table from there, has not (include/uapi/asm-generic/unistd.h).
const GENERIC_32_BIT_ONLY: std::ops::RangeInclusive<u32> = 403..=423;

/// All calls of an architecture, by the kernel's name.
pub(super) fn by_name(arch: Arch) -> BTreeMap<&'static str, u32> {
    match arch {
        Arch::X86_64 => {
            let name = |number| syscalls::x86_64::Sysno::new(number).map(|call| call.name());
            table(syscalls::x86_64::Sysno::last().id(), name).collect()
        }
        Arch::Aarch64 => {
            let name = |number| syscalls::aarch64::Sysno::new(number).map(|call| call.name());
            table(syscalls::aarch64::Sysno::last().id(), name)
                .filter(|(_, number)| !GENERIC_32_BIT_ONLY.contains(number))
                // The crate goes by the generic header's alias; everybody else says newfstatat.
                .map(|(name, number)| (if name == "fstatat" { "newfstatat" } else { name }, number))
                .collect()
        }
    }
}

/// Asks for every number up to the last: the crate's own iterator ends one before it.
fn table(last: i32, name: impl Fn(usize) -> Option<&'static str>) -> impl Iterator<Item = (&'static str, u32)> {
    let last = u32::try_from(last).expect("the kernel's numbers start at 0");
    (0..=last).filter_map(move |number| Some((name(number as usize)?, number)))
}
