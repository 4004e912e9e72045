//! A user, an empty data directory, a cleared environment, and runs of `proa` in them.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tempfile::TempDir;

use crate::{Account, Outcome, Snapshot, User, binaries, process};

/// One test's world. Dropping it asserts that all is as before.
#[derive(Debug)]
pub struct Env {
    account: Account,
    root: Option<TempDir>,
    before: Snapshot,
    _turn: Turn,
}

/// Time limit of one run, longer on slow machines. Nothing waits for it to pass: it only ends a test that hangs.
pub fn limit() -> Duration {
    slowed(Duration::from_secs(60))
}

fn slowed(time: Duration) -> Duration {
    let factor = std::env::var("PROA_TEST_SLOWDOWN").ok().and_then(|it| it.parse().ok()).unwrap_or(1);
    time * factor
}

impl Env {
    /// An environment for a role.
    ///
    /// # Errors
    /// Says which account is missing.
    pub fn of(user: User) -> Result<Self, String> {
        let account = user.account()?;
        let turn = Turn::take();
        process::adopt_orphans();
        let root =
            tempfile::Builder::new().prefix("t").tempdir_in(binaries::work_dir()).expect("the work folder is ours");
        let before = Snapshot::take(root.path(), &[]);
        let env = Self { account, root: Some(root), before, _turn: turn };
        for dir in ["home", "run", "tmp", "images"] {
            env.make_dir(&env.path(dir));
        }
        env.own(env.root());
        Ok(env)
    }

    /// The user the runs are made as.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The folder that holds everything of this test; the user owns it.
    pub fn root(&self) -> &Path {
        self.root.as_ref().expect("it is taken only by drop").path()
    }

    /// A path below [`Env::root`].
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root().join(name)
    }

    /// The data directory; `proa` makes it.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Makes a folder the user owns.
    pub fn make_dir(&self, path: &Path) {
        fs::create_dir_all(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        self.own(path);
    }

    /// Writes a file the user owns, below [`Env::root`].
    pub fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        self.own(&path);
        path
    }

    /// Gives a path to the user.
    pub fn own(&self, path: &Path) {
        chown(path, Some(self.account.uid), Some(self.account.gid))
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// A copy of `proa` the user can write to: what an attacker in a container would like to overwrite.
    pub fn own_proa(&self) -> PathBuf {
        let copy = self.path("proa");
        fs::copy(binaries::proa(), &copy).expect("the test's folder is ours");
        self.own(&copy);
        copy
    }

    /// A run of `proa` with these arguments after `--dir`; nothing starts yet.
    pub fn proa<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Proa<'_> {
        let dir = [OsString::from("--dir"), self.data().into()];
        let args = dir.into_iter().chain(args.into_iter().map(|it| it.as_ref().to_owned())).collect();
        self.command(binaries::proa(), args)
    }

    /// `proa run` of one unsigned image with more arguments.
    pub fn run(&self, image: &Path, more: &[&str]) -> Proa<'_> {
        let fixed = ["--insecure-options=image", "run", "--net=none"].map(OsStr::new);
        self.proa(fixed.into_iter().chain([image.as_os_str()]).chain(more.iter().map(OsStr::new)))
    }

    /// Any program as this user in this environment.
    pub fn command(&self, program: impl Into<OsString>, args: Vec<OsString>) -> Proa<'_> {
        Proa {
            env: self,
            program: program.into(),
            args,
            root_wrapper: vec![],
            wrapper: vec![],
            vars: vec![],
            stdin: None,
        }
    }

    /// Folders other than the data directory in which nothing may be left.
    fn temporary(&self) -> Vec<PathBuf> {
        vec![self.path("tmp")]
    }

    /// Asserts now what drop asserts later.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        self.before.assert_as_before(&self.data(), &self.temporary(), slowed(Duration::from_secs(5)));
    }
}

impl Drop for Env {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_nothing_left();
        }
        let root = self.root.take().expect("drop runs once").keep();
        if fs::remove_dir_all(&root).is_err() {
            // Trees hold files of subordinate ids, which only root of a namespace with the range can remove.
            let remove = ["--user", "--map-root-user", "--map-auto", "rm", "-rf", "--"];
            let _ = Command::new("unshare").args(remove).arg(&root).status();
        }
    }
}

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
    stdin: Option<Stdio>,
}

impl Proa<'_> {
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
        self.stdin = Some(stdin.into());
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
        let mut running = self.stdin(Stdio::piped()).start();
        let mut pipe = running.child.stdin.take().expect("it is piped");
        // A program that ends without reading all is no fault of the test's.
        let _ = pipe.write_all(input);
        drop(pipe);
        running.wait()
    }

    /// Starts it.
    pub fn start(self) -> Running {
        let Account { uid, gid, .. } = self.env.account;
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
        command.env("XDG_RUNTIME_DIR", self.env.path("run")).env("USER", &self.env.account.name);
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
        command.stdin(self.stdin.unwrap_or_else(Stdio::null)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let shown = line.iter().map(|it| it.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{shown}: {e}"));
        let stdout = reader(child.stdout.take().expect("it is piped"));
        let stderr = reader(child.stderr.take().expect("it is piped"));
        Running { child, command: shown, stdout, stderr, seen: String::new() }
    }
}

/// A `proa` that has been started.
#[derive(Debug)]
pub struct Running {
    child: Child,
    command: String,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
    seen: String,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("process ids are below 2^22")
    }

    /// Sends it a signal.
    pub fn kill(&self, signal: rustix::process::Signal) {
        assert!(process::kill(self.pid(), signal), "{} is gone", self.command);
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
        drop(self.child.stdin.take());
        let deadline = std::time::Instant::now() + limit();
        let status = loop {
            match self.child.try_wait().expect("it is our child") {
                Some(status) => break status,
                None if std::time::Instant::now() > deadline => {
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
fn reader(pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) && sender.send(std::mem::take(&mut line)).is_ok() {
        }
    });
    receiver
}

/// The right to have environments. Tests that share a process (cargo test) take turns, because a snapshot cannot tell
/// their processes apart; with nextest each has a process of its own and nobody waits. One thread may have several.
#[derive(Debug)]
struct Turn(Option<MutexGuard<'static, ()>>);

static TURNS: Mutex<()> = Mutex::new(());

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
}

impl Turn {
    fn take() -> Self {
        let first = HELD.replace(HELD.get() + 1) == 0;
        Self(first.then(|| TURNS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        HELD.set(HELD.get() - 1);
        self.0.take();
    }
}
