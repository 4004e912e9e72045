//! The monitor at work: it hears pid 1, signals, clients and the apps' output, asks the supervisor what follows, and has
//! it done.

mod apps;
mod calls;
mod events;
mod network;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use appc::{ImageManifest, PodManifest, Volume};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use serde::Serialize;

use crate::builder::Building;
use crate::cgroup::{AppCgroup, PodCgroup};
use crate::channel::{Failure, FromInit, ToInit};
use crate::control::{ConnectionId, Control};
use crate::idmap::IdMapping;
use crate::metadata::Metadata;
use crate::network::{EtcFile, HOSTS, Network};
use crate::node::Member;
use crate::output::{LogLimits, Outputs};
use crate::plan::Net;
use crate::protocol::{End, EventKind, Refused, RefusedKind, Reply};
use crate::run::{Keeper, MonitorEnd, PodFiles, PodSpec, RunError, Signals};
use crate::streams::{AppPipes, keep_terminal};
use crate::supervise::{Action, Event, ExitPolicy, GRACE, Role, Supervisor, Timer};
use crate::uplink::Connection;

use apps::AppRecord;
use events::Events;

/// How long an app must have run for its next failure to be a new one.
const RAN_WELL: Duration = Duration::from_secs(10);

/// After so long without anything to do, the memory that was needed for it is given back. Pods that are over before pay
/// nothing.
pub(crate) const QUIET: Duration = Duration::from_secs(1);

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
}

/// A client that waits for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// For the app to be created.
    Added(usize),
}

/// What is ready.
#[derive(Debug, Default)]
struct Ready {
    /// Pid 1 has something to say.
    init: bool,
    signals: bool,
    /// An app is built.
    built: bool,
    control: Vec<PollFlags>,
    outputs: Vec<PollFlags>,
    /// The metadata service is needed, or gone.
    metadata: bool,
    /// The network is there, or gone.
    network: bool,
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
    /// Entered processes that go on without their client.
    staying: BTreeSet<u64>,
    waiting: BTreeMap<ConnectionId, Waits>,
    /// The connection at whose end the pod is stopped.
    holder: Option<ConnectionId>,
    /// Where apps can be added: the pod's user namespace.
    namespace: Option<OwnedFd>,
    building: Option<Building>,
    /// The app that pid 1 is creating.
    adding: Option<usize>,
    /// The manifest of the image of the app that is being added.
    image: Option<ImageManifest>,
    /// The volumes that it brings into the pod.
    new_volumes: Vec<Volume>,
    outputs: Outputs,
    cgroup: Option<PodCgroup>,
    metadata: Option<Metadata>,
    net: Net,
    uplink: Option<Connection>,
    /// Its place in a network of pods, if it is on one.
    member: Option<Member>,
    /// Whether the apps are to be started when it is there.
    put_off: bool,
    /// Whether the apps that the pod begins with are created, and nobody was told yet.
    created: bool,
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

impl<'a> Monitor<'a> {
    pub(crate) fn new(
        spec: &mut PodSpec<'a>,
        cgroups: Vec<AppCgroup>,
        init: MonitorEnd,
        signals: OwnedFd,
        (pid, etc): (Pid, Vec<EtcFile>),
    ) -> Self {
        let mut supervisor = Supervisor::new(spec.exit_policy);
        let mut apps = Vec::new();
        let mut cgroups = cgroups.into_iter();
        for (index, app) in spec.manifest.apps.iter().enumerate() {
            let mut record = AppRecord::new(app, spec.apps.get(index).copied().unwrap_or_default());
            record.cgroup = cgroups.next();
            supervisor.add(record.policy());
            apps.push(record);
        }
        let (net, uplink) = match std::mem::take(&mut spec.network) {
            Network::Loopback if spec.membership.is_none() => (Net::Loopback, None),
            Network::Loopback => (Net::Connected, None),
            Network::Host => (Net::Host, None),
            Network::Uplink(uplink) => (Net::Connected, Some(Connection::new(uplink))),
        };
        let hosts = etc.iter().find(|file| file.name == HOSTS).map(|file| file.content.clone()).unwrap_or_default();
        let member = spec.membership.take().map(|membership| Member::new(membership, hosts));
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
            staying: BTreeSet::new(),
            waiting: BTreeMap::new(),
            holder: None,
            namespace: None,
            building: None,
            adding: None,
            image: None,
            new_volumes: Vec::new(),
            outputs: Outputs::new(),
            cgroup: spec.cgroup.take(),
            metadata: spec.metadata.take().map(Metadata::new),
            net,
            uplink,
            member,
            put_off: false,
            created: false,
            etc,
            events: Events::default(),
            held: spec.held,
            failed: None,
            over: false,
            restless: true,
        }
    }

    /// What is left when the pod is over.
    pub(crate) fn end(self) -> (Supervisor, Outputs, Option<PodCgroup>, Option<Connection>) {
        // Its interface takes the kernel a while to take apart: pid 1 ends meanwhile.
        self.uplink.iter().for_each(Connection::end);
        (self.supervisor, self.outputs, self.cgroup, self.uplink)
    }

    /// Starts the apps and sees to the pod until its end.
    pub(crate) fn watch(
        &mut self,
        pipes: Vec<AppPipes>,
        (files, namespace): (PodFiles, Option<OwnedFd>),
        keeper: &mut dyn Keeper,
    ) -> Result<Ended, RunError> {
        self.control = files.control.map(Control::new);
        (self.log_dir, self.namespace) = (files.logs, namespace);
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

    /// Waits until something is ready, or a timer.
    #[inline(never)]
    fn wait(&mut self) -> Result<Ready, std::io::Error> {
        loop {
            match self.poll(self.restless.then(|| Instant::now() + QUIET))? {
                None if self.restless => {
                    sys::memory::release();
                    self.restless = false;
                }
                None => return Ok(Ready::default()),
                Some(ready) => {
                    self.restless = true;
                    return Ok(ready);
                }
            }
        }
    }

    /// Waits until something is ready, a timer, or that moment.
    #[inline(never)]
    fn poll(&self, at_latest: Option<Instant>) -> Result<Option<Ready>, std::io::Error> {
        let mut polled = vec![PollFd::new(&self.init, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
        if let Some(building) = &self.building {
            polled.push(PollFd::new(building, PollFlags::IN));
        }
        let first = polled.len();
        let control = self.control.as_ref().map(Control::to_poll).unwrap_or_default();
        let outputs = if self.outputs.is_empty() { Vec::new() } else { self.outputs.to_poll() };
        let (of_control, of_outputs) = (control.len(), outputs.len());
        polled.extend(control.into_iter().chain(outputs));
        let before = polled.len();
        polled.extend(self.metadata.iter().flat_map(Metadata::to_poll));
        let of_metadata = polled.len() - before;
        polled.extend(self.uplink.iter().flat_map(Connection::to_poll));
        polled.extend(self.member.iter().flat_map(Member::to_poll));
        let respite = self.metadata.as_ref().and_then(Metadata::respite);
        let patience = self.uplink.as_ref().and_then(Connection::deadline);
        let next = self
            .timers
            .values()
            .chain(self.hung_up.values())
            .copied()
            .chain(respite)
            .chain(patience)
            .chain(at_latest)
            .min();
        let timeout = next.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() }
        });
        match poll(&mut polled, timeout.as_ref()) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Some(Ready::default())),
            Err(errno) => return Err(errno.into()),
        }
        let flags: Vec<PollFlags> = polled.iter().map(PollFd::revents).collect();
        let (fixed, rest) = flags.split_at(first);
        let (control, rest) = rest.split_at(of_control);
        let (outputs, rest) = rest.split_at(of_outputs);
        let (metadata, network) = rest.split_at(of_metadata);
        let any = |flags: &[PollFlags]| flags.iter().any(|flags| !flags.is_empty());
        Ok(Some(Ready {
            init: any(&fixed[..1]),
            signals: any(&fixed[1..2]),
            built: any(&fixed[2..]),
            control: control.to_vec(),
            outputs: outputs.to_vec(),
            metadata: any(metadata),
            network: any(network),
        }))
    }

    fn look_at_the_clock(&mut self, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        if let Some(metadata) = &mut self.metadata {
            metadata.look_at_the_clock();
        }
        self.network_clock(keeper)?;
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

    fn heard(&mut self, message: FromInit, fds: Vec<OwnedFd>, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        match message {
            FromInit::Failed(failure) => {
                self.never_started(&failure, keeper);
                self.failed = Some(failure);
            }
            FromInit::Namespaces => self.connect(fds, keeper)?,
            FromInit::Listeners { pod, apps } => {
                let mut fds = fds.into_iter();
                if let Some(metadata) = &mut self.metadata {
                    fds.by_ref().take(usize::from(pod)).for_each(|listener| metadata.set_listener(listener));
                    for (app, listener) in apps.into_iter().zip(fds) {
                        metadata.set_identity(self.apps[app].report.name.clone(), listener);
                    }
                }
            }
            FromInit::Room { process } => {
                if let Some(Purpose::Room(connection)) = self.processes.remove(&process) {
                    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
                    self.reply_with(connection, &Reply::Room, &fds);
                }
            }
            FromInit::Remark { app, text } => keeper.remark(&self.apps[app].report.name, &text),
            FromInit::Created { terminals } => {
                for (app, terminal) in terminals.into_iter().zip(fds) {
                    keep_terminal(app, terminal, &mut self.outputs);
                }
                self.created = true;
                self.tell_started(keeper);
            }
            FromInit::Added { app } => {
                if let Some(terminal) = fds.into_iter().next() {
                    keep_terminal(app, terminal, &mut self.outputs);
                }
                self.added(app, Ok(()), keeper)?;
            }
            FromInit::AddFailed { app, failure } => self.added(app, Err(failure), keeper)?,
            FromInit::Terminal { process } => {
                let terminal = fds.into_iter().next();
                match self.processes.get(&process) {
                    Some(Purpose::Entered(connection)) => {
                        let connection = *connection;
                        let fds: Vec<BorrowedFd<'_>> = terminal.iter().map(|fd| fd.as_fd()).collect();
                        self.reply_with(connection, &Reply::Started, &fds);
                    }
                    Some(Purpose::App(app)) => {
                        if let Some(terminal) = terminal {
                            keep_terminal(*app, terminal, &mut self.outputs);
                        }
                    }
                    Some(Purpose::Room(_)) | None => {}
                }
            }
            FromInit::ExecFailed { process, failure } => match self.forget(process) {
                Some(Purpose::App(app)) => self.never_executed(app, failure, keeper)?,
                Some(Purpose::Entered(connection) | Purpose::Room(connection)) => {
                    self.refuse(connection, RefusedKind::Failed(failure.kind), &failure.message);
                }
                None => {}
            },
            FromInit::Exited { process, end } => match self.forget(process) {
                Some(Purpose::App(app)) => {
                    self.tell_of_handler(app, end, keeper);
                    self.process_ended(app, end, keeper)?;
                }
                Some(Purpose::Entered(connection)) => self.reply(connection, &Reply::Exited(end)),
                Some(Purpose::Room(_)) | None => {}
            },
        }
        Ok(())
    }

    /// Has it written down why an app could not be executed, if it is known which one: who looks at the pod later wants
    /// to know.
    fn never_started(&mut self, failure: &Failure, keeper: &mut dyn Keeper) {
        let named = |app: &AppRecord| failure.message.starts_with(&format!("app {:?}", app.report.name));
        let app =
            if self.apps.len() == 1 { self.apps.first_mut() } else { self.apps.iter_mut().find(|app| named(app)) };
        if let Some(app) = app {
            app.failed(failure);
            app.main_ended(End::Code(i32::from(failure.exit_status())));
            app.finished();
            keeper.app_changed(&app.report);
        }
    }

    /// A process is gone; returns what it was there for.
    fn forget(&mut self, process: u64) -> Option<Purpose> {
        self.hung_up.remove(&process);
        self.staying.remove(&process);
        self.processes.remove(&process)
    }

    /// The active process of an app could not be executed. Of a post-stop handler that is told, and changes nothing of
    /// the program's status.
    fn never_executed(&mut self, app: usize, failure: Failure, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        let status = i32::from(failure.exit_status());
        let record = &mut self.apps[app];
        let name = record.report.name.clone();
        let prefix = format!("app {name:?}: ");
        let what = failure.message.strip_prefix(&prefix).unwrap_or(&failure.message);
        match record.handler_failed(&format!("could not be executed: {what}")) {
            Some(text) if record.role == Some(Role::PostStop) => keeper.remark(&name, &text),
            text => {
                let named = text.map(|text| Failure::new(failure.kind, &format_args!("{prefix}{text}")));
                let failure = named.unwrap_or(failure);
                record.failed(&failure);
                if !self.forgives {
                    self.failed = self.failed.take().or(Some(failure));
                }
            }
        }
        self.process_ended(app, End::Code(status), keeper)
    }

    /// Tells of a handler that has failed by itself: its program says nothing of that.
    fn tell_of_handler(&mut self, app: usize, end: End, keeper: &mut dyn Keeper) {
        let record = &mut self.apps[app];
        if end.status() == 0 || (record.role == Some(Role::PreStart) && self.supervisor.apps()[app].is_to_end()) {
            return;
        }
        let how = match end {
            End::Code(code) => format!("failed with status {code}"),
            End::Signal(signal) => format!("was killed by signal {signal}"),
        };
        if let Some(text) = record.handler_failed(&how) {
            keeper.remark(&record.report.name, &text);
        }
    }

    /// The active process of an app has ended.
    fn process_ended(&mut self, app: usize, end: End, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        let record = &mut self.apps[app];
        record.process = None;
        if record.role == Some(Role::Main) {
            record.main_ended(end);
            if record.ran_for().is_some_and(|time| time >= RAN_WELL) {
                self.supervisor.ran_well(app);
            }
        } else if record.report.exit.is_none() && end.status() != 0 {
            // A pre-start handler that fails is the app's end.
            record.main_ended(end);
        }
        self.react(Event::Ended { app, status: end.status() }, keeper)
    }

    /// Asks the supervisor and does what it says.
    fn react(&mut self, event: Event, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        for action in self.supervisor.handle(event) {
            match action {
                Action::Execute(app, role) => self.execute(app, role, keeper)?,
                Action::Signal(app, signal) => {
                    if let Some(process) = self.apps[app].process {
                        self.say(&ToInit::Signal { process, signal })?;
                    }
                }
                Action::Set(timer, after) => drop(self.timers.insert(timer, Instant::now() + after)),
                Action::Cancel(timer) => drop(self.timers.remove(&timer)),
                Action::Finished(app) => self.finished(app, keeper),
                Action::Shutdown => {
                    self.say(&ToInit::Shutdown)?;
                    self.over = true;
                    if let Some(holder) = self.holder {
                        self.reply(holder, &Reply::Exited(End::Code(self.supervisor.status())));
                    }
                }
            }
        }
        Ok(())
    }

    fn finished(&mut self, app: usize, keeper: &mut dyn Keeper) {
        self.outputs.app_ended(app);
        let record = &mut self.apps[app];
        record.finished();
        keeper.app_changed(&record.report);
        let (name, exit) = (record.report.name.clone(), record.report.exit);
        self.tell(Some(name), EventKind::Exited, exit);
    }

    /// Has a process of the app executed.
    fn execute(&mut self, app: usize, role: Role, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        let process = self.next_process;
        self.next_process += 1;
        self.processes.insert(process, Purpose::App(app));
        let state = self.supervisor.apps()[app];
        let record = &mut self.apps[app];
        record.starting(process, role, state.attempt);
        let kind = match role {
            Role::PreStart => EventKind::PreStart,
            Role::Main => EventKind::Started,
            Role::PostStop => EventKind::PostStop,
        };
        let name = record.report.name.clone();
        if role == Role::Main && state.attempt == 0 {
            self.say(&ToInit::Start { app, process })?;
        } else {
            let (spec, stdio) = record.later_process(role);
            let (pipes, streams) = AppPipes::new(stdio).map_err(std::io::Error::from)?;
            if role == Role::Main {
                pipes.keep(app, &mut self.outputs);
            } else {
                pipes.keep_output(app, &mut self.outputs);
            }
            self.enter(app, process, &spec, streams.fds())?;
        }
        if role == Role::Main {
            keeper.app_changed(&self.apps[app].report);
        }
        self.tell(Some(name), kind, None);
        Ok(())
    }

    /// Has something executed in the app, with these streams or none.
    fn enter(&mut self, app: usize, process: u64, spec: &impl Serialize, streams: &[OwnedFd]) -> Result<(), RunError> {
        let spec = memory_file(spec)?;
        let fds: Vec<BorrowedFd<'_>> = std::iter::once(&spec).chain(streams).map(|fd| fd.as_fd()).collect();
        self.init.say_with(&ToInit::Enter { app, process }, &fds).map_err(std::io::Error::from)?;
        Ok(())
    }

    fn keep_log(&mut self, app: usize) -> Result<(), RunError> {
        let Some(dir) = &self.log_dir else { return Ok(()) };
        let name = self.apps[app].report.name.clone();
        self.outputs.keep_log(app, &name, dir.as_fd(), self.log_limits).map_err(std::io::Error::from)?;
        Ok(())
    }

    fn say(&self, message: &ToInit) -> Result<(), std::io::Error> {
        self.init.say(message).map_err(std::io::Error::from)
    }

    fn reply(&mut self, connection: ConnectionId, reply: &Reply) {
        self.reply_with(connection, reply, &[]);
    }

    fn reply_with(&mut self, connection: ConnectionId, reply: &Reply, fds: &[BorrowedFd<'_>]) {
        if let Some(control) = &mut self.control {
            control.reply(connection, reply, fds);
        }
    }

    fn refuse(&mut self, connection: ConnectionId, kind: RefusedKind, message: &str) {
        self.reply(connection, &Reply::Error(Refused { kind, message: message.to_owned() }));
    }

    /// Remembers an event and tells those who listen.
    fn tell(&mut self, app: Option<String>, kind: EventKind, exit: Option<End>) {
        let event = self.events.add(app, kind, exit);
        let reply = Reply::Event(event);
        for connection in self.events.listeners() {
            self.reply(connection, &reply);
        }
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
