//! What the monitor waits for.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::Monitor;
use crate::control::Control;
use crate::metadata::Metadata;
use crate::uplink::Connection;

/// After so long without anything to do, the memory that was needed for it is given back. Pods that are over before pay
/// nothing.
pub(crate) const QUIET: Duration = Duration::from_secs(1);

/// What is ready.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// Pid 1 has something to say.
    pub(super) init: bool,
    pub(super) signals: bool,
    /// An app is built.
    pub(super) built: bool,
    pub(super) control: Vec<PollFlags>,
    pub(super) outputs: Vec<PollFlags>,
    /// The metadata service is needed, or gone.
    pub(super) metadata: bool,
    /// The network is there, or gone.
    pub(super) network: bool,
    /// What health checks write.
    pub(super) checks: Vec<PollFlags>,
}

/// What a wait ended with.
enum Waited {
    Ready(Ready),
    /// A timer, or nothing.
    Timer,
    /// Nothing has happened for a while.
    Quiet,
}

impl Monitor<'_> {
    /// Waits until something is ready, or a timer.
    #[inline(never)]
    pub(super) fn wait(&mut self) -> Result<Ready, std::io::Error> {
        loop {
            match self.poll(self.restless.then(|| Instant::now() + QUIET))? {
                Waited::Quiet => {
                    self.outputs.rest();
                    self.control.iter_mut().for_each(Control::rest);
                    sys::memory::release();
                    self.restless = false;
                }
                Waited::Timer => return Ok(Ready::default()),
                Waited::Ready(ready) => {
                    self.restless = true;
                    return Ok(ready);
                }
            }
        }
    }

    /// Waits until something is ready, a timer, or that moment if nothing is until then.
    #[inline(never)]
    fn poll(&self, quiet: Option<Instant>) -> Result<Waited, std::io::Error> {
        let now = Instant::now();
        let (mut polled, counts) = self.to_poll(now);
        let next = self.deadline(now);
        let is_quiet = quiet.is_some_and(|quiet| next.is_none_or(|next| quiet < next));
        // What pid 1 has said while this side had no room to say something: no poll tells of it.
        let has_early = self.init.has_early();
        let until = if has_early {
            Some(now)
        } else if is_quiet {
            quiet
        } else {
            next
        };
        let timeout = until.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() }
        });
        match poll(&mut polled, timeout.as_ref()) {
            Ok(0) if has_early => {}
            Ok(0) => return Ok(if is_quiet { Waited::Quiet } else { Waited::Timer }),
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Waited::Timer),
            Err(errno) => return Err(errno.into()),
        }
        let flags: Vec<PollFlags> = polled.iter().map(PollFd::revents).collect();
        let mut ready = counts.ready(&flags);
        ready.init |= has_early;
        Ok(Waited::Ready(ready))
    }

    /// What to poll for, and how much of it is of which kind.
    fn to_poll(&self, now: Instant) -> (Vec<PollFd<'_>>, Counts) {
        let mut polled = vec![PollFd::new(&self.init, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
        polled.extend(self.additions.building().map(|building| PollFd::new(building, PollFlags::IN)));
        let fixed = polled.len();
        let control = self.control.as_ref().map(Control::to_poll).unwrap_or_default();
        let outputs = if self.outputs.is_empty() { Vec::new() } else { self.outputs.to_poll(now) };
        let (of_control, of_outputs) = (control.len(), outputs.len());
        polled.extend(control.into_iter().chain(outputs));
        let before = polled.len();
        polled.extend(self.metadata.iter().flat_map(Metadata::to_poll));
        let metadata = polled.len() - before;
        polled.extend(self.uplink.iter().flat_map(Connection::to_poll));
        polled.extend(self.members.to_poll());
        let before = polled.len();
        polled.extend(self.checks.to_poll());
        let checks = polled.len() - before;
        (polled, Counts { fixed, control: of_control, outputs: of_outputs, metadata, checks })
    }

    /// When there is something to do although nothing has happened.
    fn deadline(&self, now: Instant) -> Option<Instant> {
        let timers = self.timers.values().chain(self.hung_up.values()).copied();
        timers
            .chain(self.metadata.as_ref().and_then(Metadata::respite))
            .chain(self.control.as_ref().and_then(Control::respite))
            .chain(self.members.respite())
            .chain(self.checks.respite())
            .chain(self.uplink.as_ref().and_then(Connection::deadline))
            .chain(self.outputs.respite(now))
            .min()
    }
}

/// How many of the descriptors that are polled are of which kind, in their order. The network has what stands before the checks.
struct Counts {
    /// Pid 1, the signals, and the process that builds an app if there is one.
    fixed: usize,
    control: usize,
    outputs: usize,
    metadata: usize,
    checks: usize,
}

impl Counts {
    /// What is ready by the answers of poll(2).
    fn ready(&self, flags: &[PollFlags]) -> Ready {
        let (fixed, rest) = flags.split_at(self.fixed);
        let (control, rest) = rest.split_at(self.control);
        let (outputs, rest) = rest.split_at(self.outputs);
        let (metadata, rest) = rest.split_at(self.metadata);
        let (network, checks) = rest.split_at(rest.len() - self.checks);
        let any = |flags: &[PollFlags]| flags.iter().any(|flags| !flags.is_empty());
        Ready {
            init: any(&fixed[..1]),
            signals: any(&fixed[1..2]),
            built: any(&fixed[2..]),
            control: control.to_vec(),
            outputs: outputs.to_vec(),
            metadata: any(metadata),
            network: any(network),
            checks: checks.to_vec(),
        }
    }
}
