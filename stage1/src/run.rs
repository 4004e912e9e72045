//! Runs a pod: the caller becomes its monitor until the pod is over.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};

use appc::{AcName, Annotations, ImageManifest, PodManifest, RuntimeApp, Volume};
use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use rustix::stdio::{stderr, stdin, stdout};
use sys::fork::{Fork, Namespaces};
use sys::signal::Block;

use crate::cgroup::limits::Limits;
use crate::cgroup::{AppCgroup, CgroupError, PodCgroup};
use crate::channel::{Channel, End, Failure, FailureKind, FromInit, MAX_FDS, TerminalSize, ToInit, pair};
use crate::host::Host;
use crate::idmap::{IdMapError, IdMapping};
use crate::init::{self, Init, InitCgroups};
use crate::metadata::Registration;
use crate::monitor::{Ended, Monitor};
use crate::network::{EtcFile, HOSTS, Network, Passed};
use crate::node::{self, Membership};
use crate::output::LogLimits;
use crate::plan::{Net, PlanError, PodOptions, SourceKind, plan};
use crate::protocol::{AppReport, StdioKind};
use crate::streams::AppPipes;
use crate::supervise::{ExitPolicy, Restart};
use crate::terminal;

/// Signals of the monitor that go to the apps. The others do to the monitor what they always do: Ctrl-Z stops it.
const FORWARDED: [Signal; 6] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// A pod to run.
#[derive(Debug)]
pub struct PodSpec<'a> {
    /// The reified manifest.
    pub manifest: &'a PodManifest,
    /// The host name inside.
    pub hostname: &'a str,
    /// The id map.
    pub mapping: &'a IdMapping,
    /// For each app, the trees of its image, lowest first.
    pub layers: Vec<Vec<OwnedFd>>,
    /// For each volume of the manifest, its source on the host, opened with `O_PATH`; `None` for an empty volume.
    pub sources: Vec<Option<OwnedFd>>,
    /// What the manifest does not say of each app; one for each, or none where all have the defaults.
    pub apps: Vec<AppOptions>,
    /// When the pod is over.
    pub exit_policy: ExitPolicy,
    /// How much of each app's output is kept, where it is.
    pub logs: LogLimits,
    /// What a signal to the monitor means.
    pub signals: Signals,
    /// Whether the apps are started only when a client attaches and holds the pod.
    pub held: bool,
    /// The control groups of the pod, if it has any.
    pub cgroup: Option<PodCgroup>,
    /// How the pod registers with the metadata service; without it the apps have none.
    pub metadata: Option<Registration>,
    /// Its network.
    pub network: Network,
    /// The network of pods that it is on as well, if any.
    pub membership: Option<Membership>,
    /// The files of /etc that each app is given.
    pub etc: Vec<EtcFile>,
    /// For each app the listening sockets that it takes over; none at all where no app does.
    pub sockets: Vec<Vec<Passed>>,
}

/// What the monitor does with INT, TERM, HUP, QUIT, USR1 and USR2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signals {
    /// It hands them on to the apps: a pod in the foreground.
    Forward,
    /// INT and TERM stop the pod in order, the others are handed on: a pod of its own.
    Stop,
}

/// What a manifest does not say of an app.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AppOptions {
    /// Its streams.
    pub stdio: AppStdio,
    /// Whether it is started again.
    pub restart: Restart,
}

/// Where an app's standard streams go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AppStdio {
    /// They are the monitor's own.
    #[default]
    Inherited,
    /// Into its log, and to whoever attaches.
    Kept(StdioKind),
}

/// Whoever keeps the pod on disk. It is asked while the pod's namespaces are being made, and told while they go: what
/// it does then costs the launch no time of its own.
pub trait Keeper {
    /// Makes the pod's directories.
    ///
    /// # Errors
    /// Whatever kept it from doing so; the pod is not run then.
    fn files(&mut self) -> Result<PodFiles, KeeperError>;

    /// All apps that the pod begins with are created and are being started.
    fn pod_started(&mut self) {}

    /// The state of an app has changed.
    fn app_changed(&mut self, app: &AppReport);

    /// Makes the directories of an app that is added, and writes down what later commands want to know of it: its image's
    /// manifest and what the client calls the image's trees.
    ///
    /// # Errors
    /// Whatever kept it from doing so; the app is not added then.
    fn add_app(&mut self, name: &AcName, image: &ImageManifest, trees: &[String]) -> Result<AppDirs, KeeperError>;

    /// Opens the directory of an empty volume, and makes it if the pod has none of that name.
    ///
    /// # Errors
    /// Whatever kept it from doing so.
    fn volume(&mut self, volume: &Volume) -> Result<OwnedFd, KeeperError>;

    /// Removes the directories of an app.
    ///
    /// # Errors
    /// Whatever kept it from doing so.
    fn remove_app(&mut self, name: &AcName) -> Result<(), KeeperError>;

    /// The apps of the pod have changed: this is what it consists of now.
    ///
    /// # Errors
    /// Whatever kept it from being written.
    fn manifest_changed(&mut self, manifest: &PodManifest) -> Result<(), KeeperError>;

    /// All apps have ended, and pid 1 is about to.
    fn pod_over(&mut self);

    /// Something about an app that the user should know, though nothing failed.
    fn remark(&mut self, app: &str, text: &str);

    /// Something about the pod that the user should know, though nothing failed.
    fn remark_on_pod(&mut self, text: &str);
}

/// An error and what caused it, in one line: how it goes to a client.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// Why a keeper could not do what it was asked.
pub type KeeperError = Box<dyn std::error::Error + Send + Sync>;

/// What the pod's directory gives to its processes.
#[derive(Debug)]
pub struct PodFiles {
    /// For each app, its writable layer.
    pub apps: Vec<AppDirs>,
    /// For each empty volume of the manifest, in its order, its directory.
    pub volumes: Vec<OwnedFd>,
    /// The pod's lock. Pid 1 holds it too, so that the pod counts as alive until both are gone.
    pub lock: OwnedFd,
    /// The listening control socket, non-blocking.
    pub control: Option<OwnedFd>,
    /// Where logs are written.
    pub logs: Option<OwnedFd>,
}

/// The writable directories of an app's root file system.
#[derive(Debug)]
pub struct AppDirs {
    /// The writable layer.
    pub upper: OwnedFd,
    /// The overlay's work directory, on the same file system.
    pub work: OwnedFd,
}

/// The streams of an app's first process.
#[derive(Debug)]
pub(crate) enum AppStreams {
    Inherited,
    Given([OwnedFd; 3]),
    Terminal(TerminalSize),
}

impl AppStreams {
    /// The three streams, or none.
    pub(crate) fn fds(&self) -> &[OwnedFd] {
        match self {
            Self::Given(fds) => fds,
            Self::Inherited | Self::Terminal(_) => &[],
        }
    }

    /// Their numbers.
    pub(crate) fn numbers(&self) -> Vec<RawFd> {
        self.fds().iter().map(|fd| fd.as_raw_fd()).collect()
    }
}

/// How a pod ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodOutcome {
    /// The pod's exit status: the first failing app's, or 0.
    pub status: i32,
    /// The status of each app, in the order of the manifest; `None` for one that was killed with the pod.
    pub apps: Vec<Option<i32>>,
}

/// Why a pod could not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The manifest asks for what cannot be.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A standard stream is something that would let an app out of its root.
    #[error("{stream} is a {kind} of the host")]
    Stream {
        /// Which stream.
        stream: &'static str,
        /// What it is.
        kind: &'static str,
    },
    /// No user namespace.
    #[error("create the pod's user namespace")]
    Namespace(#[source] std::io::Error),
    /// The keeper could not make the pod's directories.
    #[error("make the pod's directories")]
    Files(#[source] KeeperError),
    /// The control groups of the pod could not be made, or a limit was refused.
    #[error("limit the pod's resources")]
    Cgroup(#[from] CgroupError),
    /// The id map was refused.
    #[error("map the pod's ids")]
    IdMap(#[from] IdMapError),
    /// The pod failed before its apps ran, or an app could not be executed.
    #[error("{}", .0.message)]
    Pod(Failure),
    /// Pid 1 of the pod ended before its apps did.
    #[error("the pod's pid 1 ended with status {0} before its apps did")]
    InitDied(i32),
    /// A system call of the monitor failed.
    #[error("supervise the pod")]
    Monitor(#[from] std::io::Error),
}

impl RunError {
    /// The exit status that stands for this error, as shells have it.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Pod(failure) => failure.exit_status(),
            _ => 254,
        }
    }
}

pub(crate) type MonitorEnd = Channel<ToInit, FromInit>;

/// Runs the pod and waits for its end.
///
/// The forwarded signals stay blocked when this returns: what is left to do is cleaning up.
///
/// # Errors
/// [`RunError`]. Whatever is returned, no process, mount or namespace of the pod is left.
pub fn run(mut spec: PodSpec<'_>, keeper: &mut dyn Keeper) -> Result<PodOutcome, RunError> {
    check_streams()?;
    let layers: Vec<usize> = spec.layers.iter().map(Vec::len).collect();
    let sources = spec.sources.iter().map(|source| source.as_ref().map(source_kind).transpose());
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    let net = match &spec.network {
        Network::Loopback if spec.membership.is_none() => Net::Loopback,
        Network::Loopback => Net::Connected,
        Network::Host => Net::Host,
        Network::Uplink(_) => Net::Connected,
    };
    if let (Net::Host, Some(registration)) = (net, &mut spec.metadata) {
        registration.listen_on_the_host().map_err(std::io::Error::from)?;
    }
    let url = spec.metadata.as_ref().map(Registration::url);
    let mut etc = std::mem::take(&mut spec.etc);
    if spec.membership.is_some() {
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
    let (channel, init_end) = pair().map_err(std::io::Error::from)?;
    let outer = spec.membership.as_ref().and_then(|it| Some((it.node.user()?, &it.mapping)));
    let namespaces = Namespaces::USER.with(Namespaces::PID);
    let forked = match outer {
        None => sys::fork::fork(namespaces),
        Some((user, outer)) => node::fork(namespaces, user, (spec.mapping, outer)),
    };
    let is_nested = outer.is_some();
    match forked.map_err(RunError::Namespace)? {
        Fork::Child => {
            drop(channel);
            let PodSpec { mapping, layers, sources, sockets, .. } = spec;
            init::run(Init {
                plan: &plan,
                mapping,
                layers,
                sources,
                streams: &streams,
                cgroups,
                monitor: &init_end,
                net,
                sockets,
            })
        }
        Fork::Parent { pid, pidfd } => {
            drop((init_end, streams, cgroups));
            // Before it turns non-dumpable: then only the host's root could.
            let namespace = if spec.exit_policy == ExitPolicy::Never { Some(user_namespace(pid)) } else { None };
            let launched = launch(&channel, (!is_nested).then_some(spec.mapping), pid, keeper);
            let mut monitor = Monitor::new(&mut spec, app_cgroups, channel, signals, (pid, etc));
            let result = launched.and_then(|files| {
                let namespace = namespace.transpose()?;
                monitor.watch(pipes, (files, namespace), keeper)
            });
            // End of file on the conversation ends pid 1, and the kernel then kills whatever else lives in the pod.
            let (supervisor, mut outputs, cgroup, uplink) = monitor.end();
            if matches!(result, Ok(Ended::Over)) {
                keeper.pod_over();
            }
            let end = reap(&pidfd);
            outputs.finish();
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

/// Gives pid 1 what it waits for: the maps, and then the files, which are made while somebody else works: the id
/// helpers where there are any, else pid 1 itself. The maps of a nested pod are written before.
fn launch(
    channel: &MonitorEnd,
    mapping: Option<&IdMapping>,
    pid: Pid,
    keeper: &mut dyn Keeper,
) -> Result<PodFiles, RunError> {
    let maps = mapping.map(|mapping| mapping.start(pid)).transpose()?;
    let files = match maps.filter(|maps| !maps.is_finished()) {
        None => {
            say(channel, &ToInit::Mapped)?;
            keeper.files()
        }
        Some(maps) => {
            let files = keeper.files();
            maps.finish()?;
            say(channel, &ToInit::Mapped)?;
            files
        }
    };
    let files = files.map_err(RunError::Files)?;
    send_files(channel, &files).map_err(std::io::Error::from)?;
    Ok(files)
}

fn say(channel: &MonitorEnd, message: &ToInit) -> Result<(), std::io::Error> {
    channel.say(message).map_err(std::io::Error::from)
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

impl Failure {
    /// The exit status that stands for this failure, as shells have it.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self.kind {
            FailureKind::NotFound => 127,
            FailureKind::NotExecutable => 126,
            _ => 254,
        }
    }
}
