//! A pod's connection to the world: pasta, and what carries ports of the host's loopback, as processes of the monitor.
//!
//! Both work from the host's network namespace into the pod's, and so they need what only the pod's root may. They are
//! made container root first and get their death signal after that: changing ids or namespaces clears it (prctl(2)), and
//! pasta that joined the pod by itself would outlive a monitor that is killed. As they are now, nothing of them is left.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use appc::isolator::report::Outcome;
use rustix::event::{PollFd, PollFlags};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Signal, WaitId, WaitIdOptions, getppid, pidfd_send_signal, set_parent_process_death_signal, setsid, waitid,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sys::fork::{Fork, Namespaces};

use crate::bandwidth::Bandwidth;
use crate::idmap::IdMapping;
use crate::network::{Relay, Uplink};
use crate::relay;
use crate::userns::become_container_root;

/// Most of pasta's last words that are told.
const MAX_WORDS: u64 = 2000;

/// How long pasta may take to prepare itself, which takes it some 20 ms: apps wait for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The name of the interface in the pod, whatever the host's is called.
const INTERFACE: &str = "eth0";

/// The monitor's side.
#[derive(Debug)]
pub(crate) struct Connection {
    state: State,
    /// What carries ports of the host's loopback: connections, and datagrams.
    relays: Vec<OwnedFd>,
    required: bool,
    /// What became of the bound of what passes, if there is to be one.
    bandwidth: Option<Outcome>,
}

#[derive(Debug)]
enum State {
    /// The pod's namespaces are not there yet.
    Wanted(Uplink),
    /// pasta is preparing itself: it writes its number into the first pipe, and what went wrong into the second.
    Starting {
        pasta: OwnedFd,
        ready: OwnedFd,
        words: OwnedFd,
        deadline: Instant,
        bound: Option<Bound>,
    },
    Up {
        pasta: OwnedFd,
    },
    Down(String),
}

/// A bound, and the namespaces in which it is set as soon as the interface is there.
#[derive(Debug)]
struct Bound {
    bandwidth: Bandwidth,
    net: OwnedFd,
    user: OwnedFd,
    mapping: IdMapping,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing to speak of.
    None,
    /// The apps can start.
    Settled,
    /// It is not there (any more); if the pod cannot do without it, that is an error.
    Lost { why: String, fatal: bool },
}

impl Connection {
    pub(crate) fn new(uplink: Uplink) -> Self {
        Self { required: uplink.required, state: State::Wanted(uplink), relays: Vec::new(), bandwidth: None }
    }

    /// Whether the apps need not wait for it.
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.state, State::Up { .. } | State::Down(_))
    }

    /// Why it is not there, if so.
    pub(crate) fn down(&self) -> Option<&str> {
        match &self.state {
            State::Down(why) => Some(why),
            _ => None,
        }
    }

    /// What became of the bound of what passes.
    pub(crate) fn bandwidth(&self) -> Option<&Outcome> {
        self.bandwidth.as_ref()
    }

    /// The pod's namespaces are there: its network namespace and its user namespace.
    pub(crate) fn connect(&mut self, net: OwnedFd, user: OwnedFd, mapping: &IdMapping) -> Change {
        let State::Wanted(uplink) = std::mem::replace(&mut self.state, State::Down(String::new())) else {
            return Change::None;
        };
        let Uplink { pasta, mut ports, relays, bandwidth, required: _ } = uplink;
        let Some(pasta) = pasta else {
            return self
                .lost("pasta is not installed (it is in the package passt; --net=none does without)".to_owned());
        };
        // Kept at once: whatever fails afterwards, it ends with this connection.
        let (datagrams, streams): (Vec<Relay>, Vec<Relay>) = relays.into_iter().partition(|relay| relay.datagrams);
        for (relays, run) in [(streams, relay::run as fn(Vec<Relay>) -> io::Error), (datagrams, relay::datagrams::run)]
        {
            if relays.is_empty() {
                continue;
            }
            match carry(relays, run, &net, &user, mapping) {
                Ok(relay) => self.relays.push(relay),
                Err(error) => return self.lost(format!("start what carries its ports: {error}")),
            }
        }
        if let Some(packets) = bandwidth.and_then(Bandwidth::packets) {
            ports.push(format!("--mtu={packets}"));
        }
        match start(&pasta, &ports, &net, &user, mapping) {
            Ok((pasta, ready, words)) => {
                let bound = bandwidth.map(|bandwidth| Bound { bandwidth, net, user, mapping: mapping.clone() });
                self.state = State::Starting { pasta, ready, words, deadline: Instant::now() + PATIENCE, bound };
                Change::None
            }
            Err(error) => self.lost(format!("start {}: {error}", pasta.display())),
        }
    }

    /// When it is too late for pasta, while it prepares itself.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Starting { deadline, .. } => Some(*deadline),
            _ => None,
        }
    }

    /// Gives pasta up if it is too late.
    pub(crate) fn look_at_the_clock(&mut self) -> Change {
        if self.deadline().is_none_or(|deadline| deadline > Instant::now()) {
            return Change::None;
        }
        self.end_pasta();
        self.lost(format!("pasta was not ready after {} seconds", PATIENCE.as_secs()))
    }

    /// Kills what there is of it, and does not wait for that: the pod is over.
    pub(crate) fn end(&self) {
        for process in self.pasta().into_iter().chain(&self.relays) {
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
    }

    fn pasta(&self) -> Option<&OwnedFd> {
        match &self.state {
            State::Starting { pasta, .. } | State::Up { pasta } => Some(pasta),
            State::Wanted(_) | State::Down(_) => None,
        }
    }

    /// Kills pasta, if there is one, and waits for its end.
    fn end_pasta(&self) {
        if let Some(pasta) = self.pasta() {
            end(pasta);
        }
    }

    /// What the monitor waits for.
    pub(crate) fn to_poll(&self) -> Vec<PollFd<'_>> {
        let mut polled: Vec<PollFd<'_>> = Vec::new();
        match &self.state {
            State::Starting { pasta, ready, .. } => {
                polled.extend([PollFd::new(pasta, PollFlags::IN), PollFd::new(ready, PollFlags::IN)]);
            }
            State::Up { pasta } => polled.push(PollFd::new(pasta, PollFlags::IN)),
            State::Wanted(_) | State::Down(_) => {}
        }
        polled.extend(self.relays.iter().map(|relay| PollFd::new(relay, PollFlags::IN)));
        polled
    }

    /// Something that was waited for is there.
    pub(crate) fn polled(&mut self) -> Change {
        if let Some((index, how)) = self.relays.iter().enumerate().find_map(|(i, relay)| Some((i, ended(relay)?))) {
            self.relays.swap_remove(index);
            // Without its ports it is not what was asked for, and nobody would look after it any more.
            self.end_pasta();
            return self.lost(format!("what carries its ports {how}"));
        }
        match std::mem::replace(&mut self.state, State::Down(String::new())) {
            State::Starting { pasta, ready, words, deadline, bound } => {
                if let Some(how) = ended(&pasta) {
                    let said = last_words(words);
                    return self.lost(if said.is_empty() { format!("pasta {how}") } else { format!("pasta: {said}") });
                }
                let mut byte = [0; 16];
                if matches!(rustix::io::read(&ready, &mut byte[..]), Ok(1..)) {
                    self.bandwidth = bound.map(|bound| bound.set());
                    self.state = State::Up { pasta };
                    // One that was there once is no reason to end the pod.
                    self.required = false;
                    return Change::Settled;
                }
                self.state = State::Starting { pasta, ready, words, deadline, bound };
                Change::None
            }
            State::Up { pasta } => match ended(&pasta) {
                Some(how) => self.lost(format!("pasta {how}")),
                None => {
                    self.state = State::Up { pasta };
                    Change::None
                }
            },
            other => {
                self.state = other;
                Change::None
            }
        }
    }

    fn lost(&mut self, why: String) -> Change {
        self.state = State::Down(why.clone());
        Change::Lost { why, fatal: self.required }
    }
}

/// Nothing of it outlives the pod.
impl Drop for Connection {
    fn drop(&mut self) {
        // Both are told before either is waited for.
        self.end();
        self.pasta().into_iter().chain(&self.relays).for_each(end);
    }
}

/// Kills a process and waits for its end. It may have ended already.
fn end(process: &OwnedFd) {
    let _ = pidfd_send_signal(process, Signal::KILL);
    let _ = waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED);
}

/// How a process ended, if it did.
fn ended(process: &OwnedFd) -> Option<String> {
    let status = waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG).ok()??;
    Some(match status.terminating_signal() {
        Some(signal) => format!("was killed by signal {signal}"),
        None => format!("ended with status {}", status.exit_status().unwrap_or(0)),
    })
}

/// What pasta wrote before it ended, as one line. Debian's complains about the system log as well, which is not the point.
fn last_words(words: OwnedFd) -> String {
    let mut text = Vec::new();
    let _ = std::fs::File::from(words).take(MAX_WORDS).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains("syslog"));
    lines.collect::<Vec<_>>().join("; ")
}

/// Starts pasta: the process, where it says that it is ready, and where it says what went wrong.
fn start(
    program: &std::path::Path,
    ports: &[String],
    net: &OwnedFd,
    user: &OwnedFd,
    mapping: &IdMapping,
) -> io::Result<(OwnedFd, OwnedFd, OwnedFd)> {
    let (ready, told) = pipe_with(PipeFlags::CLOEXEC)?;
    let (words, said) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&ready, true)?;
    // pasta opens it again, as the pod's root, who may be another user than this one.
    rustix::fs::fchmod(&told, rustix::fs::Mode::from_raw_mode(0o666))?;
    let run = || {
        for fd in [net, &told] {
            fcntl_setfd(fd, FdFlags::empty())?;
        }
        let mut command = Command::new(program);
        command.args(arguments(net.as_raw_fd(), told.as_raw_fd())).args(ports);
        command.env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(said.try_clone()?);
        let error = command.exec();
        if error.kind() == io::ErrorKind::NotFound { Err(io::Error::other("it is not there")) } else { Err(error) }
    };
    let keep = [net.as_raw_fd(), told.as_raw_fd()];
    let pasta = child(user, None, mapping, &said, &keep, run)?;
    Ok((pasta, ready, words))
}

/// What pasta is told. The gateway's address would be the host's loopback, and ports that listen in the pod would be opened
/// on the host without anybody having asked: both are switched off.
fn arguments(net: i32, told: i32) -> Vec<OsString> {
    let net = format!("--netns=/proc/self/fd/{net}");
    let told = format!("--pid=/proc/self/fd/{told}");
    let fixed =
        ["--foreground", "--stderr", "--quiet", "--config-net", "--netns-only", "--no-netns-quit", "--no-map-gw"];
    let closed = ["--tcp-ns=none", "--udp-ns=none"];
    let interface = format!("--ns-ifname={INTERFACE}");
    let all = fixed.into_iter().chain(closed).chain([net.as_str(), told.as_str(), interface.as_str()]);
    all.map(OsString::from).collect()
}

impl Bound {
    /// Sets it, and waits for that: the apps start afterwards.
    fn set(self) -> Outcome {
        let Self { bandwidth, net, user, mapping } = self;
        let set = || -> io::Result<Outcome> {
            let (told, tell) = pipe_with(PipeFlags::CLOEXEC)?;
            let process = child(&user, Some(&net), &mapping, &tell, &[], || {
                let outcome = serde_json::to_vec(&bandwidth.put_on(INTERFACE))?;
                rustix::io::write(&tell, &outcome)?;
                sys::fork::exit_now(0)
            })?;
            drop(tell);
            Bandwidth::hear(told, &process)
        };
        set().unwrap_or_else(|error| Outcome::Ignored(error.to_string()))
    }
}

/// Starts what carries ports of the host's loopback.
fn carry(
    relays: Vec<Relay>,
    run: fn(Vec<Relay>) -> io::Error,
    net: &OwnedFd,
    user: &OwnedFd,
    mapping: &IdMapping,
) -> io::Result<OwnedFd> {
    let (_, nobody) = pipe_with(PipeFlags::CLOEXEC)?;
    let keep: Vec<RawFd> = relays.iter().map(|relay| relay.socket.as_raw_fd()).collect();
    let mut relays = Some(relays);
    child(user, Some(net), mapping, &nobody, &keep, || {
        sys::title::set("proa-ports");
        relay::confinement::confine()?;
        Err(run(relays.take().unwrap_or_default()))
    })
}

/// Closes what the monitor, or its caller, has open: the pod's streams would not end while this process has them.
fn close_all_but(keep: &[RawFd], said: RawFd) -> io::Result<()> {
    let mut keep: Vec<RawFd> = keep.iter().copied().chain([said]).collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep.into_iter().chain([RawFd::MAX]) {
        if fd > first {
            sys::exec::close_range(first, fd - 1)?;
        }
        first = fd.saturating_add(1).max(first);
    }
    Ok(())
}

/// Runs `work` in a child that is the pod's root, in its network namespace if that is given. The child says what goes wrong
/// before it, or in it, through `said`. Besides that and `keep` no descriptor is open in it.
fn child(
    user: &OwnedFd,
    net: Option<&OwnedFd>,
    mapping: &IdMapping,
    said: &OwnedFd,
    keep: &[RawFd],
    mut work: impl FnMut() -> io::Result<()>,
) -> io::Result<OwnedFd> {
    let parent = rustix::process::getpid();
    match sys::fork::fork(Namespaces::NONE)? {
        Fork::Parent { pidfd, .. } => Ok(pidfd),
        Fork::Child => {
            let mut all = || -> io::Result<()> {
                // The terminal's signals are not for it.
                setsid()?;
                move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))?;
                if let Some(net) = net {
                    move_into_link_name_space(net.as_fd(), Some(LinkNameSpaceType::Network))?;
                }
                become_container_root(mapping)?;
                set_parent_process_death_signal(Some(Signal::KILL))?;
                if getppid() != Some(parent) {
                    return Err(io::ErrorKind::NotConnected.into());
                }
                close_all_but(keep, said.as_raw_fd())?;
                work()
            };
            if let Err(error) = all() {
                let _ = rustix::io::write(said, error.to_string().as_bytes());
            }
            sys::fork::exit_now(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_one_line_without_the_system_log() {
        let (words, said) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let text = b"Failed to send 5 bytes to syslog\nNo external interface\n\nExiting\n";
        rustix::io::write(&said, text).unwrap();
        drop(said);
        assert_eq!(last_words(words), "No external interface; Exiting");
    }
}
