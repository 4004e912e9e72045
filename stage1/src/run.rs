//! Runs a pod: the caller becomes its monitor until the pod is over.

mod begin;
mod keeper;
mod outcome;
mod pid_1;
mod spec;

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

use crate::channel::{End, FromInit, MAX_FDS, Patient, ToInit};
use crate::monitor::{Ended, Monitor};
use crate::nest::Outer;
use crate::output::Outputs;
use crate::protocol::AppReport;
use crate::supervise::{ExitPolicy, Phase, Supervisor};

use begin::Means;
pub(crate) use begin::source_kind;
use pid_1::Pid1;

pub use keeper::{AppDirs, Keeper, KeeperError, PodFiles};
pub(crate) use outcome::chain;
pub use outcome::{PodOutcome, RunError};
pub use spec::{AppOptions, AppStdio, PodSpec, Signals};

/// Signals of the monitor that go to the apps. The others do to the monitor what they always do: Ctrl-Z stops it.
const FORWARDED: [Signal; 6] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

pub(crate) type MonitorEnd = Patient<ToInit, FromInit>;

/// Runs the pod and waits for its end.
///
/// The forwarded signals stay blocked when this returns: what is left to do is cleaning up.
///
/// # Errors
/// [`RunError`]. Whatever is returned, no process, mount or namespace of the pod is left.
pub fn run(mut spec: PodSpec<'_>, keeper: &mut dyn Keeper) -> Result<PodOutcome, RunError> {
    let (born, means) = begin::begin(&mut spec)?;
    oversee(&mut spec, born, means, keeper)
}

/// Sees to the pod from its pid 1's first moment to its last.
fn oversee(
    spec: &mut PodSpec<'_>,
    Pid1 { pid, pidfd, outer }: Pid1,
    Means { channel, app_cgroups, signals, pipes, etc }: Means,
    keeper: &mut dyn Keeper,
) -> Result<PodOutcome, RunError> {
    // Before it turns non-dumpable: then only the host's root could.
    let namespace = if spec.exit_policy == ExitPolicy::Never { Some(user_namespace(pid)) } else { None };
    let written = if outer.is_none() { spec.mapping.write(pid).map_err(RunError::IdMap) } else { Ok(()) };
    let launched = written.and_then(|()| launch(&channel, outer.as_ref(), spec.offers, keeper));
    let mut monitor = Monitor::new(spec, app_cgroups, channel, signals, pid, etc);
    let result = launched.and_then(|files| {
        let namespace = namespace.transpose()?;
        monitor.watch(pipes, files, namespace, keeper)
    });
    // End of file on the conversation ends pid 1, and the kernel then kills whatever else lives in the pod.
    let (supervisor, reports, mut outputs, cgroup, uplink) = monitor.end();
    if matches!(result, Ok(Ended::Over)) {
        keeper.pod_over();
    }
    let end = reap(&pidfd);
    drop(outer);
    outputs.finish();
    tell_of_losses(&supervisor, reports, &outputs, keeper);
    drop(uplink);
    if let Some(cgroup) = cgroup {
        cgroup.remove();
    }
    match (result?, end?) {
        (Ended::Over, _) => {
            let apps = supervisor.apps().iter().map(|app| app.status).collect();
            Ok(PodOutcome { status: supervisor.status(), apps })
        }
        (Ended::InitGone, end) => Err(RunError::InitDied(end.status())),
    }
}

/// The user namespace of a child.
fn user_namespace(pid: Pid) -> Result<OwnedFd, std::io::Error> {
    let path = format!("/proc/{}/ns/user", pid.as_raw_nonzero());
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(std::io::Error::from)
}

/// Tells pid 1 that its maps are written, and gives it the files, which are made while it works.
fn launch(
    channel: &MonitorEnd,
    outer: Option<&Outer>,
    offers: Option<&Path>,
    keeper: &mut dyn Keeper,
) -> Result<PodFiles, RunError> {
    channel.say(&ToInit::Mapped).map_err(std::io::Error::from)?;
    if let (Some(outer), Some(offers)) = (outer, offers) {
        outer.offer(offers);
    }
    let files = keeper.files().map_err(RunError::Files)?;
    send_files(channel, &files).map_err(std::io::Error::from)?;
    Ok(files)
}

/// Has it written down what was lost of logs after the apps had ended.
fn tell_of_losses(supervisor: &Supervisor, reports: Vec<AppReport>, outputs: &Outputs, keeper: &mut dyn Keeper) {
    let apps = supervisor.apps().iter().zip(reports).enumerate();
    for (index, (_, mut report)) in apps.filter(|(_, (app, _))| app.phase != Phase::Removed) {
        let lost = outputs.lost(index);
        if lost != std::mem::replace(&mut report.logs_lost, lost) {
            keeper.app_changed(&report);
        }
    }
}

/// The order is the receiver's: the lock, each app's directories, the volumes.
fn send_files(channel: &MonitorEnd, files: &PodFiles) -> rustix::io::Result<()> {
    let apps = files.apps.iter().flat_map(|app| [&app.upper, &app.work]);
    let fds: Vec<_> = std::iter::once(&files.lock).chain(apps).chain(&files.volumes).map(|fd| fd.as_fd()).collect();
    let mut chunks = fds.chunks(MAX_FDS).peekable();
    while let Some(chunk) = chunks.next() {
        channel.say_with(&ToInit::Files { last: chunks.peek().is_none() }, chunk)?;
    }
    Ok(())
}

/// Waits for pid 1. The kernel lets it go only after every other process of its pid namespace.
fn reap(pidfd: &OwnedFd) -> std::io::Result<End> {
    loop {
        match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(None) => return Ok(End::Code(0)),
            Ok(Some(status)) => {
                return Ok(match (status.exit_status(), status.terminating_signal()) {
                    (_, Some(signal)) => End::Signal(signal),
                    (code, None) => End::Code(code.unwrap_or(0)),
                });
            }
        }
    }
}
