//! What the supervisor decides is done.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Instant;

use serde::Serialize;

use super::{Monitor, Purpose, memory_file};
use crate::channel::{Entry, Failure, FailureKind, ToInit};
use crate::protocol::{End, EventKind, Reply};
use crate::run::{Keeper, RunError};
use crate::streams::{AppPipes, AppStreams};
use crate::supervise::{Action, Event, Phase, Role, Timer};

impl Monitor<'_> {
    /// Asks the supervisor and does what it says.
    pub(super) fn react(&mut self, event: Event, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        for action in self.supervisor.handle(event) {
            match action {
                Action::Execute(app, role) => self.execute(app, role, keeper)?,
                Action::Signal(app, signal) => {
                    if let Some(process) = self.apps[app].process {
                        self.say(&ToInit::Signal { process, signal })?;
                    }
                }
                Action::Set(timer, after) => drop(self.timers.insert(timer, Instant::now() + after)),
                Action::Cancel(timer) => {
                    self.timers.remove(&timer);
                    // It was to be started again, and is not any more.
                    if let Timer::Restart(app) = timer
                        && self.supervisor.apps()[app].phase == Phase::Exited
                    {
                        self.terminal_settled(app);
                    }
                }
                Action::Finished(app) => self.finished(app, keeper),
                Action::Shutdown => {
                    self.say(&ToInit::Shutdown)?;
                    self.over = true;
                    // Of a pod that is removed, who listens is the only one to know.
                    let end = Reply::Exited(End::Code(self.supervisor.status()));
                    for connection in self.holder.into_iter().chain(self.events.listeners()) {
                        self.reply(connection, &end);
                    }
                }
            }
        }
        Ok(())
    }

    fn finished(&mut self, app: usize, keeper: &mut dyn Keeper) {
        self.outputs.app_ended(app);
        let again = self.supervisor.apps()[app].phase == Phase::Waiting;
        let record = &mut self.apps[app];
        record.finished(again);
        record.report.logs_lost = self.outputs.lost(app);
        keeper.app_changed(&record.report);
        let (name, exit) = (record.report.name.clone(), record.report.exit);
        self.tell(Some(name), EventKind::Exited, exit);
        if again {
            self.apps[app].expects_terminal();
        } else {
            self.terminal_settled(app);
        }
    }

    /// Has a process of the app executed.
    fn execute(&mut self, app: usize, role: Role, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        let process = self.new_process(Purpose::App(app));
        let state = self.supervisor.apps()[app];
        let record = &mut self.apps[app];
        record.starting(process, role, state.attempt);
        if state.attempt > 0 && role != Role::PostStop {
            record.expects_terminal();
        }
        let kind = match role {
            Role::PreStart => EventKind::PreStart,
            Role::Main => EventKind::Started,
            Role::PostStop => EventKind::PostStop,
        };
        let name = record.report.name.clone();
        if role == Role::Main && state.attempt == 0 {
            let last = self.supervisor.ends_with(app);
            let awaited = self.unexecuted.as_mut().is_some_and(|them| them.insert(process));
            self.say(&ToInit::Start { app, process, last, awaited })?;
        } else {
            if let Err(error) = self.execute_again(app, role, process) {
                // The pod goes on: it is as if the program could not be executed.
                self.processes.remove(&process);
                let what = format_args!("app {name:?}: begin a process: {error}");
                return self.never_executed(app, Failure::new(FailureKind::Setup, &what), keeper);
            }
        }
        if role == Role::Main {
            self.begin_checks(app, keeper);
            keeper.app_changed(&self.apps[app].report);
        }
        self.tell(Some(name), kind, None);
        Ok(())
    }

    /// Has a process executed in the app that is not its first.
    fn execute_again(&mut self, app: usize, role: Role, process: u64) -> std::io::Result<()> {
        let (spec, stdio) = self.apps[app].later_process(role);
        let (pipes, streams) = AppPipes::new(stdio, self.mapping)?;
        let kept = matches!(streams, AppStreams::Kept(_));
        let entry = Entry { pre_start: role == Role::PreStart, kept, ..Entry::new(app, process) };
        self.enter(entry, &spec, streams.fds())?;
        if role == Role::Main {
            pipes.keep(app, &mut self.outputs);
        } else {
            pipes.keep_output(app, &mut self.outputs);
        }
        Ok(())
    }

    /// Has something executed in the app, with these streams or none.
    ///
    /// # Errors
    /// No descriptor or memory is left for what pid 1 is told.
    pub(super) fn enter(&self, entry: Entry, spec: &impl Serialize, streams: &[OwnedFd]) -> std::io::Result<()> {
        let spec = memory_file(spec)?;
        let fds: Vec<BorrowedFd<'_>> = std::iter::once(&spec).chain(streams).map(|fd| fd.as_fd()).collect();
        Ok(self.init.say_with(&ToInit::Enter(entry), &fds)?)
    }

    pub(super) fn keep_log(&mut self, app: usize) -> std::io::Result<()> {
        let Some(dir) = &self.log_dir else { return Ok(()) };
        let name = self.apps[app].report.name.clone();
        self.outputs.keep_log(app, &name, dir.as_fd(), self.log_limits)?;
        if let Some(metadata) = &mut self.metadata {
            metadata.set_logged(name);
        }
        Ok(())
    }
}
