//! A program of the test's that has been started.

use std::io::{BufRead, BufReader, PipeReader, PipeWriter};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::{Outcome, process};

/// Time limit of one run, longer on slow machines. Nothing waits for it to pass: it only ends a test that hangs.
pub fn limit() -> Duration {
    slowed(Duration::from_secs(60))
}

/// A time on a real machine as it is on this one.
pub fn slowed(time: Duration) -> Duration {
    let factor = std::env::var("PROA_TEST_SLOWDOWN").ok().and_then(|it| it.parse().ok()).unwrap_or(1);
    time * factor
}

/// A `proa` that has been started.
#[derive(Debug)]
pub struct Running {
    child: Child,
    command: String,
    stdin: Option<PipeWriter>,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
    seen: String,
}

impl Running {
    /// Takes over a child and the test's ends of its pipes.
    pub(crate) fn new(
        child: Child,
        command: String,
        stdin: Option<PipeWriter>,
        stdout: PipeReader,
        stderr: PipeReader,
    ) -> Self {
        Self { child, command, stdin, stdout: reader(stdout), stderr: reader(stderr), seen: String::new() }
    }

    /// The pipe to its standard input, if it has one that nobody took.
    pub fn stdin(&mut self) -> Option<PipeWriter> {
        self.stdin.take()
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("process ids are below 2^22")
    }

    /// Sends it a signal.
    pub fn kill(&self, signal: rustix::process::Signal) {
        assert!(process::kill(self.pid(), signal), "{} is gone", self.command);
    }

    /// Waits until it has so many sockets more than it was given, and nothing to do but to wait for what they say.
    ///
    /// # Panics
    /// When [`limit`] passes before.
    #[track_caller]
    pub fn wait_until_it_listens(&self, sockets: usize) {
        let is_socket = |fd: std::fs::DirEntry| {
            std::fs::read_link(fd.path()).is_ok_and(|it| it.to_string_lossy().starts_with("socket:"))
        };
        let deadline = Instant::now() + limit();
        loop {
            let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).into_iter().flatten().flatten();
            let open = open.filter(|fd| fd.file_name() != "0").map(is_socket).filter(|is| *is).count();
            if open >= sockets && process::read(self.pid()).is_some_and(|process| process.state == 'S') {
                return;
            }
            assert!(Instant::now() < deadline, "{} has {open} of {sockets} sockets", self.command);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a line of standard output holds `text`, and gives that line.
    ///
    /// # Panics
    /// When the output ends or [`limit`] passes before.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> String {
        loop {
            match self.stdout.recv_timeout(limit()) {
                Ok(line) => {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    self.seen.push_str(&line);
                    if line.contains(text) {
                        return line.trim_end().to_owned();
                    }
                }
                Err(e) => {
                    let _ = self.child.kill();
                    let stderr = rest(&self.stderr);
                    panic!(
                        "{} has not printed {text:?} ({e})\n--- stdout\n{}\n--- stderr\n{stderr}",
                        self.command, self.seen
                    )
                }
            }
        }
    }

    /// Waits for its end and for the end of its output.
    ///
    /// # Panics
    /// When it does not end within [`limit`].
    #[track_caller]
    pub fn wait(mut self) -> Outcome {
        drop(self.stdin());
        let deadline = Instant::now() + limit();
        let status = loop {
            match self.child.try_wait().expect("it is our child") {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    panic!("{} did not end within {:?}\n{}\n{}", self.command, limit(), self.seen, rest(&self.stderr));
                }
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        let stdout = self.seen + &rest(&self.stdout);
        Outcome { command: self.command, status, stdout, stderr: rest(&self.stderr) }
    }
}

/// What is still to come; bounded, because a process that was left behind may hold the pipe open.
fn rest(lines: &Receiver<Vec<u8>>) -> String {
    let mut bytes = Vec::new();
    while let Ok(line) = lines.recv_timeout(slowed(Duration::from_secs(5))) {
        bytes.extend(line);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads a pipe line by line in a thread.
fn reader(pipe: PipeReader) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) && sender.send(std::mem::take(&mut line)).is_ok() {
        }
    });
    receiver
}
