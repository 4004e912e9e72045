//! The monitor at work: it hears pid 1, signals, clients and the apps' output, asks the supervisor what follows, and has
//! it done.

mod actions;
mod additions;
mod apps;
mod attaching;
mod calls;
mod checks;
mod events;
mod network;
mod news;
mod policy;
mod ports;
mod readiness;
mod removals;
mod replies;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use appc::PodManifest;
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Signal};
use serde::Serialize;

use crate::cgroup::{AppCgroup, PodCgroup};
use crate::channel::{Failure, ToInit};
use crate::control::{ConnectionId, Control};
use crate::idmap::IdMapping;
use crate::metadata::Metadata;
use crate::network::{EtcFile, HOSTS, Network};
use crate::node::Members;
use crate::output::{LogLimits, Outputs};
use crate::plan::Net;
use crate::protocol::AppReport;
use crate::run::{Keeper, MonitorEnd, PodFiles, PodSpec, RunError, Signals};
use crate::streams::AppPipes;
use crate::supervise::{Event, ExitPolicy, GRACE, Restart, Supervisor, Timer};
use crate::uplink::Connection;

use additions::Additions;
use apps::AppRecord;
use checks::Checks;
use events::Events;
use ports::Ports;
use readiness::Ready;

pub(crate) use readiness::QUIET;

/// How long apps wait for the client whose streams they are to have.
const HELD: Duration = Duration::from_secs(30);

/// How the conversation with pid 1 ended.
pub(crate) enum Ended {
    /// As planned.
    Over,
    /// Pid 1 is gone, and did not say why.
    InitGone,
}

/// What a process is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// It is the app's active one.
    App(usize),
    /// A client has entered it.
    Entered(ConnectionId),
    /// None: a client has asked for the app's namespaces.
    Room(ConnectionId),
    /// It checks the health of an app.
    Check(usize),
}

/// A client that waits for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// For the app to be created; whether it hears what is to be said of it until then.
    Added { app: usize, remarks: bool },
    /// For a port to be let go of.
    Freed,
    /// For the terminal of an app that was started again.
    Terminal { app: usize, wanted: attaching::WantedStreams },
    /// For pid 1 not to end before it is told: then this policy counts.
    Policy(Restart),
}

pub(crate) struct Monitor<'a> {
    init: MonitorEnd,
    pid: Pid,
    signals: OwnedFd,
    what_signals_mean: Signals,
    mapping: &'a IdMapping,
    hostname: &'a str,
    manifest: PodManifest,
    log_limits: LogLimits,
    log_dir: Option<OwnedFd>,
    control: Option<Control>,
    supervisor: Supervisor,
    forgives: bool,
    apps: Vec<AppRecord>,
    processes: BTreeMap<u64, Purpose>,
    next_process: u64,
    timers: BTreeMap<Timer, Instant>,
    /// Entered processes whose client is gone, and when they are killed.
    hung_up: BTreeMap<u64, Instant>,
    /// Entered processes that go on without their client, and whether that waits to hear that they are executed.
    staying: BTreeMap<u64, bool>,
    checks: Checks,
    waiting: BTreeMap<ConnectionId, Waits>,
    /// The connection at whose end the pod is stopped.
    holder: Option<ConnectionId>,
    additions: Additions,
    outputs: Outputs,
    cgroup: Option<PodCgroup>,
    metadata: Option<Metadata>,
    net: Net,
    uplink: Option<Connection>,
    /// Ports that lead into the pod since it runs, and ports of its manifest that do not any more.
    ports: Ports,
    /// Its places in networks of pods.
    members: Members,
    /// Whether the apps are to be started when it is there.
    put_off: bool,
    /// Whether the apps that the pod begins with are created, and nobody was told yet.
    created: bool,
    /// The first processes of apps whose programs are not executed yet, while that is waited for.
    unexecuted: Option<BTreeSet<u64>>,
    /// The files of /etc that each app is given.
    etc: Vec<EtcFile>,
    events: Events,
    /// Whether the apps wait for somebody to attach and hold.
    held: bool,
    /// The first thing that kept an app from being executed.
    failed: Option<Failure>,
    over: bool,
    /// Whether something has happened since memory was given back.
    restless: bool,
}

/// The apps of a pod, and who decides when they are started again and when the pod is over.
fn supervised(spec: &PodSpec<'_>, cgroups: Vec<AppCgroup>) -> (Supervisor, Vec<AppRecord>) {
    let mut supervisor = Supervisor::new(spec.exit_policy);
    let mut apps = Vec::new();
    let mut cgroups = cgroups.into_iter();
    for (index, app) in spec.manifest.apps.iter().enumerate() {
        let mut record = AppRecord::new(app, spec.apps.get(index).copied().unwrap_or_default());
        record.cgroup = cgroups.next();
        supervisor.add(record.policy());
        apps.push(record);
    }
    (supervisor, apps)
}

impl<'a> Monitor<'a> {
    pub(crate) fn new(
        spec: &mut PodSpec<'a>,
        cgroups: Vec<AppCgroup>,
        init: MonitorEnd,
        signals: OwnedFd,
        pid: Pid,
        etc: Vec<EtcFile>,
    ) -> Self {
        let (supervisor, apps) = supervised(spec, cgroups);
        let (net, uplink) = match std::mem::take(&mut spec.network) {
            Network::Loopback if spec.memberships.is_empty() => (Net::Loopback, None),
            Network::Loopback => (Net::Connected, None),
            Network::Host => (Net::Host, None),
            Network::Uplink(uplink) => (Net::Connected, Some(Connection::new(uplink))),
        };
        let hosts = etc.iter().find(|file| file.name == HOSTS).map(|file| file.content.clone()).unwrap_or_default();
        let members = Members::new(std::mem::take(&mut spec.memberships), hosts, spec.hostname);
        Self {
            init,
            pid,
            signals,
            what_signals_mean: spec.signals,
            mapping: spec.mapping,
            hostname: spec.hostname,
            manifest: spec.manifest.clone(),
            log_limits: spec.logs,
            log_dir: None,
            control: None,
            supervisor,
            forgives: spec.exit_policy == ExitPolicy::Never,
            apps,
            processes: BTreeMap::new(),
            next_process: 0,
            timers: BTreeMap::new(),
            hung_up: BTreeMap::new(),
            staying: BTreeMap::new(),
            checks: Checks::default(),
            waiting: BTreeMap::new(),
            holder: None,
            additions: Additions::default(),
            outputs: Outputs::default(),
            cgroup: spec.cgroup.take(),
            metadata: spec.metadata.take().map(Metadata::new),
            net,
            uplink,
            ports: Ports::default(),
            members,
            put_off: false,
            created: false,
            unexecuted: spec.executes_first.then(BTreeSet::new),
            etc,
            events: Events::default(),
            held: spec.held,
            failed: None,
            over: false,
            restless: true,
        }
    }

    /// What is left when the pod is over.
    pub(crate) fn end(self) -> (Supervisor, Vec<AppReport>, Outputs, Option<PodCgroup>, Option<Connection>) {
        // Its interface takes the kernel a while to take apart: pid 1 ends meanwhile.
        self.uplink.iter().for_each(Connection::end);
        let reports = self.apps.into_iter().map(|app| app.report).collect();
        (self.supervisor, reports, self.outputs, self.cgroup, self.uplink)
    }

    /// Starts the apps and sees to the pod until its end.
    pub(crate) fn watch(
        &mut self,
        pipes: Vec<AppPipes>,
        files: PodFiles,
        namespace: Option<OwnedFd>,
        keeper: &mut dyn Keeper,
    ) -> Result<Ended, RunError> {
        self.control = files.control.map(Control::new);
        (self.log_dir, self.additions.namespace) = (files.logs, namespace);
        for (app, pipes) in pipes.into_iter().enumerate() {
            if self.apps[app].is_kept() {
                self.keep_log(app)?;
            }
            pipes.keep(app, &mut self.outputs);
        }
        // Said at once: pid 1 reads it when every app is created.
        if self.held {
            self.timers.insert(Timer::Held, Instant::now() + HELD);
        } else {
            self.start_all(keeper)?;
        }
        loop {
            let ready = self.wait()?;
            match self.turn(&ready, keeper)? {
                _ if self.over => return self.failed.take().map_or(Ok(Ended::Over), |f| Err(RunError::Pod(f))),
                None => {}
                Some(ended) => return self.failed.take().map_or(Ok(ended), |failure| Err(RunError::Pod(failure))),
            }
        }
    }

    /// Starts every app that was not started yet.
    ///
    /// Before the network is there that is put off: apps look at it once, as they start.
    fn start_all(&mut self, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        if !self.has_network() {
            self.put_off = true;
            return Ok(());
        }
        let created: Vec<usize> = (0..self.apps.len()).filter(|app| self.supervisor.is_created(*app)).collect();
        created.into_iter().try_for_each(|app| self.react(Event::Start(app), keeper))
    }

    /// Sees to what has happened.
    ///
    /// Never a part of its caller: what it needs of the stack is given back while nothing happens.
    #[inline(never)]
    fn turn(&mut self, ready: &Ready, keeper: &mut dyn Keeper) -> Result<Option<Ended>, RunError> {
        self.checks.polled(&ready.checks);
        self.look_at_the_clock(keeper)?;
        if !ready.outputs.is_empty() {
            self.outputs.polled(&ready.outputs);
        }
        while let Some(signal) = ready.signals.then(|| sys::signal::next(&self.signals)).transpose()?.flatten() {
            self.signalled(signal, keeper)?;
        }
        if ready.built {
            self.built(keeper)?;
        }
        let incoming = self.control.as_mut().map(|server| server.polled(&ready.control)).unwrap_or_default();
        for incoming in incoming {
            self.incoming(incoming, keeper)?;
        }
        if ready.init {
            match self.init.hear_with().map_err(std::io::Error::from)? {
                None => return Ok(Some(Ended::InitGone)),
                Some((message, fds)) => self.heard(message, fds, keeper)?,
            }
        }
        if ready.network {
            self.network_changed(keeper)?;
        }
        // Last: it may take a while, and who has connected is in the queue.
        if ready.metadata
            && let Some(complaint) = self.metadata.as_mut().and_then(|metadata| metadata.polled(&self.manifest))
        {
            keeper.remark_on_pod(&complaint);
        }
        Ok(None)
    }

    fn look_at_the_clock(&mut self, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        if let Some(metadata) = &mut self.metadata {
            metadata.look_at_the_clock();
        }
        self.control.iter_mut().for_each(Control::look_at_the_clock);
        self.members.look_at_the_clock();
        self.network_clock(keeper)?;
        self.check_health(keeper)?;
        if self.timers.is_empty() && self.hung_up.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        let due: Vec<Timer> = self.timers.iter().filter(|(_, at)| **at <= now).map(|(timer, _)| *timer).collect();
        for timer in due {
            self.timers.remove(&timer);
            self.react(Event::Timer(timer), keeper)?;
        }
        let due: Vec<u64> = self.hung_up.iter().filter(|(_, at)| **at <= now).map(|(process, _)| *process).collect();
        for process in due {
            self.hung_up.remove(&process);
            self.say(&ToInit::Signal { process, signal: crate::supervise::SIGKILL })?;
        }
        Ok(())
    }

    fn signalled(&mut self, signal: i32, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        let stops = asks_to_end(signal);
        let event = match self.what_signals_mean {
            Signals::Stop if stops => Event::Stop { app: None, signal: None, grace: GRACE },
            Signals::Forward if stops => Event::Interrupt(signal),
            _ => Event::Signal(signal),
        };
        self.react(event, keeper)
    }

    fn say(&self, message: &ToInit) -> Result<(), std::io::Error> {
        self.init.say(message).map_err(std::io::Error::from)
    }
}

/// Whether a program that is sent this signal is asked to end.
fn asks_to_end(signal: i32) -> bool {
    [Signal::INT, Signal::TERM].map(Signal::as_raw).contains(&signal)
}

/// A value as JSON in a memory file: messages are too short for some.
fn memory_file(value: &impl Serialize) -> std::io::Result<OwnedFd> {
    let json = serde_json::to_vec(value).map_err(std::io::Error::other)?;
    let fd = rustix::fs::memfd_create("proa", MemfdFlags::CLOEXEC).map_err(std::io::Error::from)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(&json)?;
    Ok(file.into())
}
