//! What the apps of the `hello` image do.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::identity::{self, Finding, Proof};
use super::meeting::{self, Connection, Deadline, PORT};
use super::probe::{self, Doors};
use super::report::{Findings, Meeting, Report};
use super::{GREETER, RESPONDER};

/// How long the apps wait for each other. A pod starts in milliseconds; only an emulated or drowning machine needs
/// seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why an app gave up: the step, and the system's answer.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
pub(super) struct AppError {
    step: String,
    source: io::Error,
}

impl AppError {
    pub(super) fn new(step: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { step: step.into(), source: source.into() }
    }
}

/// Names the step in front of an error.
fn step<T, E: Into<io::Error>>(step: &str, result: Result<T, E>) -> Result<T, AppError> {
    result.map_err(|source| AppError::new(step, source))
}

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
enum Role {
    /// Meets the responder and prints the report.
    Greeter(PathBuf),
    /// Answers the greeter.
    Responder(PathBuf),
    /// No second app: reports on this one.
    Alone,
}

impl Role {
    fn parse(args: &[OsString]) -> Option<Self> {
        match args {
            [] => Some(Self::Alone),
            [role, volume] if role == GREETER => Some(Self::Greeter(volume.into())),
            [role, volume] if role == RESPONDER => Some(Self::Responder(volume.into())),
            _ => None,
        }
    }
}

/// Runs the app that `args` (without the program's name) name: `greeter VOLUME`, `responder VOLUME`, or nothing for a
/// pod of one.
///
/// Succeeds only if every promise of the report holds; prints what is broken otherwise. Ends within ten seconds.
pub(crate) fn main(args: &[OsString]) -> ExitCode {
    let Some(role) = Role::parse(args) else {
        eprintln!("hello: usage: hello [{GREETER} VOLUME | {RESPONDER} VOLUME]");
        return ExitCode::from(2);
    };
    let deadline = Deadline::after(PATIENCE);
    let (name, result) = match &role {
        Role::Greeter(volume) => (GREETER, greet(volume, PORT, deadline).and_then(|report| print(&report))),
        Role::Responder(volume) => (RESPONDER, respond(volume, PORT, deadline).map(|()| true)),
        Role::Alone => ("alone", stand_alone().and_then(|report| print(&report))),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hello: {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the responder tells besides its facts.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    /// Whether it read on the volume what the greeter says to have written.
    read_note: bool,
    /// What it could open of the greeter.
    doors: Doors,
    /// What it makes of the greeter's proof of identity.
    identity: Finding,
}

fn greet(volume: &Path, port: u16, deadline: Deadline) -> Result<Report, AppError> {
    let mine = Facts::gather(volume, token()?)?;
    step("write to the shared volume", meeting::leave_note(volume, GREETER, &mine.token))?;
    let mut connection = step("connect to the responder", Connection::connect(port, deadline))?;
    step("send facts", connection.send(&mine))?;
    step("send proof", connection.send(&identity::prove_to(RESPONDER)))?;
    let theirs: Facts = step("receive facts", connection.receive())?;
    let proof: Proof = step("receive proof", connection.receive())?;
    let answer: Answer = step("receive findings", connection.receive())?;
    let note = step("read from the shared volume", meeting::read_note(volume, RESPONDER))?;
    let root = step("receive a descriptor", meeting::take_over(volume, deadline))?;
    let findings = Findings {
        notes: (note == theirs.token, answer.read_note),
        identities: (identity::check(&proof, RESPONDER, GREETER), answer.identity),
        doors: (probe::doors(&theirs.pid), answer.doors),
        foreign_root: step("open a file of the responder", probe::foreign_root(root.as_fd()))?,
        port,
    };
    Ok(Report::new(&mine, Some(&Meeting { theirs, findings }), &pid_one_and_control()))
}

fn respond(volume: &Path, port: u16, deadline: Deadline) -> Result<(), AppError> {
    let mine = Facts::gather(volume, token()?)?;
    step("write to the shared volume", meeting::leave_note(volume, RESPONDER, &mine.token))?;
    let offer = step("make a socket on the shared volume", meeting::offer(volume))?;
    let root = step("open /", File::open("/"))?;
    let listener = step("listen on the loopback", meeting::listen(port))?;
    let mut connection = step("wait for the greeter", Connection::accept(&listener, deadline))?;
    let theirs: Facts = step("receive facts", connection.receive())?;
    let proof: Proof = step("receive proof", connection.receive())?;
    step("send facts", connection.send(&mine))?;
    step("send proof", connection.send(&identity::prove_to(GREETER)))?;
    let note = step("read from the shared volume", meeting::read_note(volume, GREETER))?;
    let answer = Answer {
        read_note: note == theirs.token,
        doors: probe::doors(&theirs.pid),
        identity: identity::check(&proof, GREETER, RESPONDER),
    };
    step("send findings", connection.send(&answer))?;
    step("hand over a descriptor", meeting::hand_over(&offer, root.as_fd(), deadline))?;
    // The greeter tries the doors of this process, so it has to be there until the greeter is done.
    step("wait for the greeter to finish", connection.wait_closed())
}

fn stand_alone() -> Result<Report, AppError> {
    let mine = Facts::gather(Path::new(""), String::new())?;
    Ok(Report::new(&mine, None, &pid_one_and_control()))
}

/// The doors of the pod's pid 1, and as the control those of this process itself, which must open.
fn pid_one_and_control() -> (Doors, Doors) {
    (probe::doors(&1), probe::doors(&"self"))
}

/// A word that the other app cannot know unless it reads it on the volume.
fn token() -> Result<String, AppError> {
    let mut bytes = [0; 8];
    step("get random bytes", getrandom(&mut bytes, GetRandomFlags::empty()))?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

/// Prints the report and says whether all is well.
fn print(report: &Report) -> Result<bool, AppError> {
    let mut stdout = io::stdout().lock();
    step("write the report", write!(stdout, "{report}").and_then(|()| stdout.flush()))?;
    Ok(report.all_well())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn arguments() {
        let parse = |words: &[&str]| Role::parse(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(parse(&[]), Some(Role::Alone));
        assert_eq!(parse(&["greeter", "/data"]), Some(Role::Greeter("/data".into())));
        assert_eq!(parse(&["responder", "/mnt"]), Some(Role::Responder("/mnt".into())));
        assert_eq!(parse(&["greeter"]), None);
        assert_eq!(parse(&["someone", "/data"]), None);
        assert_eq!(parse(&["greeter", "/data", "x"]), None);
    }

    /// Two threads are the same process in every respect, so all that keeps apps apart must be found missing, and
    /// all that they share must be found working.
    #[test]
    fn outside_a_pod_the_apps_meet_and_the_report_is_bad() {
        let volume = tempfile::tempdir().unwrap();
        let port = meeting::listen(0).unwrap().local_addr().unwrap().port();
        let deadline = Deadline::after(Duration::from_secs(20));
        let path = volume.path().to_owned();
        let responder = thread::spawn(move || respond(&path, port, deadline));
        let report = greet(volume.path(), port, deadline).unwrap();
        responder.join().unwrap().unwrap();
        let text = report.to_string();
        assert!(!report.all_well(), "{text}");
        for line in ["ok      loopback", "ok      volume", "WRONG   own namespaces", "WRONG   other processes"] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn waits_end() {
        let volume = tempfile::tempdir().unwrap();
        let port = meeting::listen(0).unwrap().local_addr().unwrap().port();
        let soon = || Deadline::after(Duration::from_millis(30));
        let error = greet(volume.path(), port, soon()).unwrap_err().to_string();
        assert!(error.starts_with("connect to the responder: "), "{error}");
        let error = respond(volume.path(), port, soon()).unwrap_err().to_string();
        assert_eq!(error, "wait for the greeter: timed out");
    }
}
