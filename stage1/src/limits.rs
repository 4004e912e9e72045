//! Resource limits that every pod and app gets (docs/security.md, "Defaults").

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::apply::{Named as _, Refusal};
use crate::isolators::ulimits::{Ulimit, lower};

/// Processes of a pod. Set on pid 1 before an app's user namespace is made, it bounds all processes in there whatever
/// their uid, and does not count the user's processes outside (measured; the kernel's ucounts, Linux 5.14).
pub const MAX_PROCESSES: u64 = 4096;

/// Apps of a pod. Each has small files in a file system of the pod's that has room for some 1300 ([`crate::plan`]).
pub const MAX_APPS: usize = 1000;

/// Descriptors that a process of ours has for each app at most: its trees, its streams, its namespaces.
const FILES_OF_APP: usize = 16;

/// Soft limit of open files: what programs that still use select(2) can bear.
const SOFT_FILES: u64 = 1024;

/// Hard limit of open files: systemd's default.
const HARD_FILES: u64 = 524_288;

/// Descriptors for which nobody is asked whether there is room: callers whose soft limit is lower are rare.
const FEW_FILES: usize = 100;

/// The caller's soft limit of open files, once this process has raised its own. Those that are forked later know it, too.
static CALLERS_FILES: OnceLock<Option<u64>> = OnceLock::new();

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

/// Raises this process's soft limit of open files to the hard one if it is about to have so many. Apps have the caller's.
///
/// Where it cannot be raised the limit is told when it is reached.
pub fn expect_files(number: usize) {
    if number <= FEW_FILES || CALLERS_FILES.get().is_some() {
        return;
    }
    let limit = getrlimit(Resource::Nofile);
    // Some of them are copied, and there are others.
    let enough = (2 * number + FEW_FILES) as u64;
    if limit.current.is_none_or(|current| current >= enough) {
        return;
    }
    if CALLERS_FILES.set(limit.current).is_ok() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
}

/// Whether this process has raised its limit. Those that share its descriptors and were there before have a lower one.
#[must_use]
pub fn files_are_raised() -> bool {
    CALLERS_FILES.get().is_some()
}

/// The same before so many apps are made or opened.
pub fn expect_apps(number: usize) {
    expect_files(FILES_OF_APP * number);
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
    let mut old = getrlimit(resource);
    if resource == Resource::Nofile {
        old.current = *CALLERS_FILES.get().unwrap_or(&old.current);
    }
    let hard = old.maximum.map_or(hard, |old| old.min(hard));
    let soft = old.current.map_or(soft, |old| old.min(soft)).min(hard);
    let limit = Rlimit { current: Some(soft), maximum: Some(hard) };
    setrlimit(resource, limit).named(|| format!("setrlimit({resource:?}, {soft}, {hard})"))
}
