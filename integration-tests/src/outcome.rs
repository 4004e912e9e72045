//! What a run of `proa` gave, and the assertions tests make about it.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// One finished run.
#[derive(Debug)]
pub struct Outcome {
    /// The command line, for messages.
    pub command: String,
    /// As `wait` gave it.
    pub status: ExitStatus,
    /// What came on standard output, lossily decoded.
    pub stdout: String,
    /// What came on standard error, lossily decoded.
    pub stderr: String,
}

impl Outcome {
    /// Asserts the exit status.
    #[track_caller]
    pub fn exits(self, status: i32) -> Self {
        assert_eq!(self.status.code(), Some(status), "wrong exit status of {self}");
        self
    }

    /// Asserts success.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.exits(0)
    }

    /// Asserts the whole of standard output.
    #[track_caller]
    pub fn prints(self, expected: &str) -> Self {
        assert_eq!(self.stdout, expected, "wrong output of {self}");
        self
    }

    /// Asserts a part of standard output.
    #[track_caller]
    pub fn shows(self, expected: &str) -> Self {
        assert!(self.stdout.contains(expected), "{expected:?} is not in the output of {self}");
        self
    }

    /// Asserts a part of standard error.
    #[track_caller]
    pub fn stderr_shows(self, expected: &str) -> Self {
        assert!(self.stderr.contains(expected), "{expected:?} is not in the messages of {self}");
        self
    }

    /// Asserts that there is nothing on standard error.
    #[track_caller]
    pub fn quietly(self) -> Self {
        assert_eq!(self.stderr, "", "messages of {self}");
        self
    }

    /// Asserts a refusal of ours of bad input: [`Outcome::rejects`] with a hint how to mend it.
    #[track_caller]
    pub fn refuses(self, offending: &str) -> Self {
        self.refuses_with(254, offending)
    }

    /// [`Outcome::refuses`] with another exit status (126 and 127 belong to apps that cannot be executed).
    #[track_caller]
    pub fn refuses_with(self, status: i32, offending: &str) -> Self {
        let it = self.rejects_with(status, offending);
        assert!(it.stderr.lines().any(|line| line.starts_with("hint: ")), "a line must start with `hint: `: {it}");
        it
    }

    /// Asserts an error of ours: status 254, one error line that holds `offending`, no panic, no control characters.
    #[track_caller]
    pub fn rejects(self, offending: &str) -> Self {
        self.rejects_with(254, offending)
    }

    #[track_caller]
    fn rejects_with(self, status: i32, offending: &str) -> Self {
        let it = self.exits(status);
        let error = |line: &&str| line.starts_with("proa: ") && !line.starts_with("proa: warning");
        let errors: Vec<&str> = it.stderr.lines().filter(error).collect();
        assert_eq!(errors.len(), 1, "one error line starts with `proa: `, in {it}");
        assert!(errors[0].contains(offending), "the error must name {offending:?}: {it}");
        for noise in ["panicked", "RUST_BACKTRACE", "stack backtrace"] {
            assert!(!it.stderr.contains(noise), "{noise:?} in {it}");
        }
        let control = it.stderr.chars().find(|c| c.is_control() && *c != '\n' && *c != '\t');
        assert_eq!(control, None, "control characters must be escaped in {it}");
        it
    }

    /// The signal that ended `proa` itself, if one did.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Standard output without its last newline.
    pub fn line(&self) -> &str {
        self.stdout.trim_end_matches('\n')
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}\n{}", self.command, self.status)?;
        write!(f, "--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr)
    }
}
