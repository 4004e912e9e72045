//! The calls that a capability is for, and that an app which the operator gave it may therefore make.
//!
//! Capabilities count only in the app's own user namespace; what they cannot do there, the kernel still refuses. The
//! list follows docker's profile.

use rustix::thread::CapabilitySet;

use super::isolator::{IsolatorError, NUMBERS};
use super::policy::{Action, Decision, Policy};

const CALLS: &[(CapabilitySet, &str)] = &[
    (CapabilitySet::BPF, "bpf"),
    (CapabilitySet::DAC_READ_SEARCH, "open_by_handle_at"),
    (CapabilitySet::PERFMON, "perf_event_open"),
    (
        CapabilitySet::SYS_ADMIN,
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree \
         perf_event_open pivot_root quotactl quotactl_fd setdomainname sethostname setns syslog umount2 unshare",
    ),
    (CapabilitySet::SYS_BOOT, "reboot"),
    (CapabilitySet::SYS_MODULE, "delete_module finit_module init_module"),
    (CapabilitySet::SYS_NICE, "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    (CapabilitySet::SYS_PACCT, "acct"),
    (CapabilitySet::SYS_PTRACE, "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    (CapabilitySet::SYS_RAWIO, "ioperm iopl"),
    (CapabilitySet::SYS_TIME, "clock_settime settimeofday"),
    (CapabilitySet::SYS_TTY_CONFIG, "vhangup"),
    (CapabilitySet::SYSLOG, "syslog"),
];

/// The default profile and the calls of `capabilities`; none if these have no calls of their own.
///
/// # Errors
/// [`IsolatorError`] on an architecture without a profile.
pub fn policy(capabilities: CapabilitySet) -> Result<Option<Policy>, IsolatorError> {
    let names: Vec<&str> = CALLS
        .iter()
        .filter(|(capability, _)| capabilities.contains(*capability))
        .flat_map(|(_, names)| names.split_whitespace())
        .collect();
    if names.is_empty() {
        return Ok(None);
    }
    let mut policy = super::isolator::default_policy()?;
    for (_, number) in NUMBERS.iter().filter(|(name, _)| names.contains(name)) {
        policy.calls.insert(*number, Decision::Always(Action::Allow));
    }
    Ok(Some(policy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_calls() {
        for name in CALLS.iter().flat_map(|(_, names)| names.split_whitespace()) {
            let known = NUMBERS.iter().any(|(call, _)| *call == name);
            // The other architecture has no port instructions.
            assert!(known || matches!(name, "ioperm" | "iopl"), "{name}");
        }
    }

    #[test]
    fn only_those_of_the_capabilities_are_allowed() {
        let number = |wanted| NUMBERS.iter().find(|(name, _)| *name == wanted).map(|(_, number)| *number).unwrap();
        let with = policy(CapabilitySet::SYS_TIME).unwrap().unwrap();
        assert_eq!(with.calls[&number("clock_settime")], Decision::Always(Action::Allow));
        assert_ne!(with.calls[&number("mount")], Decision::Always(Action::Allow));
        assert_eq!(policy(CapabilitySet::NET_ADMIN).unwrap(), None);
    }
}
