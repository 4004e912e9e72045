//! A pod's monitor as a process of its own: forked off, it outlives the command that started it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, open};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use serde::{Deserialize, Serialize};
use sys::fork::{Fork, Namespaces, fork};

use crate::diagnostics;
use crate::error::{CommandError, Explain as _, Kind};

/// What the monitor tells the command that started it.
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    /// Something the user should know, though nothing failed.
    Warning(String),
    /// The apps are being started.
    Started,
    /// The pod could not be run.
    Failed { status: u8, message: String, hints: Vec<String> },
}

/// The monitor's way to tell that the pod is started.
#[derive(Debug)]
pub(crate) struct Started(Arc<File>);

impl Started {
    /// Tells it. The command then returns, or attaches to the pod; of what the monitor says it hears no warning any more.
    pub(crate) fn tell(self) {
        diagnostics::warn_on_stderr();
        let _ = say(&self.0, &Told::Started);
    }
}

/// What the monitor of a pod that is started may say.
#[derive(Debug)]
pub(crate) struct Hearing(BufReader<File>);

impl Hearing {
    /// Waits for the monitor's end.
    ///
    /// # Errors
    ///
    /// What it failed with.
    pub(crate) fn last_words(mut self) -> Result<(), CommandError> {
        hear(&mut self.0)?.map_or(Ok(()), said)
    }
}

/// Runs `supervise` in a new process, in a session of its own, and returns when that process tells that the pod is
/// started.
///
/// # Errors
///
/// What `supervise` failed with before, or the process could not be made.
pub(crate) fn detach(
    supervise: impl FnOnce(Started) -> Result<u8, CommandError> + 'static,
) -> Result<Hearing, CommandError> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    match fork(Namespaces::NONE).during(|| "clone3(), for the pod's monitor".into())? {
        Fork::Child => {
            drop(ours);
            // The frames of the command line would be there as long as the pod.
            sys::stack::afresh(move || monitor(theirs, supervise))
        }
        Fork::Parent { .. } => {
            drop(theirs);
            let mut ours = BufReader::new(File::from(ours));
            match hear(&mut ours)? {
                Some(told) => said(told).map(|()| Hearing(ours)),
                None => Err(CommandError::failed("the pod's monitor ended before the pod was started")),
            }
        }
    }
}

fn monitor(pipe: OwnedFd, supervise: impl FnOnce(Started) -> Result<u8, CommandError>) -> u8 {
    let pipe = Arc::new(File::from(pipe));
    let (started, warnings) = (Started(Arc::clone(&pipe)), Arc::clone(&pipe));
    // Its own stderr leads nowhere.
    diagnostics::warn_by(move |text| drop(say(&warnings, &Told::Warning(text.to_owned()))));
    match become_own().during(|| "detach the pod's monitor".into()).and_then(|()| supervise(started)) {
        Ok(status) => status,
        Err(error) => {
            let status = error.kind.exit_status();
            // Nobody listens any more if the pod was started without somebody attached: then its record says how it ended.
            let _ = say(&pipe, &Told::Failed { status, message: error.chain(), hints: error.all_hints(None) });
            status
        }
    }
}

/// A session of its own, away from the caller's directory and streams.
fn become_own() -> rustix::io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::chdir("/")?;
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)
}

fn say(mut pipe: &File, told: &Told) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(told)?;
    line.push(b'\n');
    pipe.write_all(&line)
}

/// What it tells that is no warning, if it tells anything more.
fn hear(pipe: &mut BufReader<File>) -> Result<Option<Told>, CommandError> {
    let mut line = Vec::new();
    loop {
        line.clear();
        pipe.read_until(b'\n', &mut line).during(|| "hear the pod's monitor".into())?;
        match serde_json::from_slice(&line) {
            Ok(Told::Warning(text)) => diagnostics::warn(&text),
            told => return Ok(told.ok()),
        }
    }
}

fn said(told: Told) -> Result<(), CommandError> {
    match told {
        Told::Warning(_) | Told::Started => Ok(()),
        Told::Failed { status, message, hints } => {
            let kind = [Kind::NotFound, Kind::NotExecutable].into_iter().find(|kind| kind.exit_status() == status);
            let error = CommandError::new(kind.unwrap_or(Kind::Failed), message);
            Err(hints.into_iter().fold(error, CommandError::hint))
        }
    }
}
