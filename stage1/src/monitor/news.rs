//! What pid 1 tells, and what the monitor makes of it.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::{AppRecord, Monitor, Purpose};
use crate::channel::{Failure, FailureKind, FromInit};
use crate::control::ConnectionId;
use crate::health::Verdict;
use crate::protocol::{End, RefusedKind, Reply};
use crate::run::{Keeper, RunError};
use crate::streams::keep_terminal;
use crate::supervise::{Event, Role};

/// How long an app must have run for its next failure to be a new one.
const RAN_WELL: Duration = Duration::from_secs(10);

impl Monitor<'_> {
    pub(super) fn heard(
        &mut self,
        message: FromInit,
        fds: Vec<OwnedFd>,
        keeper: &mut dyn Keeper,
    ) -> Result<(), RunError> {
        match message {
            FromInit::Failed(failure) => {
                self.never_started(&failure, keeper);
                self.failed = Some(failure);
            }
            FromInit::Namespaces => self.connect(fds, keeper)?,
            FromInit::Listeners { pod, apps } => self.listening(pod, apps, fds),
            FromInit::Room { process } => {
                if let Some(Purpose::Room(connection)) = self.processes.remove(&process) {
                    self.room(connection, &fds);
                }
            }
            FromInit::Remark { app, text } => self.remarked(app, &text, keeper),
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
            FromInit::Terminal { process } => self.terminal_made(process, fds.into_iter().next()),
            FromInit::Executed { process } => self.executed(process, keeper),
            FromInit::Stays => self.stays(),
            FromInit::ExecFailed { process, failure } => match self.forget(process) {
                Some(Purpose::App(app)) => {
                    self.never_executed(app, failure, keeper)?;
                    self.tell_started(keeper);
                }
                Some(Purpose::Entered(connection) | Purpose::Room(connection)) => {
                    self.refuse(connection, RefusedKind::Failed(failure.kind), &failure.message);
                }
                Some(Purpose::Check(app)) => self.check_ended(app, process, Verdict::Failed(failure.message), keeper),
                None => {}
            },
            FromInit::Exited { process, end } => {
                // It can be reaped before its conversation was seen to end.
                self.executed(process, keeper);
                self.ended(process, end, keeper)?;
            }
        }
        Ok(())
    }

    /// A client gets the namespaces that it has asked for.
    fn room(&mut self, connection: ConnectionId, fds: &[OwnedFd]) {
        if fds.len() < 2 {
            let what = "the pod's supervisor has no file descriptor left for the app's namespaces (RLIMIT_NOFILE)";
            return self.refuse(connection, RefusedKind::Failed(FailureKind::Setup), what);
        }
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
        self.reply_with(connection, &Reply::Room, &fds);
    }

    /// A process of an app, or one that a client has entered, has ended.
    fn ended(&mut self, process: u64, end: End, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        match self.forget(process) {
            Some(Purpose::App(app)) => {
                self.tell_of_handler(app, end, keeper);
                self.process_ended(app, end, keeper)?;
            }
            Some(Purpose::Entered(connection)) => self.reply(connection, &Reply::Exited(end)),
            Some(Purpose::Check(app)) => self.check_ended(app, process, Verdict::Ended(end.status()), keeper),
            Some(Purpose::Room(_)) | None => {}
        }
        Ok(())
    }

    /// A process is executed that somebody waits for: the client that has entered it is told once, if it does not stay;
    /// whoever has started the pod is when all are.
    fn executed(&mut self, process: u64, keeper: &mut dyn Keeper) {
        if self.unexecuted.as_mut().is_some_and(|them| them.remove(&process)) {
            self.tell_started(keeper);
        }
        let awaited = self.staying.get_mut(&process).is_some_and(std::mem::take);
        if let (true, Some(&Purpose::Entered(connection))) = (awaited, self.processes.get(&process)) {
            self.reply(connection, &Reply::Started);
        }
    }

    /// What apps ask who they are at is open: the pod's own address, and a socket for each of these apps.
    fn listening(&mut self, pod: bool, apps: Vec<usize>, listeners: Vec<OwnedFd>) {
        let Some(metadata) = &mut self.metadata else { return };
        let mut listeners = listeners.into_iter();
        listeners.by_ref().take(usize::from(pod)).for_each(|listener| metadata.set_listener(listener));
        for (app, listener) in apps.into_iter().zip(listeners) {
            metadata.set_identity(self.apps[app].report.name.clone(), listener);
        }
    }

    /// A process has its terminal: this is the side of whoever looks at it.
    fn terminal_made(&mut self, process: u64, terminal: Option<OwnedFd>) {
        match self.processes.get(&process) {
            Some(&Purpose::Entered(connection)) => {
                let fds: Vec<BorrowedFd<'_>> = terminal.iter().map(|fd| fd.as_fd()).collect();
                self.reply_with(connection, &Reply::Started, &fds);
            }
            Some(&Purpose::App(app)) => {
                if let Some(terminal) = terminal {
                    keep_terminal(app, terminal, &mut self.outputs);
                }
                self.terminal_settled(app);
            }
            Some(Purpose::Room(_) | Purpose::Check(_)) | None => {}
        }
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
            app.finished(false);
            keeper.app_changed(&app.report);
        }
    }

    /// A process is gone; returns what it was there for.
    fn forget(&mut self, process: u64) -> Option<Purpose> {
        self.hung_up.remove(&process);
        self.staying.remove(&process);
        if let Some(them) = &mut self.unexecuted {
            them.remove(&process);
        }
        self.processes.remove(&process)
    }

    /// The active process of an app could not be executed. Of a post-stop handler that is told, and changes nothing of
    /// the program's status.
    pub(super) fn never_executed(
        &mut self,
        app: usize,
        failure: Failure,
        keeper: &mut dyn Keeper,
    ) -> Result<(), RunError> {
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
        self.end_checks(app)?;
        self.react(Event::Ended { app, status: end.status() }, keeper)
    }
}
