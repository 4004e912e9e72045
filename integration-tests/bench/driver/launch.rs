//! One launch of a peer: from the call that starts it to the end of its process, and what its process tree cost.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rustix::process::WaitOptions;

use crate::Failure;
use crate::peers::{Peer, Peers};

/// What one launch took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) wall: Duration,
    /// User and system time of the process and all its descendants.
    pub(crate) cpu: Duration,
}

/// Starts peers and waits for them.
#[derive(Debug)]
pub(crate) struct Launcher {
    /// Their standard error, looked at when one fails.
    log: File,
}

impl Launcher {
    pub(crate) fn new() -> Result<Self, Failure> {
        // Orphans of a peer become our children, so that their time is counted and nothing is left.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        Ok(Self { log: tempfile::tempfile()? })
    }

    /// Starts a peer and does not wait.
    pub(crate) fn start(&self, peer: &Peer) -> Result<std::process::Child, Failure> {
        let mut command = peer.command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(self.log.try_clone()?);
        command.spawn().map_err(|e| format!("{}: {e}", peer.name).into())
    }

    /// Launches a peer once.
    pub(crate) fn launch(&self, peer: &Peer) -> Result<Sample, Failure> {
        self.log.set_len(0)?;
        let before = children_cpu()?;
        let start = Instant::now();
        let status = self.start(peer)?.wait()?;
        let wall = start.elapsed();
        if !status.success() {
            return Err(self.failure(peer, &status.to_string()));
        }
        self.reap_orphans(peer)?;
        Ok(Sample { wall, cpu: children_cpu()?.saturating_sub(before) })
    }

    /// Says how a peer failed, with what it wrote.
    pub(crate) fn failure(&self, peer: &Peer, status: &str) -> Failure {
        let mut said = String::new();
        let mut log = &self.log;
        let _ = log.seek(SeekFrom::Start(0)).and_then(|_| log.read_to_string(&mut said));
        format!("{}: {status}\n{said}", peer.name).into()
    }

    /// Waits for what a peer left running: podman's foreground process ends before its helpers do.
    fn reap_orphans(&self, peer: &Peer) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Err(rustix::io::Errno::CHILD) => return Ok(()),
                Ok(Some(_)) => {}
                Ok(None) if Instant::now() > deadline => return Err(self.failure(peer, "leaves processes running")),
                Ok(None) => std::thread::sleep(Duration::from_millis(1)),
                Err(e) => return Err(e.into()),
            }
        }
    }
}

/// Peak resident memory in bytes of the largest process in a peer's tree, found by a driver of its own: the kernel keeps
/// one maximum over all children a process ever had. A child starts with our own peak, so it cannot be seen below that.
pub(crate) fn peak_rss(peers: &Peers, peer: &Peer) -> Result<u64, Failure> {
    let mut driver = Command::new(std::env::current_exe()?);
    let answer = driver.arg("rss").arg(&peers.file).arg(&peer.name).stderr(Stdio::inherit()).output()?;
    String::from_utf8(answer.stdout)?.trim().parse().map_err(|_| format!("{}: no peak memory", peer.name).into())
}

/// The part of [`peak_rss`] in the second driver.
pub(crate) fn print_peak_rss(peers: &Peers, name: &str) -> Result<(), Failure> {
    let peer = peers.all.iter().find(|it| it.name == name).ok_or_else(|| format!("no peer {name}"))?;
    let launcher = Launcher::new()?;
    for _ in 0..3 {
        launcher.launch(peer)?;
    }
    let kibibytes = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
    println!("{}", kibibytes * 1024);
    Ok(())
}

fn children_cpu() -> Result<Duration, Failure> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}
