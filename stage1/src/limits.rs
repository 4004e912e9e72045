//! Resource limits that every pod and app gets (security.md 3.8).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::apply::{Named as _, Refusal};
use crate::isolators::ulimits::{Ulimit, lower};

/// Processes of a pod. Set on pid 1 before an app's user namespace is made, it bounds all processes in there whatever
/// their uid, and does not count the user's processes outside (measured; the kernel's ucounts, Linux 5.14).
pub const MAX_PROCESSES: u64 = 4096;

/// Soft limit of open files: what programs that still use select(2) can bear.
const SOFT_FILES: u64 = 1024;

/// Hard limit of open files: systemd's default.
const HARD_FILES: u64 = 524_288;

/// Queued signals of a pod, bounded the same way: the queue is the host user's, and one app could fill it.
const MAX_PENDING: u64 = 4096;

/// Bounds the processes of the pod's user namespace, to as many if the operator has said so, and its queued signals. To be
/// called in pid 1.
///
/// # Errors
/// [`Refusal`] where setrlimit(2) fails, which lowering never does.
pub fn bound_processes(to: Option<u64>) -> Result<(), Refusal> {
    let most = to.map_or(MAX_PROCESSES, |number| number.min(MAX_PROCESSES));
    set(Resource::Nproc, most, most)?;
    set(Resource::Sigpending, MAX_PENDING, MAX_PENDING)
}

/// Sets the limits of an app, but for those of `given`. To be called in its first process.
///
/// # Errors
/// As [`bound_processes`].
pub fn for_app(given: &[Ulimit]) -> Result<(), Refusal> {
    let own = [
        (Resource::Core, 0, 0),
        (Resource::Nofile, SOFT_FILES, HARD_FILES),
        (Resource::Memlock, 8 << 20, 8 << 20),
        (Resource::Msgqueue, 819_200, 819_200),
        (Resource::Nice, 0, 0),
        (Resource::Rtprio, 0, 0),
    ];
    let is_given = |resource| given.iter().any(|ulimit| ulimit.resource == resource);
    own.into_iter()
        .filter(|(resource, ..)| !is_given(*resource))
        .try_for_each(|(resource, soft, hard)| set(resource, soft, hard))
}

/// Sets those that were given to an app, as far as they can be had. To be called when nothing is left to do but to execute
/// its program.
///
/// # Errors
/// As [`bound_processes`].
pub(crate) fn put(given: &[Ulimit]) -> Result<(), Refusal> {
    given.iter().try_for_each(|ulimit| {
        let maximum = lower(ulimit.hard, getrlimit(ulimit.resource).maximum);
        let limit = Rlimit { current: lower(ulimit.soft, maximum), maximum };
        setrlimit(ulimit.resource, limit).named(|| format!("setrlimit({ulimit})"))
    })
}

/// The most that an app of a pod can have which this process starts. `None` is no limit.
#[must_use]
pub fn most(resource: Resource) -> Option<u64> {
    let of_pod = match resource {
        Resource::Nproc => Some(MAX_PROCESSES),
        Resource::Sigpending => Some(MAX_PENDING),
        _ => None,
    };
    lower(getrlimit(resource).maximum, of_pod)
}

/// The limits of an app in words, for the documentation.
#[cfg(test)]
pub(crate) fn described() -> String {
    format!(
        "no core files; {SOFT_FILES} open files, {HARD_FILES} if it asks; 8 MiB of locked memory; {MAX_PENDING} queued \
         signals of the pod; no real-time priority"
    )
}

/// Lowers a limit; one that the caller has lower already stays, soft or hard.
fn set(resource: Resource, soft: u64, hard: u64) -> Result<(), Refusal> {
    let old = getrlimit(resource);
    let hard = old.maximum.map_or(hard, |old| old.min(hard));
    let soft = old.current.map_or(soft, |old| old.min(soft)).min(hard);
    let limit = Rlimit { current: Some(soft), maximum: Some(hard) };
    setrlimit(resource, limit).named(|| format!("setrlimit({resource:?}, {soft}, {hard})"))
}
