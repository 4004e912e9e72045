//! Starting the service for a pod whose app asks first.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// How long a service started like this stays when nobody asks any more: the value of its `--idle-exit`.
const IDLE_EXIT: &str = "5m";

/// Starts a service that accepts on `listener`, whose socket is in `socket_dir`. `proa` is the program, which detaches
/// itself when its keys are at hand: when this returns, no child is left to wait for.
///
/// # Errors
/// The program cannot be executed, or has failed and said why on standard error.
pub fn start(proa: &Path, data_dir: &Path, socket_dir: &Path, listener: OwnedFd) -> io::Result<()> {
    let status = Command::new(proa)
        .arg0("proa")
        .arg("--dir")
        .arg(data_dir)
        .args(["metadata-service", "--idle-exit", IDLE_EXIT, "--on-demand"])
        .arg(socket_dir)
        // What the pod's starter had in its environment is nothing to the pods of the hours to come.
        .env_clear()
        .stdin(Stdio::from(listener))
        .stdout(Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("the metadata service failed: {status}"))) }
}
