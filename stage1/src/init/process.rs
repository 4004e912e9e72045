//! A process of an app, as pid 1 sees it: a child, and the conversation with it until its program is executed.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use sys::fork::{Fork, Namespaces};

use super::app::App;
use crate::apply::{Fds, Named as _, Refusal};
use crate::channel::{Channel, Failure, FailureKind, FromStub, ToStub, pair};
use crate::enter::{self, Later};
use crate::idmap::Tier;
use crate::plan::AppPlan;
use crate::stub::{self, Stdio};

/// How far a process has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It makes its namespaces.
    Mapping,
    /// It takes the last steps.
    Readying,
    /// It waits for its start.
    Waiting,
    /// It executes, or has executed, its program.
    Started,
}

/// A process that was forked for an app.
pub(super) struct Process {
    pub(super) app: usize,
    /// The monitor's number for it; the first process of an app gets it with its start.
    pub(super) id: Option<u64>,
    pub(super) pid: Pid,
    pub(super) stage: Stage,
    /// The other end of its terminal, until the monitor gets it.
    pub(super) terminal: Option<OwnedFd>,
    /// Whether its end is the pod's, unless another app has been added.
    pub(super) last: bool,
    /// Whether the monitor waits to hear that its program is executed: the conversation ends by that, or with a failure.
    pub(super) awaited: bool,
    /// Whether its end has been told already, as a failure.
    pub(super) told: bool,
    pub(super) channel: Channel<ToStub, FromStub>,
}

impl Process {
    /// Forks an app's first process into a mount namespace of its own. Nobody needs the operations of its plan after that.
    pub(super) fn first(app: usize, plan: &mut AppPlan, fds: Fds, stdio: Stdio, tier: Tier) -> Result<Self, Refusal> {
        let (ours, theirs) = pair().named(|| "socketpair()".into())?;
        match first_fork().named(|| "clone3(CLONE_NEWNS)".into())? {
            Fork::Child => {
                drop(ours);
                let theirs = out_of_the_way(theirs, plan);
                stub::run(plan, fds, stdio, tier, &theirs)
            }
            Fork::Parent { pid, .. } => {
                (plan.build, plan.enter) = (Vec::new(), Vec::new());
                Ok(Self::new(app, None, pid, Stage::Mapping, ours))
            }
        }
    }

    /// Forks a process that joins an app.
    pub(super) fn later(
        index: usize,
        app: &App,
        id: u64,
        spec: Later<'_>,
        fds: &Fds,
        stdio: Stdio,
        tier: Tier,
    ) -> Result<Self, Refusal> {
        let room = app.room.as_ref().ok_or_else(|| Refusal::new("setns(<app>)".into(), Errno::SRCH))?;
        let own = match app.cgroup {
            Some(_) => Some(app.with_cgroup(fds)?),
            None => None,
        };
        let fds = own.as_ref().unwrap_or(fds);
        let (ours, theirs) = pair().named(|| "socketpair()".into())?;
        let forked = sys::fork::fork(Namespaces::NONE);
        match forked.named(|| "clone3(), as one of the processes that the pod may have".into())? {
            Fork::Child => {
                drop(ours);
                let theirs = out_of_the_way(theirs, &app.plan);
                enter::run(app, spec, room, fds, stdio, tier, &theirs)
            }
            Fork::Parent { pid, .. } => Ok(Self::new(index, Some(id), pid, Stage::Readying, ours)),
        }
    }

    fn new(app: usize, id: Option<u64>, pid: Pid, stage: Stage, channel: Channel<ToStub, FromStub>) -> Self {
        Self { app, id, pid, stage, terminal: None, last: false, awaited: false, told: false, channel }
    }

    /// Has the program executed.
    pub(super) fn start(&mut self) -> rustix::io::Result<()> {
        self.stage = Stage::Started;
        self.channel.say(&ToStub::Start)
    }

    /// Sends it a signal. One that is gone needs none.
    pub(super) fn signal(&self, signal: i32) {
        if let Some(signal) = Signal::from_named_raw(signal) {
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Kills it, and what it has executed in its session's first process group. One that is gone needs nothing.
    pub(super) fn kill_group(&self) {
        let _ = kill_process_group(self.pid, Signal::KILL);
        // It may not lead a group yet.
        let _ = kill_process(self.pid, Signal::KILL);
    }

    /// Why it failed, if it said so before it ended.
    pub(super) fn last_words(&self) -> Option<Failure> {
        loop {
            match self.channel.hear_now() {
                Ok(Some(FromStub::Failed(failure))) => return Some(failure),
                Ok(Some(_)) => {}
                Err(Errno::BADMSG) => {
                    return Some(Failure::new(FailureKind::NotExecutable, &"it failed and could not say why"));
                }
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

/// Forks an app's first process. Where a pod may have few processes, those of its network that are there for a moment
/// alone may be in the way.
fn first_fork() -> std::io::Result<Fork> {
    const PAUSE: Duration = Duration::from_millis(5);
    let deadline = Instant::now() + Duration::from_millis(500);
    loop {
        match sys::fork::fork(Namespaces::MOUNT) {
            Err(error) if error.raw_os_error() == Some(Errno::AGAIN.raw_os_error()) && Instant::now() < deadline => {
                std::thread::sleep(PAUSE);
            }
            forked => return forked,
        }
    }
}

/// Sockets that an app takes over have the first numbers; the conversation must not.
fn out_of_the_way(channel: stub::StubEnd, plan: &AppPlan) -> stub::StubEnd {
    if plan.sockets.is_empty() {
        return channel;
    }
    // Pid 1 sees the end of a process that could not even be talked to.
    channel.above(crate::program::SOCKETS_MOVED).unwrap_or_else(|_| sys::fork::exit_now(1))
}
