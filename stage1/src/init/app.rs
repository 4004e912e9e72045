//! One app, as pid 1 sees it: a child process and the conversation with it until its program is executed.

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::Pid;
use sys::fork::{Fork, Namespaces};

use super::{Stop, send_signal};
use crate::apply::{Fds, Named as _, Refusal};
use crate::channel::{Channel, End, Failure, FailureKind, FromInit, FromStub, ToStub, pair};
use crate::idmap::{Extent, IdMapping, Tier, map_text};
use crate::op::Slot;
use crate::plan::AppPlan;
use crate::stub;

/// An app of the pod.
pub(super) struct App {
    name: String,
    /// `None` once it has ended: the number may then be somebody else's.
    pid: Option<Pid>,
    channel: Channel<ToStub, FromStub>,
}

impl App {
    /// Forks the app's first process into a mount namespace of its own.
    pub(super) fn fork(plan: &AppPlan, fds: Fds, mapping: &IdMapping) -> Result<Self, Stop> {
        let (ours, theirs) = pair().named(|| "socketpair()".into())?;
        match sys::fork::fork(Namespaces::MOUNT).named(|| "clone3(CLONE_NEWNS)".into())? {
            Fork::Child => {
                drop(ours);
                stub::run(plan, fds, mapping.tier(), &theirs)
            }
            Fork::Parent { pid, .. } => Ok(Self { name: plan.name.clone(), pid: Some(pid), channel: ours }),
        }
    }

    /// Writes the maps of the app's user namespace as soon as it asks. Returns what it had to remark before.
    pub(super) fn write_maps(&self, mapping: &IdMapping, fds: &Fds) -> Result<Vec<String>, Stop> {
        let mut remarks = Vec::new();
        loop {
            match self.hear()? {
                FromStub::Remark(text) => remarks.push(text),
                FromStub::WantsMap { uid, gid } => {
                    self.write_maps_for(mapping, fds, (uid, gid))?;
                    return Ok(remarks);
                }
                other => return Err(self.unexpected(&other)),
            }
        }
    }

    fn write_maps_for(&self, mapping: &IdMapping, fds: &Fds, (uid, gid): (u32, u32)) -> Result<(), Stop> {
        for (name, map) in
            [("uid_map", app_map(mapping, mapping.uids(), uid)), ("gid_map", app_map(mapping, mapping.gids(), gid))]
        {
            self.write_map(fds, name, &map).map_err(|refusal| self.failed(FailureKind::User, &refusal))?;
        }
        self.channel.say(&ToStub::Mapped).named(|| "send(<app>)".into())?;
        Ok(())
    }

    fn write_map(&self, fds: &Fds, name: &str, map: &str) -> Result<(), Refusal> {
        let pid = self.pid.map_or(0, |pid| pid.as_raw_nonzero().get());
        let path = format!("{pid}/{name}");
        let file = openat(fds.get(Slot::Proc)?, path.as_str(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .named(|| format!("openat(<proc/{path}>, O_WRONLY)"))?;
        rustix::io::write(&file, map.as_bytes()).map(drop).named(|| format!("write(<proc/{path}>, {map:?})"))
    }

    /// Waits until everything that can fail on input has succeeded.
    pub(super) fn await_ready(&self) -> Result<(), Stop> {
        match self.hear()? {
            FromStub::Ready => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Has the program executed. An app that is gone already is reported when it is reaped.
    pub(super) fn start(&mut self) -> rustix::io::Result<()> {
        self.channel.say(&ToStub::Start)
    }

    /// Sends a signal to the app's first process, if there is one.
    pub(super) fn signal(&self, signal: i32) {
        if let Some(pid) = self.pid {
            send_signal(pid, signal);
        }
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        self.pid
    }

    /// Takes note of the end of the app's first process, and says what it was: an app's end, or a failed exec.
    pub(super) fn ended(&mut self, app: usize, end: End) -> FromInit {
        self.pid = None;
        match self.channel.hear_now() {
            Ok(Some(FromStub::Failed(failure))) => FromInit::ExecFailed { app, failure: self.with_name(failure) },
            Err(Errno::BADMSG) => {
                let failure = Failure::new(FailureKind::NotExecutable, &"it failed and could not say why");
                FromInit::ExecFailed { app, failure: self.with_name(failure) }
            }
            _ => FromInit::Exited { app, end },
        }
    }

    fn hear(&self) -> Result<FromStub, Stop> {
        match self.channel.hear().named(|| "recv(<app>)".into())? {
            Some(FromStub::Failed(failure)) => Err(Stop::Failed(self.with_name(failure))),
            Some(message) => Ok(message),
            None => Err(self.failed(FailureKind::Setup, &"its first process ended without a word")),
        }
    }

    fn with_name(&self, failure: Failure) -> Failure {
        Failure::new(failure.kind, &format_args!("app {:?}: {}", self.name, failure.message))
    }

    fn failed(&self, kind: FailureKind, what: &dyn std::fmt::Display) -> Stop {
        Stop::Failed(self.with_name(Failure::new(kind, what)))
    }

    fn unexpected(&self, message: &FromStub) -> Stop {
        self.failed(FailureKind::Setup, &format!("unexpected message {message:?}"))
    }
}

/// The map of an app's user namespace within the pod's: the same ids, line by line, because a line that spans two of
/// the parent's extents is refused (measured). With a single id, that one is whatever id the app wants to have.
fn app_map(mapping: &IdMapping, extents: &[Extent], wanted: u32) -> String {
    let same = |extent: &Extent| Extent { inside: extent.inside, outside: extent.inside, count: extent.count };
    let one = || vec![Extent { inside: wanted, outside: 0, count: 1 }];
    let extents = if mapping.tier() == Tier::Single { one() } else { extents.iter().map(same).collect() };
    map_text(&extents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_apps_map_is_the_pods_line_by_line() {
        let range = IdMapping::range(1000, 1000, (100_000, 65_536), (200_000, 65_536));
        assert_eq!(app_map(&range, range.uids(), 33), "0 0 1\n1 1 65536\n");
        let single = IdMapping::single(1000, 1000);
        assert_eq!(app_map(&single, single.uids(), 33), "33 0 1\n");
    }
}
