//! `proa enter`: executes something in an app of a running pod.

use std::ffi::OsString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use clap::Args;
use pod::{PodEntry, Pods};
use rustix::process::Signal;
use rustix::stdio::{stderr, stdin, stdout};
use stage1::EnterSpec;
use stage1::protocol::{Call, End, Reply};
use sys::signal::Block;

use crate::cgroup;
use crate::client::Client;
use crate::context::Context;
use crate::error::CommandError;
use crate::relay::{self, RawTerminal, Streams};
use crate::{app_argument, environment, pod_argument, request};

/// Execute a command in an app of a running pod
///
/// The command has the app's namespaces, root, user, environment, capabilities, limits and system call filter: no more
/// rights than the app itself. Without a command it is /bin/bash, or /bin/sh where there is none. On a terminal the
/// command gets one of its own. The exit status is the command's (128+N for signal N).
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  proa enter web\n  proa enter --app nginx web nginx -t\n  proa enter web sh -c 'env | sort'"
)]
pub(crate) struct EnterArgs {
    /// Enter this app [default: the only one]
    #[arg(long, value_name = "NAME")]
    app: Option<String>,

    /// Give the command a terminal, or none [default: if this is one]
    #[arg(long, short, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tty: Option<bool>,

    /// Pass standard input to the command, which is always done
    #[arg(long, short, hide = true)]
    interactive: bool,

    /// Set an environment variable; may be given several times
    #[arg(long, short, visible_alias = "env", value_name = "NAME=VALUE")]
    environment: Vec<String>,

    /// Execute it as this user instead of the app's
    #[arg(long, short, value_name = "USER")]
    user: Option<String>,

    /// Execute it as this group
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,

    /// Start it in this directory of the image
    #[arg(long, short, visible_alias = "workdir", value_name = "DIR")]
    working_dir: Option<String>,

    /// Enter the pod whose UUID is in FILE
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,

    /// The pod, unless --uuid-file names it, and the command with its arguments
    #[arg(value_name = "POD COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

pub(crate) fn run(context: &Context, args: EnterArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let mut words = request::args(args.words)?.into_iter();
    let entry = match &args.uuid_file {
        Some(_) => pod_argument::one(&pods, None, args.uuid_file.as_ref())?,
        None => pod_argument::one(&pods, words.next().as_ref(), None)?,
    };
    let spec = EnterSpec {
        exec: command(words),
        environment: environment::parse("--environment", &args.environment)?,
        working_directory: args.working_dir.map(request::working_directory).transpose()?,
        user: args.user,
        group: args.group,
        terminal: None,
    };
    let is_option = spec.exec.first().is_some_and(|word| word.starts_with('-'));
    let entered = enter(&pods, &entry, args.app, spec, args.tty);
    if is_option { entered.map_err(|error| error.hint("options of enter stand before the pod")) } else { entered }
}

/// The words after the pod: `--` may stand before them, as before the arguments of `proa run`.
pub(crate) fn command(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut words = words.peekable();
    words.next_if(|word| word == "--");
    words.collect()
}

/// Executes what `spec` says, in the app or in the only one, with a terminal if that is wanted or there is one.
///
/// # Errors
///
/// The pod is not running, has no such app, or the command cannot be executed.
pub(crate) fn enter(
    pods: &Pods,
    entry: &PodEntry,
    app: Option<String>,
    mut spec: EnterSpec,
    tty: Option<bool>,
) -> Result<u8, CommandError> {
    let mut client = Client::connect(pods, entry)?;
    let app = match app {
        Some(app) => app,
        None => only_app(&mut client)?,
    };
    if tty.unwrap_or_else(relay::is_interactive) {
        spec.terminal = Some(relay::size());
        if !spec.environment.iter().any(|(name, _)| name == "TERM") {
            let term = std::env::var("TERM").unwrap_or_else(|_| "vt100".to_owned());
            spec.environment.push(("TERM".to_owned(), term));
        }
    }
    if !spec.exec.is_empty() {
        return execute(client, app, spec);
    }
    // Whether the image has a better shell is known when it has been tried.
    let shell = |path: &str| EnterSpec { exec: vec![path.to_owned()], ..spec.clone() };
    match execute(client, app.clone(), shell("/bin/bash")) {
        Err(error) if error.kind == crate::error::Kind::NotFound => {
            execute(Client::connect(pods, entry)?, app, shell("/bin/sh"))
        }
        result => result,
    }
}

/// Executes what `spec` says in the only app, without streams, and does not wait for its end.
///
/// # Errors
///
/// As [`enter`].
pub(crate) fn start(pods: &Pods, entry: &PodEntry, spec: EnterSpec) -> Result<(), CommandError> {
    let mut client = Client::connect(pods, entry)?;
    let app = only_app(&mut client)?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let call = Call::Enter { app, stays: true, spec };
    // Said when the program is executed. Supervisors of before said it earlier.
    let (Reply::Started, _) = client.ask(call, &[null.as_fd(), null.as_fd(), null.as_fd()])? else {
        return Err(client.gone());
    };
    Ok(())
}

fn only_app(client: &mut Client) -> Result<String, CommandError> {
    let Reply::Status(report) = client.ask(Call::Status, &[])?.0 else { return Err(client.gone()) };
    cgroup::refuse_frozen(&report)?;
    Ok(app_argument::only(&report.apps, |app| &app.name)?.name.clone())
}

fn execute(mut client: Client, app: String, spec: EnterSpec) -> Result<u8, CommandError> {
    // Before the process exists: nothing that is sent to this one shall be lost.
    let watched = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::WINCH];
    let signals = sys::signal::watch(&watched.map(Signal::as_raw), Block::Watched)?;
    let terminal = spec.terminal.is_some();
    let call = Call::Enter { app, stays: false, spec };
    let streams = [stdin(), stdout(), stderr()];
    let (reply, fds) = client.ask(call, if terminal { &[] } else { &streams })?;
    let Reply::Started = reply else { return Err(client.gone()) };
    let mut streams = Streams::default();
    let raw = match fds.into_iter().next() {
        Some(outer) => {
            let input: OwnedFd = outer.try_clone()?;
            // What is entered ends with this command: nothing lets go of it.
            streams = Streams { input: Some(input), output: Some(outer), terminal: true, ..Streams::default() };
            Some(RawTerminal::enter())
        }
        None => None,
    };
    loop {
        if !client.has_more() {
            let hand_on = |signal| client.say(Call::Forward { signal }, &[]);
            streams.relay(client.as_fd(), &signals, hand_on)?;
        }
        let Some((reply, _)) = client.hear()? else {
            // The pod has ended, and the kernel has killed with it whatever ran there.
            drop(raw);
            return Ok(status(End::Signal(Signal::KILL.as_raw())));
        };
        if let Reply::Exited(end) = reply {
            streams.drain()?;
            return Ok(status(end));
        }
    }
}

/// The exit status of a process as a byte.
fn status(end: End) -> u8 {
    u8::try_from(end.status()).unwrap_or(u8::MAX)
}
