//! Pid 1 at work: it does what the monitor says, reports ends, and reaps.

mod arrivals;

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::WaitOptions;

use super::app::App;
use super::process::{Process, Stage};
use super::{InitEnd, Stop, etc, sockets};
use crate::apply::Fds;
use crate::channel::{End, Failure, FailureKind, FromInit, FromStub, MAX_FDS, ToInit, ToStub};
use crate::idmap::IdMapping;
use crate::monitor::QUIET;

use arrivals::spec;

/// The pod's apps, by index, and their processes.
pub(super) struct Apps {
    pub(super) apps: BTreeMap<usize, Box<App>>,
    pub(super) processes: Vec<Process>,
    /// Apps whose first process has ended while it waited for its start, and how it ended.
    pub(super) ended_early: BTreeMap<usize, End>,
    /// Whether the monitor says when the pod is over, whatever it said of a process.
    pub(super) stays: bool,
    pub(super) fds: Fds,
    pub(super) mapping: IdMapping,
    pub(super) signals: OwnedFd,
    pub(super) _lock: OwnedFd,
}

/// What is ready.
#[derive(Debug, Default)]
struct Ready {
    /// The monitor has something to say, or is gone.
    monitor: bool,
    /// A process has ended.
    signals: bool,
    /// Processes that have something to say, by their places.
    talking: Vec<usize>,
}

/// What the monitor wants pid 1 to do next.
enum Next {
    GoOn,
    End,
}

impl Apps {
    /// Waits until the process has come to this stage.
    pub(super) fn advance_to(&mut self, index: usize, wanted: Stage, monitor: &InitEnd) -> Result<(), Stop> {
        while self.processes[index].stage < wanted {
            match self.processes[index].channel.hear_with() {
                Ok(Some((message, fds))) => self.heard(index, message, fds, monitor),
                Ok(None) => Err(Failure::new(FailureKind::Setup, &"its first process ended without a word")),
                Err(errno) => Err(Failure::new(FailureKind::Setup, &std::io::Error::from(errno))),
            }
            .map_err(|failure| Stop::Failed(self.with_name(index, failure)))?;
        }
        Ok(())
    }

    /// Takes in what a process says on its way to its program.
    fn heard(&mut self, index: usize, message: FromStub, fds: Vec<OwnedFd>, monitor: &InitEnd) -> Result<(), Failure> {
        let process = &mut self.processes[index];
        match message {
            FromStub::Remark(text) => monitor.say(&FromInit::Remark { app: process.app, text }).map_err(said),
            FromStub::WantsMap { uid, gid } => {
                let app = self.apps.get_mut(&process.app);
                let app = app.ok_or_else(|| Failure::new(FailureKind::Setup, &"the app was removed"))?;
                app.take_room(process.pid, &self.mapping, &self.fds, (uid, gid))
                    .map_err(|refusal| Failure::new(FailureKind::User, &refusal))?;
                process.stage = Stage::Readying;
                process.channel.say(&ToStub::Mapped).map_err(said)
            }
            FromStub::Terminal => {
                process.terminal = fds.into_iter().next();
                Ok(())
            }
            FromStub::Ready => {
                process.stage = Stage::Waiting;
                Ok(())
            }
            FromStub::Failed(failure) => Err(failure),
        }
    }

    fn with_name(&self, index: usize, failure: Failure) -> Failure {
        let name = self.apps.get(&self.processes[index].app).map_or("", |app| &app.plan.name);
        Failure::new(failure.kind, &format_args!("app {name:?}: {}", failure.message))
    }

    /// Says that the apps are created, and hands their terminals over.
    fn tell_created(&mut self, monitor: &InitEnd) -> rustix::io::Result<()> {
        let taken = self.processes.iter_mut().filter_map(|process| Some((process.app, process.terminal.take()?)));
        let (terminals, fds): (Vec<usize>, Vec<OwnedFd>) = taken.unzip();
        monitor.say_with(&FromInit::Created { terminals }, &fds.iter().map(|fd| fd.as_fd()).collect::<Vec<_>>())
    }

    /// Does what the monitor says and reports ends, until the monitor says that the pod is over or is gone.
    pub(super) fn serve(mut self, monitor: &InitEnd) -> rustix::io::Result<()> {
        self.tell_created(monitor)?;
        let mut restless = true;
        loop {
            match self.wait(monitor, restless.then_some(QUIET))? {
                Some(ready) => {
                    restless = true;
                    if let Next::End = self.turn(&ready, monitor)? {
                        return Ok(());
                    }
                }
                None => {
                    sys::memory::release();
                    restless = false;
                }
            }
        }
    }

    /// Waits until something is ready, or for so long.
    ///
    /// Neither this nor [`Apps::turn`] is ever a part of its caller: what they need of the stack is given back while
    /// nothing happens.
    #[inline(never)]
    fn wait(&self, monitor: &InitEnd, at_most: Option<Duration>) -> rustix::io::Result<Option<Ready>> {
        // A process whose program is executed says nothing more: its end is seen when it is reaped.
        let talks = |process: &Process| process.stage < Stage::Waiting || process.awaited;
        let talking: Vec<usize> = (0..self.processes.len()).filter(|index| talks(&self.processes[*index])).collect();
        let mut polled = vec![PollFd::new(monitor, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
        polled.extend(talking.iter().map(|index| PollFd::new(&self.processes[*index].channel, PollFlags::IN)));
        let at_most =
            at_most.map(|time| Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() });
        match poll(&mut polled, at_most.as_ref()) {
            Err(Errno::INTR) => return Ok(Some(Ready::default())),
            Ok(0) => return Ok(None),
            polled => polled?,
        };
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        let talking = talking.iter().zip(&ready[2..]).filter(|(_, ready)| **ready).map(|(index, _)| *index).collect();
        Ok(Some(Ready { monitor: ready[0], signals: ready[1], talking }))
    }

    /// Sees to what is ready.
    #[inline(never)]
    fn turn(&mut self, ready: &Ready, monitor: &InitEnd) -> rustix::io::Result<Next> {
        for index in &ready.talking {
            self.listen(*index, monitor)?;
        }
        if ready.signals {
            while sys::signal::next(&self.signals).is_ok_and(|signal| signal.is_some()) {}
            if let Next::End = self.reap(monitor)? {
                return Ok(Next::End);
            }
        }
        if !ready.monitor {
            return Ok(Next::GoOn);
        }
        match monitor.hear_with()? {
            None => Ok(Next::End),
            Some((message, fds)) => self.obey(message, fds, monitor),
        }
    }

    /// Takes in what a process that readies itself says, and starts it when it is its time.
    fn listen(&mut self, index: usize, monitor: &InitEnd) -> rustix::io::Result<()> {
        let heard = match self.processes[index].channel.hear_with_now() {
            Ok(Some((message, fds))) => self.heard(index, message, fds, monitor),
            Err(Errno::AGAIN) => return Ok(()),
            // Its end will be reaped; nothing more is to be heard until then.
            Ok(None) | Err(_) => {
                let process = &mut self.processes[index];
                process.stage = Stage::Started;
                return match (std::mem::take(&mut process.awaited), process.id) {
                    // Its end of the conversation was closed by execve(2).
                    (true, Some(process)) => monitor.say(&FromInit::Executed { process }),
                    _ => Ok(()),
                };
            }
        };
        if let Err(failure) = heard {
            return self.tell_failure(index, failure, monitor);
        }
        let process = &mut self.processes[index];
        if process.stage != Stage::Waiting {
            return Ok(());
        }
        let terminal = process.terminal.take();
        match process.id {
            Some(id) => {
                say_with(monitor, &FromInit::Terminal { process: id }, terminal, false)?;
                process.start()
            }
            None => say_with(monitor, &FromInit::Added { app: process.app }, terminal, true),
        }
    }

    fn tell_failure(&mut self, index: usize, failure: Failure, monitor: &InitEnd) -> rustix::io::Result<()> {
        let failure = self.with_name(index, failure);
        let process = &mut self.processes[index];
        process.stage = Stage::Started;
        (process.told, process.awaited) = (true, false);
        match process.id {
            Some(process) => monitor.say(&FromInit::ExecFailed { process, failure }),
            None => monitor.say(&FromInit::AddFailed { app: process.app, failure }),
        }
    }

    /// Does what the monitor says.
    fn obey(&mut self, message: ToInit, fds: Vec<OwnedFd>, monitor: &InitEnd) -> rustix::io::Result<Next> {
        match message {
            ToInit::Shutdown => return Ok(Next::End),
            ToInit::Hosts => {
                let mut fds = fds;
                // Without the names that are new the pod is what it was: no reason to end it.
                if let Ok(edits) = spec(&mut fds) {
                    let _ = etc::edit_hosts(self.apps.keys().copied(), &edits);
                }
            }
            ToInit::Start { app, process, last, awaited } => {
                self.start(app, process, last, awaited, monitor)?;
            }
            ToInit::Enter(entry) => {
                if let Err(failure) = self.enter(entry, fds) {
                    monitor.say(&FromInit::ExecFailed { process: entry.process, failure })?;
                }
            }
            ToInit::Room { app, process } => self.hand_out_room(app, process, monitor)?,
            ToInit::Add { app } => {
                if let Err(failure) = self.add(app, fds, monitor) {
                    monitor.say(&FromInit::AddFailed { app, failure })?;
                }
            }
            ToInit::Remove { app } => self.remove(app),
            ToInit::Signal { process, signal } => {
                self.processes.iter().filter(|other| other.id == Some(process)).for_each(|p| p.signal(signal));
            }
            ToInit::Kill { process } => {
                self.processes.iter().filter(|other| other.id == Some(process)).for_each(Process::kill_group);
            }
            ToInit::Stay => {
                self.stays = true;
                monitor.say(&FromInit::Stays)?;
            }
            ToInit::Mapped | ToInit::Files { .. } => {}
        }
        Ok(Next::GoOn)
    }

    /// Starts the first process of an app, or notes that it is to be started when it is ready.
    fn start(&mut self, app: usize, id: u64, last: bool, awaited: bool, monitor: &InitEnd) -> rustix::io::Result<()> {
        let first = |process: &&mut Process| process.app == app && process.id.is_none();
        if let Some(process) = self.processes.iter_mut().find(first) {
            (process.id, process.last, process.awaited) = (Some(id), last, awaited);
            if process.stage == Stage::Waiting {
                process.start()?;
            }
        } else if let Some(end) = self.ended_early.remove(&app) {
            // Without a word the monitor would wait for its end for ever.
            monitor.say(&FromInit::Exited { process: id, end })?;
        }
        Ok(())
    }

    /// Gives the namespaces of an app to the monitor.
    fn hand_out_room(&self, app: usize, process: u64, monitor: &InitEnd) -> rustix::io::Result<()> {
        match self.apps.get(&app).and_then(|app| app.room.as_ref()) {
            Some(room) => {
                let fds = [room.user.as_fd(), room.mount.as_fd()];
                monitor.say_with(&FromInit::Room { process }, &fds)
            }
            None => {
                let failure = Failure::new(FailureKind::Setup, &"the app has no namespaces of its own");
                monitor.say(&FromInit::ExecFailed { process, failure })
            }
        }
    }

    /// Lets go of an app that does not run.
    fn remove(&mut self, app: usize) {
        // An app that was never started has a process that waits to be.
        self.processes.iter().filter(|process| process.app == app).for_each(|process| process.signal(9));
        self.apps.remove(&app);
        self.ended_early.remove(&app);
        sockets::remove(app);
        etc::remove(app);
    }

    /// Collects every process that has ended: those of apps, and orphans that fell to pid 1.
    fn reap(&mut self, monitor: &InitEnd) -> rustix::io::Result<Next> {
        let mut next = Next::GoOn;
        loop {
            let (pid, status) = match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(ended)) => ended,
                Ok(None) | Err(Errno::CHILD) => return Ok(next),
                Err(errno) => return Err(errno),
            };
            let end = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => End::Code(code),
                (None, Some(signal)) => End::Signal(signal),
                (None, None) => continue,
            };
            let Some(index) = self.processes.iter().position(|process| process.pid == pid) else { continue };
            let failure = self.processes[index].last_words().map(|failure| self.with_name(index, failure));
            // The number may be another process's from here on.
            let process = self.processes.swap_remove(index);
            match (process.id, failure) {
                _ if process.told => {}
                (Some(process), Some(failure)) => monitor.say(&FromInit::ExecFailed { process, failure })?,
                (Some(id), None) => {
                    monitor.say(&FromInit::Exited { process: id, end })?;
                    // The namespaces are taken apart while the monitor writes down what it has heard.
                    if process.last && !self.stays && self.apps.len() == 1 {
                        next = Next::End;
                    }
                }
                // The app is there, as far as anybody knows: its end is told when it is to start.
                (None, None) if process.stage == Stage::Waiting && self.apps.contains_key(&process.app) => {
                    self.ended_early.insert(process.app, end);
                }
                (None, Some(failure)) => monitor.say(&FromInit::AddFailed { app: process.app, failure })?,
                (None, None) => {
                    let failure = Failure::new(FailureKind::Setup, &"its first process ended without a word");
                    monitor.say(&FromInit::AddFailed { app: process.app, failure })?;
                }
            }
        }
    }
}

fn said(errno: Errno) -> Failure {
    Failure::new(FailureKind::Setup, &format_args!("send(<app>): {}", std::io::Error::from(errno)))
}

/// Hands the sockets of the metadata service over. This process keeps none of them.
pub(super) fn tell_listeners(
    pod: Option<OwnedFd>,
    apps: Vec<(usize, OwnedFd)>,
    monitor: &InitEnd,
) -> rustix::io::Result<()> {
    if let Some(pod) = pod {
        monitor.say_with(&FromInit::Listeners { pod: true, apps: Vec::new() }, &[pod.as_fd()])?;
    }
    for some in apps.chunks(MAX_FDS) {
        let message = FromInit::Listeners { pod: false, apps: some.iter().map(|(app, _)| *app).collect() };
        monitor.say_with(&message, &some.iter().map(|(_, fd)| fd.as_fd()).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Says something with a descriptor, or without one if `always`.
fn say_with(monitor: &InitEnd, message: &FromInit, fd: Option<OwnedFd>, always: bool) -> rustix::io::Result<()> {
    match fd {
        Some(fd) => monitor.say_with(message, &[fd.as_fd()]),
        None if always => monitor.say(message),
        None => Ok(()),
    }
}
