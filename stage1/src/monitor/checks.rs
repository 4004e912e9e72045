//! Health checks: from time to time a command is executed in an app, as `exec` would do it, and its end is judged.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
use rustix::io::retry_on_intr;
use rustix::pipe::{PipeFlags, pipe_with};

use super::events::now_ns;
use super::{Monitor, Purpose};
use crate::channel::{Entry, ToInit};
use crate::health::{Healthcheck, MAX_OUTPUT, Outcome, Verdict, judge};
use crate::protocol::{EnterSpec, EventKind, HealthReport, HealthStatus};
use crate::run::Keeper;

/// Bytes read at once of what a check writes, and how often in a row: other things happen as well.
const READ: (usize, usize) = (4096, 16);

/// The checks of the apps that run and have one, by the apps' indices.
#[derive(Debug, Default)]
pub(super) struct Checks(BTreeMap<usize, Checked>);

#[derive(Debug)]
struct Checked {
    check: Healthcheck,
    command: Vec<String>,
    /// When the app's program was started.
    since: Instant,
    /// When the next check begins, unless one runs.
    next: Instant,
    running: Option<Running>,
}

/// A check that was begun.
#[derive(Debug)]
struct Running {
    process: u64,
    began: Instant,
    start_ns: u64,
    /// When it is killed; nothing once it was.
    deadline: Option<Instant>,
    /// Where it writes to, until that is closed.
    source: Option<OwnedFd>,
    /// What it has written, and no more than shows that it was too much.
    output: Vec<u8>,
}

impl Checks {
    /// When something is to be done next.
    pub(super) fn respite(&self) -> Option<Instant> {
        let next = |checked: &Checked| match &checked.running {
            Some(running) => running.deadline,
            None => Some(checked.next),
        };
        self.0.values().filter_map(next).min()
    }

    /// What to poll for: what checks write.
    pub(super) fn to_poll(&self) -> impl Iterator<Item = PollFd<'_>> {
        let sources = self.0.values().filter_map(|checked| checked.running.as_ref()?.source.as_ref());
        sources.map(|source| PollFd::new(source, PollFlags::IN))
    }

    /// Reads what checks have written; the flags are in the order of [`Checks::to_poll`].
    pub(super) fn polled(&mut self, flags: &[PollFlags]) {
        let writing = self.0.values_mut().filter_map(|it| it.running.as_mut()).filter(|it| it.source.is_some());
        for (running, _) in writing.zip(flags).filter(|(_, flags)| !flags.is_empty()) {
            running.read();
        }
    }

    /// The apps for which something is to be done now.
    fn due(&self) -> Vec<usize> {
        let now = Instant::now();
        let is_due = |checked: &Checked| match &checked.running {
            Some(running) => running.deadline.is_some_and(|deadline| deadline <= now),
            None => checked.next <= now,
        };
        self.0.iter().filter(|(_, checked)| is_due(checked)).map(|(app, _)| *app).collect()
    }
}

impl Running {
    /// Takes in what there is to read. What is too much is read and forgotten, so that the check is not kept waiting.
    fn read(&mut self) {
        let mut buffer = [0; READ.0];
        for _ in 0..READ.1 {
            let Some(source) = &self.source else { return };
            match retry_on_intr(|| rustix::io::read(source, &mut buffer)) {
                Ok(0) => self.source = None,
                Ok(len) => {
                    let room = (MAX_OUTPUT + 1).saturating_sub(self.output.len());
                    self.output.extend_from_slice(&buffer[..len.min(room)]);
                }
                Err(_) => return,
            }
        }
    }
}

impl Monitor<'_> {
    /// An app's program is being started: from now on it is checked, if it is to be.
    pub(super) fn begin_checks(&mut self, app: usize, keeper: &mut dyn Keeper) {
        let record = &mut self.apps[app];
        let Some(json) = &record.healthcheck else { return };
        let check = match Healthcheck::parse(json) {
            Ok(check) => check,
            Err(error) => return keeper.remark(&record.report.name, &format!("it is not checked: {error}")),
        };
        let Some(command) = check.command() else { return };
        let log = record.report.health.take().map(|health| health.log).unwrap_or_default();
        record.report.health = Some(HealthReport::again(log));
        let now = Instant::now();
        let next = now + check.pause(HealthStatus::Starting, Duration::ZERO);
        self.checks.0.insert(app, Checked { check, command, since: now, next, running: None });
    }

    /// An app's program has ended: whatever checks it ends too.
    pub(super) fn end_checks(&mut self, app: usize) -> std::io::Result<()> {
        let Some(checked) = self.checks.0.remove(&app) else { return Ok(()) };
        match checked.running {
            Some(running) => self.say(&ToInit::Kill { process: running.process }),
            None => Ok(()),
        }
    }

    /// Begins the checks whose time has come, and ends those that take too long.
    pub(super) fn check_health(&mut self, keeper: &mut dyn Keeper) -> std::io::Result<()> {
        for app in self.checks.due() {
            // A pod that stands still neither fails nor is it tried.
            let stands_still = self.cgroup.as_ref().is_some_and(|cgroup| cgroup.is_frozen().unwrap_or(false));
            let Some(checked) = self.checks.0.get_mut(&app) else { continue };
            let longest = checked.check.longest();
            match &mut checked.running {
                Some(running) if stands_still => running.deadline = Some(Instant::now() + longest),
                Some(running) => {
                    running.deadline = None;
                    let process = running.process;
                    self.say(&ToInit::Kill { process })?;
                }
                None if stands_still => self.put_off(app),
                None => {
                    let since_start = checked.since.elapsed();
                    if let Err(error) = self.begin_check(app) {
                        let verdict = Verdict::Failed(format!("begin a process: {error}"));
                        let (start_ns, end_ns) = (now_ns(), now_ns());
                        self.checked(app, Outcome { verdict, output: &[], start_ns, end_ns, since_start }, keeper);
                    }
                }
            }
        }
        Ok(())
    }

    /// The next check is due after the usual pause.
    fn put_off(&mut self, app: usize) {
        let Some(checked) = self.checks.0.get_mut(&app) else { return };
        let status = self.apps[app].report.health.as_ref().map(|health| health.status).unwrap_or_default();
        checked.next = Instant::now() + checked.check.pause(status, checked.since.elapsed());
    }

    /// Has the command executed.
    fn begin_check(&mut self, app: usize) -> std::io::Result<()> {
        let Some(checked) = self.checks.0.get(&app) else { return Ok(()) };
        let spec = EnterSpec { exec: checked.command.clone(), ..EnterSpec::default() };
        let (began, longest) = (Instant::now(), checked.check.longest());
        let input = open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let (source, output) = pipe_with(PipeFlags::CLOEXEC)?;
        // Of this end alone: a program may take it amiss if its own does not wait.
        fcntl_setfl(&source, fcntl_getfl(&source)? | OFlags::NONBLOCK)?;
        let errors = output.as_fd().try_clone_to_owned()?;
        let process = self.new_process(Purpose::Check(app));
        if let Err(error) = self.enter(Entry::new(app, process), &spec, &[input, output, errors]) {
            self.processes.remove(&process);
            return Err(error);
        }
        let (start_ns, deadline) = (now_ns(), Some(began + longest));
        let running = Running { process, began, start_ns, deadline, source: Some(source), output: Vec::new() };
        if let Some(checked) = self.checks.0.get_mut(&app) {
            checked.running = Some(running);
        }
        Ok(())
    }

    /// A process that checked an app has ended, or could not be executed. One of an earlier run of the app means nothing.
    pub(super) fn check_ended(&mut self, app: usize, process: u64, verdict: Verdict, keeper: &mut dyn Keeper) {
        let Some(checked) = self.checks.0.get_mut(&app) else { return };
        let Some(mut running) = checked.running.take_if(|running| running.process == process) else { return };
        running.read();
        let verdict = if running.deadline.is_none() { Verdict::Late } else { verdict };
        let since_start = running.began.duration_since(checked.since);
        let (output, start_ns, end_ns) = (running.output.as_slice(), running.start_ns, now_ns());
        self.checked(app, Outcome { verdict, output, start_ns, end_ns, since_start }, keeper);
    }

    /// Takes a check that is over into account, and tells of it if the app's health is another now.
    fn checked(&mut self, app: usize, outcome: Outcome<'_>, keeper: &mut dyn Keeper) {
        let (Some(checked), record) = (self.checks.0.get(&app), &mut self.apps[app]) else { return };
        let Some(health) = &mut record.report.health else { return };
        let changed = judge(health, &checked.check, outcome);
        let status = health.status;
        self.put_off(app);
        if !changed {
            return;
        }
        let report = &self.apps[app].report;
        keeper.app_changed(report);
        let kind = if status == HealthStatus::Healthy { EventKind::Healthy } else { EventKind::Unhealthy };
        self.tell(Some(report.name.clone()), kind, None);
    }
}
