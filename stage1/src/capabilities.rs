//! The capabilities of apps: which, and dropping to them.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use crate::apply::{Named as _, Refusal};

/// The fourteen that the specification gives to an app that does not say (appc ace.md, "Capabilities"); docker's
/// default set is the same. NET_RAW has no power over the pod's network from an app's own user namespace, but without
/// it in the bounding set a file with that capability cannot be executed at all (measured).
pub const DEFAULT: CapabilitySet = CapabilitySet::AUDIT_WRITE
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SYS_CHROOT);

/// What is left of them under the strict profile: without those that only help to spoof, or that do
/// nothing in a user namespace.
pub const STRICT: CapabilitySet = DEFAULT
    .difference(CapabilitySet::AUDIT_WRITE)
    .difference(CapabilitySet::MKNOD)
    .difference(CapabilitySet::NET_RAW)
    .difference(CapabilitySet::SETFCAP);

/// More than any kernel has; the first number that the kernel does not know ends the loop.
const LAST_POSSIBLE: u32 = 63;

/// The ids that an app runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// User id inside the app's user namespace.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary group ids; `None` where the id map forbids setgroups and the caller's stay.
    pub groups: Option<Vec<u32>>,
}

/// Takes the app's ids and reduces the bounding set to what the kernel knows of `keep`.
///
/// CAP_SYS_ADMIN (of the app's own namespace) stays permitted and effective, outside the bounding set: loading the
/// filter needs it unless no_new_privs is set, and the exec that follows takes it away: from root because the bounding
/// set lacks it, from others because they have no ambient capability (capabilities(7), "Transformation of
/// capabilities during execve").
///
/// # Errors
/// [`Refusal`] names the call; also when the kernel reports other sets than asked for.
pub fn drop_to(ids: &Ids, keep: CapabilitySet) -> Result<(), Refusal> {
    // In a user namespace of its own a process begins with all that there are.
    let keep = keep.intersection(capabilities(None).named(|| "capget()".into())?.permitted);
    reduce_bounding_set(keep)?;
    clear_ambient_capability_set().named(|| "prctl(PR_CAP_AMBIENT_CLEAR_ALL)".into())?;
    set_keep_capabilities(true).named(|| "prctl(PR_SET_KEEPCAPS, 1)".into())?;
    if let Some(groups) = &ids.groups {
        let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
        set_thread_groups(&groups).named(|| format!("setgroups({groups:?})"))?;
    }
    let (uid, gid) = (Uid::from_raw(ids.uid), Gid::from_raw(ids.gid));
    set_thread_res_gid(gid, gid, gid).named(|| format!("setresgid({})", ids.gid))?;
    set_thread_res_uid(uid, uid, uid).named(|| format!("setresuid({})", ids.uid))?;
    let root = if ids.uid == 0 { keep } else { CapabilitySet::empty() };
    let held = root.union(CapabilitySet::SYS_ADMIN);
    let wanted = CapabilitySets { effective: held, permitted: held, inheritable: CapabilitySet::empty() };
    set_capabilities(None, wanted).named(|| format!("capset({held:?})"))?;
    match capabilities(None) {
        Ok(sets) if sets == wanted => Ok(()),
        read => Err(Refusal::because(format!("capget: {read:?}"), Errno::PERM, "not the sets that were asked for")),
    }
}

/// Takes everything else out of the bounding set: no program that is executed has it.
///
/// # Errors
/// [`Refusal`] without CAP_SETPCAP.
pub fn reduce_bounding_set(keep: CapabilitySet) -> Result<(), Refusal> {
    for number in 0..=LAST_POSSIBLE {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if keep.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Err(Errno::INVAL) => break,
            dropped => dropped.named(|| format!("prctl(PR_CAPBSET_DROP, {number})"))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_set_is_the_specifications() {
        assert_eq!(DEFAULT.bits().count_ones(), 14);
        // Docker shows the same set as CapBnd 00000000a80425fb.
        assert_eq!(DEFAULT.bits(), 0xa804_25fb);
        assert_eq!(STRICT.bits().count_ones(), 10);
    }
}
