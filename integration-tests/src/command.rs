//! A command line to be run as the test's user.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::fs::{Gid, Uid, fchown};

use crate::{Account, Env, Outcome, Running};

/// A run of a program to be started as the test's user.
#[derive(Debug)]
#[must_use = "nothing runs before `outcome` or `start`"]
pub struct Proa<'e> {
    env: &'e Env,
    program: OsString,
    args: Vec<OsString>,
    root_wrapper: Vec<OsString>,
    wrapper: Vec<OsString>,
    vars: Vec<(OsString, Option<OsString>)>,
    stdin: Input,
}

#[derive(Debug)]
enum Input {
    /// /dev/null.
    Null,
    /// What the test gives.
    Given(Stdio),
    /// A pipe that the test writes to.
    Pipe,
}

impl<'e> Proa<'e> {
    pub(crate) fn new(env: &'e Env, program: OsString, args: Vec<OsString>) -> Self {
        Self { env, program, args, root_wrapper: vec![], wrapper: vec![], vars: vec![], stdin: Input::Null }
    }

    /// Sets a variable.
    pub fn var(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.vars.push((name.into(), Some(value.as_ref().to_owned())));
        self
    }

    /// Removes a variable the environment would have.
    pub fn without_var(mut self, name: &str) -> Self {
        self.vars.push((name.into(), None));
        self
    }

    /// Runs another binary in place of `proa`, with the same arguments.
    pub fn binary(mut self, program: impl Into<OsString>) -> Self {
        self.program = program.into();
        self
    }

    /// Sets standard input, which is /dev/null else.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = Input::Given(stdin.into());
        self
    }

    /// Runs it through another program as the user: `WRAPPER… PROGRAM ARGS…`.
    pub fn through<I: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = I>) -> Self {
        self.wrapper.extend(wrapper.into_iter().map(|it| it.as_ref().to_owned()));
        self
    }

    /// Runs it through another program that is still the invoking user (root), before it becomes the test's user.
    pub fn through_as_invoker<I: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = I>) -> Self {
        self.root_wrapper.extend(wrapper.into_iter().map(|it| it.as_ref().to_owned()));
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it does not end within [`limit`].
    #[track_caller]
    pub fn outcome(self) -> Outcome {
        self.start().wait()
    }

    /// Runs it to its end with these bytes on standard input.
    #[track_caller]
    pub fn outcome_with_input(self, input: &[u8]) -> Outcome {
        let mut running = Self { stdin: Input::Pipe, ..self }.start();
        let mut pipe = running.stdin().expect("it is piped");
        // A program that ends without reading all is no fault of the test's.
        let _ = pipe.write_all(input);
        drop(pipe);
        running.wait()
    }

    /// Starts it.
    pub fn start(self) -> Running {
        let Account { uid, gid, .. } = *self.env.account();
        let invoker = rustix::process::geteuid().as_raw();
        let mut line: Vec<OsString> = Vec::new();
        line.extend(self.root_wrapper);
        let drops_late = !line.is_empty();
        if drops_late && invoker != uid {
            let ids = [format!("--reuid={uid}"), format!("--regid={gid}")];
            line.extend(["setpriv".into(), "--clear-groups".into()]);
            line.extend(ids.map(OsString::from));
        }
        line.extend(self.wrapper);
        line.push(self.program);
        line.extend(self.args);

        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).env_clear().current_dir(self.env.root());
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("LANG", "C.UTF-8");
        command.env("HOME", self.env.path("home")).env("TMPDIR", self.env.path("tmp"));
        command.env("XDG_RUNTIME_DIR", self.env.path("run")).env("USER", &self.env.account().name);
        for (name, value) in &self.vars {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if !drops_late && invoker != uid {
            // std empties the supplementary groups too when it changes the uid as root.
            command.uid(uid).gid(gid);
        }
        // The user's own pipes, as his shell would make them: root's could not be opened by name.
        let pipe = || {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            fchown(&writer, Some(uid), Some(gid)).expect("the pipe is ours");
            (reader, writer)
        };
        let ((stdout, to_stdout), (stderr, to_stderr)) = (pipe(), pipe());
        let (stdin, to_stdin) = match self.stdin {
            Input::Null => (Stdio::null(), None),
            Input::Given(stdin) => (stdin, None),
            Input::Pipe => {
                let (reader, writer) = pipe();
                (reader.into(), Some(writer))
            }
        };
        command.stdin(stdin).stdout(to_stdout).stderr(to_stderr);
        // Scripts of several lines say nothing in a message.
        let word = |it: &OsString| if it.len() < 400 { it.to_string_lossy().into_owned() } else { "…".to_owned() };
        let shown = line.iter().map(word).collect::<Vec<_>>().join(" ");
        let child = command.spawn().unwrap_or_else(|e| panic!("{shown}: {e}"));
        // With the command our copies of the pipes' other ends go: they would keep the output from ending.
        drop(command);
        Running::new(child, shown, to_stdin, stdout, stderr)
    }
}
