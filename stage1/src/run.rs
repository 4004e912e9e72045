//! Runs a pod in the foreground: the caller becomes its monitor until the pod is over.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use appc::PodManifest;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use rustix::stdio::{stderr, stdin, stdout};
use sys::fork::{Fork, Namespaces};
use sys::signal::Block;

use crate::channel::{Channel, End, Failure, FailureKind, FromInit, MAX_FDS, ToInit, pair};
use crate::host::Host;
use crate::idmap::{IdMapError, IdMapping};
use crate::init::{self, Init};
use crate::plan::{PlanError, PodOptions, SourceKind, plan};
use crate::supervise::{Action, Event, Supervisor};

/// How long siblings of a failed app may take to stop.
const GRACE: Duration = Duration::from_secs(10);

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
}

/// Whoever keeps the pod on disk. It is asked while the pod's namespaces are being made, and told while they go: what
/// it does then costs the launch no time of its own.
pub trait Keeper {
    /// Makes the pod's directories.
    ///
    /// # Errors
    /// Whatever kept it from doing so; the pod is not run then.
    fn files(&mut self) -> Result<PodFiles, Box<dyn std::error::Error + Send + Sync>>;

    /// An app has ended with this status; `app` is its index in the manifest.
    fn app_ended(&mut self, app: usize, status: i32);

    /// All apps have ended, and pid 1 is about to.
    fn pod_over(&mut self);

    /// Something about an app that the user should know, though nothing failed; `app` is its index in the manifest.
    fn remark(&mut self, app: usize, text: &str);
}

/// What the pod's directory gives to its processes.
#[derive(Debug)]
pub struct PodFiles {
    /// For each app, its writable layer.
    pub apps: Vec<AppDirs>,
    /// For each empty volume of the manifest, in its order, its directory.
    pub volumes: Vec<OwnedFd>,
    /// The pod's lock. Pid 1 holds it too, so that the pod counts as alive until both are gone.
    pub lock: OwnedFd,
}

/// The writable directories of an app's root file system.
#[derive(Debug)]
pub struct AppDirs {
    /// The writable layer.
    pub upper: OwnedFd,
    /// The overlay's work directory, on the same file system.
    pub work: OwnedFd,
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
    Files(#[source] Box<dyn std::error::Error + Send + Sync>),
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
            Self::Pod(Failure { kind: FailureKind::NotFound, .. }) => 127,
            Self::Pod(Failure { kind: FailureKind::NotExecutable, .. }) => 126,
            _ => 254,
        }
    }
}

type MonitorEnd = Channel<ToInit, FromInit>;

/// Runs the pod and waits for its end.
///
/// The forwarded signals stay blocked when this returns: what is left to do is cleaning up.
///
/// # Errors
/// [`RunError`]. Whatever is returned, no process, mount or namespace of the pod is left.
pub fn run(spec: PodSpec<'_>, keeper: &mut dyn Keeper) -> Result<PodOutcome, RunError> {
    check_streams()?;
    let layers: Vec<usize> = spec.layers.iter().map(Vec::len).collect();
    let sources = spec.sources.iter().map(|source| source.as_ref().map(source_kind).transpose());
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    let options = PodOptions { hostname: spec.hostname, mapping: spec.mapping, layers: &layers, sources: &sources };
    let plan = plan(spec.manifest, &options, &Host::detect())?;
    let watched = FORWARDED.map(Signal::as_raw);
    let signals = sys::signal::watch(&watched, Block::Watched)?;
    let (monitor, init_end) = pair().map_err(std::io::Error::from)?;
    match sys::fork::fork(Namespaces::USER.with(Namespaces::PID)).map_err(RunError::Namespace)? {
        Fork::Child => {
            drop(monitor);
            let PodSpec { mapping, layers, sources, .. } = spec;
            init::run(Init { plan: &plan, mapping, layers, sources, monitor: &init_end })
        }
        Fork::Parent { pid, pidfd } => {
            drop(init_end);
            let mut watch = Watch { monitor, signals, supervisor: Supervisor::new(layers.len()), deadline: None };
            let result = launch(&watch, spec.mapping, pid, keeper).and_then(|()| watch.pod(keeper));
            // End of file on the conversation ends pid 1, and the kernel then kills whatever else lives in the pod.
            let Watch { monitor, supervisor, .. } = watch;
            drop(monitor);
            if matches!(result, Ok(Ended::Over)) {
                keeper.pod_over();
            }
            let end = reap(&pidfd);
            match (result?, end?) {
                (Ended::Over, _) => Ok(PodOutcome { status: supervisor.status(), apps: supervisor.ends().to_vec() }),
                (Ended::InitGone, end) => Err(RunError::InitDied(end.status())),
            }
        }
    }
}

fn source_kind(source: &OwnedFd) -> Result<SourceKind, std::io::Error> {
    Ok(match FileType::from_raw_mode(fstat(source)?.st_mode) {
        FileType::Directory => SourceKind::Directory,
        FileType::CharacterDevice | FileType::BlockDevice => SourceKind::Device,
        _ => SourceKind::File,
    })
}

/// Refuses streams that are more than a stream: from a directory an app could walk the host, and neither mounts nor
/// Landlock keep it from looking, changing modes or connecting to sockets there.
fn check_streams() -> Result<(), RunError> {
    let streams = [(stdin(), "standard input"), (stdout(), "standard output"), (stderr(), "standard error")];
    for (fd, stream) in streams {
        let Ok(stat) = fstat(fd) else { continue };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(RunError::Stream { stream, kind: "directory" });
        }
        if fcntl_getfl(fd).is_ok_and(|flags| flags.contains(OFlags::PATH)) {
            return Err(RunError::Stream { stream, kind: "mere path" });
        }
    }
    Ok(())
}

/// Gives pid 1 what it waits for: the maps, and then the files, which are made while somebody else works: the id
/// helpers where there are any, else pid 1 itself.
fn launch(watch: &Watch, mapping: &IdMapping, pid: Pid, keeper: &mut dyn Keeper) -> Result<(), RunError> {
    let maps = mapping.start(pid)?;
    let files = if maps.is_finished() {
        watch.say(&ToInit::Mapped)?;
        keeper.files()
    } else {
        let files = keeper.files();
        maps.finish()?;
        watch.say(&ToInit::Mapped)?;
        files
    };
    send_files(&watch.monitor, &files.map_err(RunError::Files)?).map_err(std::io::Error::from)?;
    // Said at once: pid 1 reads it when every app is created.
    watch.say(&ToInit::Start)?;
    Ok(())
}

/// The order is the receiver's: the lock, each app's directories, the volumes.
fn send_files(monitor: &MonitorEnd, files: &PodFiles) -> rustix::io::Result<()> {
    let apps = files.apps.iter().flat_map(|app| [&app.upper, &app.work]);
    let fds: Vec<_> = std::iter::once(&files.lock).chain(apps).chain(&files.volumes).map(|fd| fd.as_fd()).collect();
    let mut chunks = fds.chunks(MAX_FDS).peekable();
    while let Some(chunk) = chunks.next() {
        monitor.say_with(&ToInit::Files { last: chunks.peek().is_none() }, chunk)?;
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

/// How the conversation with pid 1 ended.
enum Ended {
    /// As planned.
    Over,
    /// Pid 1 is gone, and did not say why.
    InitGone,
}

/// The monitor at work.
struct Watch {
    monitor: MonitorEnd,
    signals: OwnedFd,
    supervisor: Supervisor,
    deadline: Option<Instant>,
}

impl Watch {
    fn pod(&mut self, keeper: &mut dyn Keeper) -> Result<Ended, RunError> {
        let mut failed = None;
        loop {
            let (from_init, signalled) = self.wait()?;
            let mut events = Vec::new();
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.deadline = None;
                events.push(Event::GraceOver);
            }
            while let Some(signal) = signalled.then(|| sys::signal::next(&self.signals)).transpose()?.flatten() {
                events.push(Event::Signal(signal));
            }
            if from_init {
                match self.monitor.hear().map_err(std::io::Error::from)? {
                    None => return failed.map_or(Ok(Ended::InitGone), |failure| Err(RunError::Pod(failure))),
                    Some(FromInit::Failed(failure)) => failed = Some(failure),
                    Some(FromInit::Remark { app, text }) => keeper.remark(app, &text),
                    Some(FromInit::ExecFailed { app, failure }) => {
                        let status = i32::from(RunError::Pod(failure.clone()).exit_status());
                        failed = failed.or(Some(failure));
                        keeper.app_ended(app, status);
                        events.push(Event::Ended { app, status });
                    }
                    Some(FromInit::Exited { app, end }) => {
                        keeper.app_ended(app, end.status());
                        events.push(Event::Ended { app, status: end.status() });
                    }
                }
            }
            for event in events {
                if self.react(event)? {
                    return failed.map_or(Ok(Ended::Over), |failure| Err(RunError::Pod(failure)));
                }
            }
        }
    }

    /// Waits until pid 1 or a signal has something, or the grace period is over.
    fn wait(&self) -> Result<(bool, bool), std::io::Error> {
        let mut ready = [PollFd::new(&self.monitor, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
        let timeout = self.deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() }
        });
        match poll(&mut ready, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok((!ready[0].revents().is_empty(), !ready[1].revents().is_empty()))
    }

    /// Returns true when the pod is over.
    fn react(&mut self, event: Event) -> Result<bool, std::io::Error> {
        for action in self.supervisor.handle(event) {
            match action {
                Action::Forward(signal) => self.say(&ToInit::Signal(signal))?,
                Action::StartGrace => self.deadline = Some(Instant::now() + GRACE),
                Action::Shutdown => {
                    self.say(&ToInit::Shutdown)?;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn say(&self, message: &ToInit) -> Result<(), std::io::Error> {
        self.monitor.say(message).map_err(std::io::Error::from)
    }
}
