//! Judging keys and signatures in a process that can do nothing else.
//!
//! What strangers wrote is parsed by a process of its own, which is this program again under another name. Its standard
//! input is the signed file, its standard output one end of a socket: over it come signature and keys, and back goes
//! the verdict. Before it parses anything it gives up every system call that could open, connect or start something
//! (docs/signatures.md).

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};

use fetch::openpgp::{Certificate, Key, KeyError, Refusal, Signed};
use serde::de::DeserializeOwned;

use crate::error::CommandError;

mod confine;
mod job;
mod process;

pub(crate) use process::main;

use job::Job;

/// The name this program is started under to be the verifier.
pub(crate) const PROGRAM: &str = "proa-verifier";

/// A verdict is smaller than this many bytes; the largest holds 32 keys of a megabyte, armored.
const MAX_VERDICT: u64 = 64 << 20;

/// The public keys of a file.
///
/// # Errors
///
/// What is wrong with the file ([`KeyError`]), or why it could not be judged.
pub(crate) fn inspect(bytes: Vec<u8>) -> Result<Vec<Certificate>, CommandError> {
    let verdict: Result<Vec<Certificate>, KeyError> = ask(Stdio::null(), &Job::Inspect(bytes))?;
    Ok(verdict?)
}

/// Who of `keys` has signed `file`, by its detached `signature`. The file is read from where it stands to its end.
///
/// # Errors
///
/// Why the signature does not count ([`Refusal`]), or why it could not be judged.
pub(crate) fn verify(file: &File, signature: Vec<u8>, keys: Vec<Key>) -> Result<Signed, CommandError> {
    let file = file.try_clone().map_err(VerifierError::Start)?;
    let verdict: Result<Signed, Refusal> = ask(file.into(), &Job::Verify { signature, keys })?;
    Ok(verdict?)
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
enum VerifierError {
    #[error("start the signature verifier")]
    Start(#[source] io::Error),
    #[error("talk to the signature verifier")]
    Talk(#[source] io::Error),
    /// It refused to work unprotected.
    #[error("the signature verifier cannot be confined: this kernel or its container has no seccomp filters")]
    Unconfined,
    /// It died: of what it parsed, or of a call it is not allowed to make.
    #[error("the signature verifier ended without a verdict ({0})")]
    Died(String),
}

/// Has one question answered by a process of its own.
fn ask<V: DeserializeOwned>(input: Stdio, job: &Job) -> Result<V, VerifierError> {
    let (ours, theirs) = UnixStream::pair().map_err(VerifierError::Start)?;
    let child = start(input, theirs)?;
    let talked = talk(ours, job);
    let status = wait(child)?;
    match status.code() {
        Some(0) => {}
        Some(code) if code == i32::from(process::UNCONFINED) => return Err(VerifierError::Unconfined),
        _ => return Err(VerifierError::Died(describe(status))),
    }
    let verdict = talked.map_err(VerifierError::Talk)?;
    serde_json::from_slice(&verdict).map_err(|error| VerifierError::Talk(error.into()))
}

fn start(input: Stdio, output: UnixStream) -> Result<Child, VerifierError> {
    // Not by path: the file may have been replaced since this process started.
    let mut command = Command::new("/proc/self/exe");
    command.arg0(PROGRAM).env_clear().current_dir("/");
    command.stdin(input).stdout(OwnedFd::from(output)).stderr(Stdio::null());
    command.spawn().map_err(VerifierError::Start)
}

/// Sends the job and reads the verdict.
fn talk(mut socket: UnixStream, job: &Job) -> io::Result<Vec<u8>> {
    socket.write_all(&job.to_bytes())?;
    socket.shutdown(Shutdown::Write)?;
    let mut verdict = Vec::new();
    socket.take(MAX_VERDICT).read_to_end(&mut verdict)?;
    Ok(verdict)
}

fn wait(mut child: Child) -> Result<ExitStatus, VerifierError> {
    child.wait().map_err(VerifierError::Talk)
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "it is not known why".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_are_described() {
        assert_eq!(describe(ExitStatus::from_raw(1 << 8)), "exit status 1");
        assert_eq!(describe(ExitStatus::from_raw(31)), "signal 31");
    }
}
