//! Runs a pod: the caller becomes its monitor until the pod is over.

mod keeper;
mod outcome;
mod pid_1;
mod spec;

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use appc::{Annotations, RuntimeApp};
use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use rustix::stdio::{stderr, stdin, stdout};
use sys::signal::Block;

use crate::cgroup::limits::Limits;
use crate::cgroup::{AppCgroup, CgroupError};
use crate::channel::{Channel, End, FromInit, MAX_FDS, ToInit, pair};
use crate::host::Host;
use crate::init::InitCgroups;
use crate::metadata::Registration;
use crate::monitor::{Ended, Monitor};
use crate::nest::{Nest, Outer};
use crate::network::{EtcFile, HOSTS, Network};
use crate::output::Outputs;
use crate::plan::{Net, PodOptions, SourceKind, plan};
use crate::protocol::AppReport;
use crate::streams::AppPipes;
use crate::supervise::{ExitPolicy, Phase, Supervisor};
use crate::terminal;

use pid_1::{Beginning, Pid1};

pub use keeper::{AppDirs, Keeper, KeeperError, PodFiles};
pub(crate) use outcome::chain;
pub use outcome::{PodOutcome, RunError};
pub use spec::{AppOptions, AppStdio, PodSpec, Signals};

/// Signals of the monitor that go to the apps. The others do to the monitor what they always do: Ctrl-Z stops it.
const FORWARDED: [Signal; 6] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

pub(crate) type MonitorEnd = Channel<ToInit, FromInit>;

/// Runs the pod and waits for its end.
///
/// The forwarded signals stay blocked when this returns: what is left to do is cleaning up.
///
/// # Errors
/// [`RunError`]. Whatever is returned, no process, mount or namespace of the pod is left.
pub fn run(mut spec: PodSpec<'_>, keeper: &mut dyn Keeper) -> Result<PodOutcome, RunError> {
    check_streams()?;
    let nest = nest(&mut spec)?;
    let layers: Vec<usize> = spec.layers.iter().map(Vec::len).collect();
    let sources = spec.sources.iter().map(|source| source.as_ref().map(source_kind).transpose());
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    let net = match &spec.network {
        Network::Loopback if spec.memberships.is_empty() => Net::Loopback,
        Network::Loopback => Net::Connected,
        Network::Host => Net::Host,
        Network::Uplink(_) => Net::Connected,
    };
    if let (Net::Host, Some(registration)) = (net, &mut spec.metadata) {
        registration.listen_on_the_host().map_err(std::io::Error::from)?;
    }
    let url = spec.metadata.as_ref().map(Registration::url);
    let mut etc = std::mem::take(&mut spec.etc);
    if !spec.memberships.is_empty() {
        // Lines follow.
        let hosts = etc.iter_mut().filter(|file| file.name == HOSTS && !file.content.ends_with('\n'));
        hosts.for_each(|file| file.content.push('\n'));
    }
    let options = PodOptions {
        hostname: spec.hostname,
        mapping: spec.mapping,
        layers: &layers,
        sources: &sources,
        metadata_url: url.as_deref(),
        net,
        etc: &etc,
        cgroup: spec.cgroup.is_some(),
    };
    let mut plan = plan(spec.manifest, &options, &Host::detect())?;
    for (app, sockets) in plan.apps.iter_mut().zip(&spec.sockets) {
        app.sockets = sockets.iter().map(|passed| passed.name.clone()).collect();
    }
    let (cgroups, app_cgroups) = make_cgroups(&spec)?;
    let (pipes, streams) = AppPipes::for_apps(&spec.apps)?;
    let watched = FORWARDED.map(Signal::as_raw);
    let signals = sys::signal::watch(&watched, Block::Watched)?;
    let (monitor_end, init_end) = pair().map_err(std::io::Error::from)?;
    // Not on the stack, where each move would leave a copy as long as the pod.
    let pod = Box::new(Beginning { spec, plan, net, streams, cgroups, monitor_end, init_end });
    let (pod, born) = pid_1::fork(pod, nest)?;
    let (spec, monitor_end) = pod.into_monitors_part();
    oversee(spec, born, Means { channel: monitor_end, app_cgroups, signals, pipes, etc }, keeper)
}

/// What a monitor has of its pod's before pid 1 does anything.
#[derive(Debug)]
struct Means {
    channel: MonitorEnd,
    app_cgroups: Vec<AppCgroup>,
    /// Where its signals are read.
    signals: OwnedFd,
    pipes: Vec<AppPipes>,
    etc: Vec<EtcFile>,
}

/// Sees to the pod from its pid 1's first moment to its last.
fn oversee(
    mut spec: PodSpec<'_>,
    Pid1 { pid, pidfd, outer }: Pid1,
    Means { channel, app_cgroups, signals, pipes, etc }: Means,
    keeper: &mut dyn Keeper,
) -> Result<PodOutcome, RunError> {
    // Before it turns non-dumpable: then only the host's root could.
    let namespace = if spec.exit_policy == ExitPolicy::Never { Some(user_namespace(pid)) } else { None };
    let written = if outer.is_none() { spec.mapping.write(pid).map_err(RunError::IdMap) } else { Ok(()) };
    let launched = written.and_then(|()| launch(&channel, (outer.as_ref(), spec.offers), keeper));
    let mut monitor = Monitor::new(&mut spec, app_cgroups, channel, signals, (pid, etc));
    let result = launched.and_then(|files| {
        let namespace = namespace.transpose()?;
        monitor.watch(pipes, (files, namespace), keeper)
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

/// The groups of the apps, with their limits, and the ways into them and into that of pid 1.
fn make_cgroups(spec: &PodSpec<'_>) -> Result<(Option<InitCgroups>, Vec<AppCgroup>), CgroupError> {
    let Some(cgroup) = &spec.cgroup else { return Ok((None, Vec::new())) };
    let isolators =
        |app: &'_ RuntimeApp| Limits::of(app.app.as_ref().map_or(&[][..], |app| &app.isolators[..]), &app.annotations);
    let made = spec.manifest.apps.iter().map(|app| cgroup.app(&app.name, &isolators(app)));
    let (groups, apps) = made.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    cgroup.limit(&Limits::of(&spec.manifest.isolators, &Annotations::default()))?;
    Ok((Some(InitCgroups { own: Some(cgroup.init()?), apps }), groups))
}

/// The user namespace of a child.
fn user_namespace(pid: Pid) -> Result<OwnedFd, std::io::Error> {
    let path = format!("/proc/{}/ns/user", pid.as_raw_nonzero());
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(std::io::Error::from)
}

pub(crate) fn source_kind(source: &OwnedFd) -> Result<SourceKind, std::io::Error> {
    Ok(match FileType::from_raw_mode(fstat(source)?.st_mode) {
        FileType::Directory => SourceKind::Directory,
        FileType::CharacterDevice | FileType::BlockDevice => SourceKind::Device,
        _ => SourceKind::File,
    })
}

fn check_streams() -> Result<(), RunError> {
    let streams = [(stdin(), "standard input"), (stdout(), "standard output"), (stderr(), "standard error")];
    for (fd, stream) in streams {
        if let Some(kind) = terminal::way_out(fd) {
            return Err(RunError::Stream { stream, kind });
        }
    }
    Ok(())
}

/// What the pod is nested in, if it is.
fn nest(spec: &mut PodSpec<'_>) -> Result<Option<Nest>, RunError> {
    // Whether it is used or not, its process must not stay as long as the pod.
    let made = spec.nest.take();
    if let Some((namespace, mapping)) = spec.memberships.first().and_then(|it| Some((it.node.user()?, &it.mapping))) {
        return Nest::of_node(namespace, mapping).map(Some);
    }
    match made.filter(|nest| nest.fits(spec.mapping)) {
        None => Nest::open(spec.mapping, spec.offers),
        nest => Ok(nest),
    }
}

/// Tells pid 1 that its maps are written, and gives it the files, which are made while it works.
fn launch(
    channel: &MonitorEnd,
    (outer, offers): (Option<&Outer>, Option<&Path>),
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
