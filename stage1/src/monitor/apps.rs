//! What the monitor knows of an app beyond its phase.

use rustix::process::Signal;
use std::time::{Duration, Instant};

use appc::{Event as Handler, RuntimeApp};

use super::events::now_ns;
use crate::cgroup::AppCgroup;
use crate::channel::Failure;
use crate::health::HEALTHCHECK;
use crate::plan;
use crate::protocol::{AppReport, AppStateName, End, EnterSpec, StdioKind};
use crate::run::{AppOptions, AppStdio};
use crate::supervise::{AppPolicy, Role};

/// An app of the pod.
#[derive(Debug)]
pub(super) struct AppRecord {
    pub(super) report: AppReport,
    /// Its control group, if it has one.
    pub(super) cgroup: Option<AppCgroup>,
    /// Number of its active process.
    pub(super) process: Option<u64>,
    /// What that process is there for, or was.
    pub(super) role: Option<Role>,
    /// Whether it is started again, or is going to be, and has not got its terminal yet.
    pub(super) terminal_is_due: bool,
    /// How its health is checked, as it stands in its annotation.
    pub(super) healthcheck: Option<String>,
    options: AppOptions,
    pre_start: Option<Vec<String>>,
    post_stop: Option<Vec<String>>,
    stop_signal: i32,
    started: Option<Instant>,
}

impl AppRecord {
    pub(super) fn new(app: &RuntimeApp, options: AppOptions) -> Self {
        let handler = |event| {
            let handler = app.app.as_ref()?.event_handler(event)?;
            (!handler.exec.is_empty()).then(|| handler.exec.clone())
        };
        let report = AppReport { name: app.name.as_str().to_owned(), created_ns: now_ns(), ..AppReport::default() };
        Self {
            report,
            cgroup: None,
            process: None,
            role: None,
            terminal_is_due: false,
            healthcheck: app.annotations.get(HEALTHCHECK).map(str::to_owned),
            options,
            pre_start: handler(Handler::PreStart),
            post_stop: handler(Handler::PostStop),
            stop_signal: plan::stop_signal(app),
            started: None,
        }
    }

    pub(super) fn policy(&self) -> AppPolicy {
        AppPolicy {
            pre_start: self.pre_start.is_some(),
            post_stop: self.post_stop.is_some(),
            stop_signal: self.stop_signal,
            restart: self.options.restart,
        }
    }

    /// Whether its streams are the supervisor's business.
    pub(super) fn is_kept(&self) -> bool {
        matches!(self.options.stdio, AppStdio::Kept(_))
    }

    /// Whether it has a terminal.
    pub(super) fn has_terminal(&self) -> bool {
        matches!(self.options.stdio, AppStdio::Kept(StdioKind { terminal: Some(_), .. }))
    }

    /// It is going to be started again, and has its next terminal then.
    pub(super) fn expects_terminal(&mut self) {
        self.terminal_is_due = self.has_terminal();
    }

    /// Whether its output and its errors can be heard apart: a terminal has both in one.
    pub(super) fn has_outputs(&self) -> [bool; 2] {
        match self.options.stdio {
            AppStdio::Kept(StdioKind { terminal: None, no_stdout, no_stderr, .. }) => [!no_stdout, !no_stderr],
            _ => [true, false],
        }
    }

    /// How its streams are made.
    pub(super) fn stdio(&self) -> AppStdio {
        self.options.stdio
    }

    /// A process of it is being started.
    pub(super) fn starting(&mut self, process: u64, role: Role, attempt: u32) {
        if role != Role::PostStop {
            (self.report.exit, self.report.finished_ns, self.report.reason) = (None, None, None);
            (self.report.oom, self.report.not_executed) = (false, false);
        }
        if role == Role::Main {
            self.report.started_ns = Some(now_ns());
            self.started = Some(Instant::now());
        }
        (self.process, self.role) = (Some(process), Some(role));
        (self.report.state, self.report.attempt, self.report.restarting) = (AppStateName::Running, attempt, false);
    }

    /// What is executed for this role, unless it is the first process; and its streams.
    pub(super) fn later_process(&self, role: Role) -> (EnterSpec, AppStdio) {
        let handler = match role {
            Role::PreStart => &self.pre_start,
            Role::PostStop => &self.post_stop,
            Role::Main => &None,
        };
        let exec = handler.clone().unwrap_or_default();
        match (role, self.options.stdio) {
            (Role::Main, AppStdio::Kept(kind)) => {
                (EnterSpec { exec, terminal: kind.terminal, ..EnterSpec::default() }, self.options.stdio)
            }
            // A handler has no terminal: it says what it has to say to the log.
            (_, AppStdio::Kept(_)) => {
                (EnterSpec { exec, ..EnterSpec::default() }, AppStdio::Kept(StdioKind::default()))
            }
            (_, stdio) => (EnterSpec { exec, ..EnterSpec::default() }, stdio),
        }
    }

    /// Its program, or what had to run before, has ended so.
    pub(super) fn main_ended(&mut self, end: End) {
        self.report.exit = Some(end);
        self.report.finished_ns = Some(now_ns());
        if self.cgroup.as_mut().is_some_and(AppCgroup::ran_out_of_memory) {
            self.report.oom = true;
            self.report.reason = Some("killed because it reached its memory limit".to_owned());
        }
        if end == End::Signal(Signal::SYS.as_raw()) {
            self.report.reason = Some("killed for a system call that its filter does not permit".to_owned());
        }
    }

    /// It could not be executed.
    pub(super) fn failed(&mut self, failure: &Failure) {
        self.report.not_executed = true;
        self.report.reason = Some(failure.message.clone());
    }

    /// Its handler came to grief, if its process is one. Returns what is to be told of that.
    pub(super) fn handler_failed(&mut self, how: &str) -> Option<String> {
        let event = match self.role? {
            Role::PreStart => Handler::PreStart,
            Role::PostStop => Handler::PostStop,
            Role::Main => return None,
        };
        let text = format!("its {} handler {how}", event.name());
        // What is said of the program counts more.
        self.report.reason.get_or_insert_with(|| text.clone());
        Some(text)
    }

    /// Nothing of it runs any more, or not before a pause.
    pub(super) fn finished(&mut self, again: bool) {
        (self.report.state, self.report.restarting) = (AppStateName::Exited, again);
        self.report.finished_ns.get_or_insert_with(now_ns);
    }

    /// How long its program has run, or ran.
    pub(super) fn ran_for(&self) -> Option<Duration> {
        self.started.map(|started| started.elapsed())
    }
}
