//! pasta, which connects the pod with the world.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};

use super::INTERFACE;
use super::inside::{Inside, child};

/// Most of pasta's last words that are told.
const MAX_WORDS: u64 = 2000;

/// pasta, while it prepares itself.
#[derive(Debug)]
pub(super) struct Started {
    /// The process.
    pub(super) process: OwnedFd,
    /// Where it says that it is ready.
    pub(super) ready: OwnedFd,
    /// Where it says what went wrong.
    pub(super) words: OwnedFd,
}

/// Starts pasta, which connects `inside` with the network that is `between` it and the world, or else with the host's.
pub(super) fn start(
    program: &Path,
    ports: &[String],
    inside: &Inside,
    between: Option<&Inside>,
) -> io::Result<Started> {
    let (ready, told) = pipe_with(PipeFlags::CLOEXEC)?;
    let (words, said) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&ready, true)?;
    // pasta opens it again, as the pod's root, who may be another user than this one.
    rustix::fs::fchmod(&told, rustix::fs::Mode::from_raw_mode(0o666))?;
    let run = || {
        for fd in [&inside.net, &told] {
            fcntl_setfd(fd, FdFlags::empty())?;
        }
        let mut command = Command::new(program);
        command.args(arguments(inside.net.as_raw_fd(), told.as_raw_fd())).args(ports);
        command.env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(said.try_clone()?);
        let error = command.exec();
        if error.kind() == io::ErrorKind::NotFound { Err(io::Error::other("it is not there")) } else { Err(error) }
    };
    let keep = [inside.net.as_raw_fd(), told.as_raw_fd()];
    let process = child(between.unwrap_or(inside), between.is_some(), &said, &keep, run)?;
    Ok(Started { process, ready, words })
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

/// The options of the pasta behind one that has these: what that brings to a port of the network between goes on to the
/// same port of the pod.
pub(super) fn behind(ports: &[String]) -> Vec<String> {
    let mut behind: Vec<String> = Vec::new();
    for port in ports {
        let Some((option, value)) = port.split_once('=') else { continue };
        if !matches!(option, "--tcp-ports" | "--udp-ports") {
            continue;
        }
        let range = value.rsplit_once(':').map_or(value, |(_, range)| range);
        let option = format!("{option}={range}");
        if !behind.contains(&option) {
            behind.push(option);
        }
    }
    behind
}

/// What pasta wrote before it ended, as one line. Debian's complains about the system log as well, which is not the point.
pub(super) fn last_words(words: OwnedFd) -> String {
    let mut text = Vec::new();
    let _ = std::fs::File::from(words).take(MAX_WORDS).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains("syslog"));
    lines.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_takes_the_pods_ports() {
        let ports = ["--tcp-ports=0.0.0.0/8080:80", "--tcp-ports=fd00::1/81:80", "--tcp-ports=9000-9009:7000-7009"];
        let ports = ports.into_iter().chain(["--udp-ports=none", "--mtu=1500"]).map(str::to_owned);
        let wanted = ["--tcp-ports=80", "--tcp-ports=7000-7009", "--udp-ports=none"];
        assert_eq!(behind(&ports.collect::<Vec<_>>()), wanted);
    }

    #[test]
    fn last_words_are_one_line_without_the_system_log() {
        let (words, said) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let text = b"Failed to send 5 bytes to syslog\nNo external interface\n\nExiting\n";
        rustix::io::write(&said, text).unwrap();
        drop(said);
        assert_eq!(last_words(words), "No external interface; Exiting");
    }
}
