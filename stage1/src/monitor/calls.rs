//! What clients want, and what they get.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::additions::Wanted;
use super::attaching::WantedStreams;
use super::{AppRecord, Monitor, Purpose, asks_to_end};
use crate::channel::{Entry, FailureKind, ToInit};
use crate::control::{ConnectionId, Incoming};
use crate::protocol::{AppReport, Call, EnterSpec, EventKind, PodReport, RefusedKind, Reply, Request, VERSION};
use crate::run::{Keeper, RunError};
use crate::supervise::{Event, GRACE, Phase, Timer};
use crate::terminal;

/// Time for an entered process to follow its client's end.
const HANG_UP: Duration = Duration::from_secs(5);

/// Longest time that a client may give apps to stop.
const MAX_GRACE: Duration = Duration::from_secs(24 * 3600);

/// SIGHUP, on every architecture (signal(7)).
const SIGHUP: i32 = 1;

impl Monitor<'_> {
    pub(super) fn incoming(&mut self, incoming: Incoming, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        match incoming {
            Incoming::Request(connection, Request { call, .. }, fds) => self.call(connection, call, fds, keeper),
            Incoming::Gone(connection) => self.gone(connection, keeper),
        }
    }

    /// A client has gone: what it entered is hung up, and what it held ends.
    fn gone(&mut self, connection: ConnectionId, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        self.events.forget(connection);
        self.outputs.detach(connection);
        self.waiting.remove(&connection);
        self.unqueue(connection);
        let entered = |purpose: &Purpose| *purpose == Purpose::Entered(connection);
        let processes: Vec<u64> = self.processes.iter().filter(|(_, p)| entered(p)).map(|(id, _)| *id).collect();
        for process in processes.into_iter().filter(|process| !self.staying.contains_key(process)) {
            self.hung_up.insert(process, Instant::now() + HANG_UP);
            self.say(&ToInit::Signal { process, signal: SIGHUP })?;
        }
        if self.holder == Some(connection) {
            self.holder = None;
            self.stop(None, None, None, keeper)?;
        }
        Ok(())
    }

    fn call(
        &mut self,
        connection: ConnectionId,
        call: Call,
        fds: Vec<OwnedFd>,
        keeper: &mut dyn Keeper,
    ) -> Result<(), RunError> {
        match call {
            Call::Status => {
                let report = Reply::Status(self.report());
                self.reply(connection, &report);
            }
            Call::Events { since } => {
                for event in self.events.listen(connection, since) {
                    self.reply(connection, &Reply::Event(event));
                }
            }
            Call::Signal { app, signal } => self.signal(connection, app, signal, keeper)?,
            Call::Stop { app, signal, grace_ms } => {
                let app = match app.map(|name| self.find(connection, &name)) {
                    // It was refused.
                    Some(None) => return Ok(()),
                    found => found.flatten(),
                };
                self.stop(app, signal, grace_ms, keeper)?;
                self.reply(connection, &Reply::Done);
            }
            Call::Start { app } => self.start(connection, &app, keeper)?,
            Call::Add { manifest, image, layers, trees, stdio, remarks } => {
                let wanted = Wanted { manifest, image, layers, trees, stdio, remarks };
                self.add(connection, wanted, fds, keeper);
            }
            Call::Remove { app } => self.remove(connection, &app, keeper)?,
            Call::AddPort { port } => self.add_port(connection, port, fds),
            Call::RemovePort { port } => self.remove_port(connection, &port),
            Call::Enter { app, stays, spec } => self.enter_for(connection, stays, &app, &spec, fds)?,
            Call::Room { app } => self.ask_for_room(connection, &app)?,
            Call::Forward { signal } => self.forward(connection, signal)?,
            Call::Attach { app, stdin, stdout, stderr, holds } => {
                self.attach(connection, &app, WantedStreams { streams: [stdin, stdout, stderr], alone: holds });
                if holds {
                    self.holder = Some(connection);
                    self.timers.remove(&Timer::Held);
                    // What the apps write from their first moment on is the client's.
                    self.start_all(keeper)?;
                }
            }
            Call::LetGo => {
                self.holder = self.holder.filter(|holder| *holder != connection);
                self.reply(connection, &Reply::Done);
            }
            Call::RestartPolicy { policy } => self.change_policy(connection, policy)?,
        }
        Ok(())
    }

    fn report(&self) -> PodReport {
        let report =
            |(index, app): (usize, &AppRecord)| AppReport { logs_lost: self.outputs.lost(index), ..app.report.clone() };
        let apps: Vec<_> = self.alive().map(report).collect();
        // Exited counts: it has been started.
        let begun = |app: &&AppRecord| app.report.started_ns.is_some();
        PodReport {
            version: VERSION,
            pid: self.pid.as_raw_nonzero().get(),
            ready: self.alive().all(|(_, app)| begun(&app)),
            stopping: self.supervisor.is_stopping(),
            event: self.events.last(),
            cgroup: self.cgroup.as_ref().map(|cgroup| cgroup.path().display().to_string()),
            apps,
            network: self.network_report(),
        }
    }

    /// The apps that have not been removed.
    pub(super) fn alive(&self) -> impl Iterator<Item = (usize, &AppRecord)> {
        let phases = self.supervisor.apps().iter().map(|app| app.phase);
        self.apps
            .iter()
            .zip(phases)
            .enumerate()
            .filter(|(_, (_, phase))| *phase != Phase::Removed)
            .map(|(i, (a, _))| (i, a))
    }

    /// The app of this name, or a refusal.
    pub(super) fn find(&mut self, connection: ConnectionId, name: &str) -> Option<usize> {
        let found = self.alive().find(|(_, app)| app.report.name == name).map(|(index, _)| index);
        if found.is_none() {
            self.refuse(connection, RefusedKind::NoApp, &format!("the pod has no app {name:?}"));
        }
        found
    }

    fn signal(
        &mut self,
        connection: ConnectionId,
        app: Option<String>,
        signal: i32,
        keeper: &mut dyn Keeper,
    ) -> Result<(), RunError> {
        if !(1..=64).contains(&signal) {
            self.refuse(connection, RefusedKind::Request, &format!("{signal} is not a signal"));
            return Ok(());
        }
        match app {
            None => self.react(Event::Signal(signal), keeper)?,
            Some(name) => {
                let Some(app) = self.find(connection, &name) else { return Ok(()) };
                let Some(process) = self.apps[app].process else {
                    // Whoever holds the pod passes on what a person typed: between two runs there is no app to hear it.
                    if self.holder == Some(connection) && asks_to_end(signal) {
                        self.react(Event::Interrupt(signal), keeper)?;
                        self.reply(connection, &Reply::Done);
                        return Ok(());
                    }
                    self.refuse(connection, RefusedKind::State, &format!("app {name:?} is not running"));
                    return Ok(());
                };
                self.say(&ToInit::Signal { process, signal })?;
            }
        }
        self.reply(connection, &Reply::Done);
        Ok(())
    }

    fn stop(
        &mut self,
        app: Option<usize>,
        signal: Option<i32>,
        grace_ms: Option<u64>,
        keeper: &mut dyn Keeper,
    ) -> Result<(), RunError> {
        let grace = grace_ms.map_or(GRACE, Duration::from_millis).min(MAX_GRACE);
        let name = app.map(|app| self.apps[app].report.name.clone());
        self.tell(name, EventKind::Stopping, None);
        self.react(Event::Stop { app, signal, grace }, keeper)
    }

    fn start(&mut self, connection: ConnectionId, name: &str, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        let Some(app) = self.find(connection, name) else { return Ok(()) };
        let phase = self.supervisor.apps()[app].phase;
        if self.supervisor.is_stopping() || matches!(phase, Phase::Active(_)) {
            let why = if self.supervisor.is_stopping() { "the pod is being stopped" } else { "it runs already" };
            self.refuse(connection, RefusedKind::State, &format!("app {name:?}: {why}"));
            return Ok(());
        }
        self.react(Event::Start(app), keeper)?;
        self.reply(connection, &Reply::Done);
        Ok(())
    }

    fn enter_for(
        &mut self,
        connection: ConnectionId,
        stays: bool,
        name: &str,
        spec: &EnterSpec,
        fds: Vec<OwnedFd>,
    ) -> Result<(), RunError> {
        let Some(app) = self.find(connection, name) else { return Ok(()) };
        let fits = if spec.terminal.is_some() { fds.is_empty() } else { fds.len() == 3 };
        if !fits || spec.exec.is_empty() {
            let what = "wanted: a command, and three descriptors or a terminal";
            self.refuse(connection, RefusedKind::Request, what);
            return Ok(());
        }
        if let Some(kind) = fds.iter().find_map(terminal::way_out) {
            self.refuse(connection, RefusedKind::Request, &format!("a standard stream is a {kind} of the host"));
            return Ok(());
        }
        if self.processes.values().any(|purpose| *purpose == Purpose::Entered(connection)) {
            self.refuse(connection, RefusedKind::State, "this connection has entered already");
            return Ok(());
        }
        let process = self.new_process(Purpose::Entered(connection));
        // Whoever waits for the end hears of a failure then.
        let awaited = stays && spec.terminal.is_none();
        if let Err(error) = self.enter(Entry { awaited, ..Entry::new(app, process) }, spec, &fds) {
            self.processes.remove(&process);
            self.refuse(connection, RefusedKind::Failed(FailureKind::Setup), &format!("begin a process: {error}"));
            return Ok(());
        }
        if stays {
            self.staying.insert(process, awaited);
        }
        if !stays && spec.terminal.is_none() {
            self.reply(connection, &Reply::Started);
        }
        self.tell(Some(name.to_owned()), EventKind::Entered, None);
        Ok(())
    }

    /// Has pid 1 hand out the namespaces of an app.
    fn ask_for_room(&mut self, connection: ConnectionId, name: &str) -> Result<(), RunError> {
        let Some(app) = self.find(connection, name) else { return Ok(()) };
        let process = self.new_process(Purpose::Room(connection));
        self.say(&ToInit::Room { app, process })?;
        Ok(())
    }

    /// Passes a signal on to what the client entered, if that is still there.
    fn forward(&self, connection: ConnectionId, signal: i32) -> Result<(), RunError> {
        let entered = |purpose: &&Purpose| **purpose == Purpose::Entered(connection);
        let process = self.processes.iter().find(|(_, purpose)| entered(purpose)).map(|(id, _)| *id);
        if let Some(process) = process {
            self.say(&ToInit::Signal { process, signal })?;
        }
        Ok(())
    }

    /// A number by which pid 1 knows a process that is to be made.
    pub(super) fn new_process(&mut self, purpose: Purpose) -> u64 {
        let process = self.next_process;
        self.next_process += 1;
        self.processes.insert(process, purpose);
        process
    }
}
