//! Capability sets as the kernel prints them, decoded to names.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names by bit number (linux/capability.h), without the `CAP_` that all have.
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// The capabilities of an app that asks for nothing (appc ace.md, `os/linux/capabilities-retain-set`), as bits.
pub(super) const APPC_DEFAULT: CapSet = CapSet(0xa80425fb);

/// A set of capabilities, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CapSet(pub(super) u64);

impl CapSet {
    /// How many there are.
    pub(super) fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Those in `self` and not in `other`.
    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those in either.
    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Names with a space between, or `none`; a bit this program has no name for shows its number.
impl fmt::Display for CapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("none");
        }
        let bits = (0..u64::BITS).filter(|bit| self.0 >> bit & 1 == 1);
        let names = bits.map(|bit| NAMES.get(bit as usize).map_or_else(|| format!("cap_{bit}"), ToString::to_string));
        f.write_str(&names.collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_set_has_the_names_of_the_specification() {
        let names = "chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot \
                     mknod audit_write setfcap";
        assert_eq!(APPC_DEFAULT.to_string(), names);
        assert_eq!(APPC_DEFAULT.len(), 14);
    }

    #[test]
    fn unknown_bits_are_shown_by_number() {
        assert_eq!(CapSet(0).to_string(), "none");
        assert_eq!(CapSet(1 << 21 | 1 << 63).to_string(), "sys_admin cap_63");
        assert_eq!(CapSet(0x1ff_ffff_ffff).len(), 41);
        assert_eq!(CapSet(0x1ff_ffff_ffff).without(APPC_DEFAULT).len(), 27);
    }
}
