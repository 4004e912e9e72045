//! `docker exec`: executes a command in a running container.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;
use pod::State;
use rustix::fs::{Mode, OFlags, open};
use stage1::EnterSpec;

use super::container;
use super::run::{said, split_user};
use super::variable_option::variables;
use crate::commands::enter;
use crate::context::Context;
use crate::environment::PodEnvironment;
use crate::error::{CommandError, Explain as _, Kind};
use crate::launch::TERM;
use crate::request;

/// Execute a command in a running container
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Keep STDIN open even if not attached
    #[arg(long, short, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    interactive: Option<bool>,

    /// Allocate a pseudo-TTY; with --interactive only if standard input is a terminal
    #[arg(long, short, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    tty: Option<bool>,

    /// Detached mode: run command in the background
    #[arg(long, short, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    detach: Option<bool>,

    /// Override the key sequence for detaching: a command ends with its `exec`, which no keys let go of
    #[arg(long, value_name = "KEYS", hide = true)]
    detach_keys: Option<String>,

    /// Give extended privileges to the command, which cannot be had
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    privileged: Option<bool>,

    /// Set environment variables
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    env: Vec<String>,

    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,

    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(long, short, value_name = "USER")]
    user: Option<String>,

    /// Working directory inside the container
    #[arg(long, short, value_name = "DIR")]
    workdir: Option<String>,

    /// The container, and the command with its arguments
    #[arg(value_name = "CONTAINER COMMAND [ARG...]", required = true, num_args = 2.., trailing_var_arg = true)]
    words: Vec<OsString>,
}

pub(crate) fn run(context: &Context, args: ExecArgs) -> Result<u8, CommandError> {
    if args.privileged == Some(true) {
        return Err(CommandError::failed("--privileged: a command has the container's rights and no more")
            .hint("make the container with what it needs: --cap-add, --device, --security-opt"));
    }
    let pods = context.pods()?;
    let mut words = request::args(args.words)?.into_iter();
    let entry = container::find(&pods, &words.next().unwrap_or_default())?;
    if entry.state != State::Running {
        return Err(CommandError::failed(format!("container {} is not running", container::id(entry.uuid))));
    }
    let interactive = args.interactive == Some(true);
    let tty = args.tty == Some(true) && (!interactive || std::io::stdin().is_terminal());
    let environment = PodEnvironment::gather_as_docker(&args.env_file, &variables(&args.env)?)?;
    let (user, group) = split_user(args.user);
    let mut environment = environment.given;
    if tty && !environment.iter().any(|(name, _)| name == "TERM") {
        environment.push(("TERM".to_owned(), TERM.to_owned()));
    }
    let spec = EnterSpec {
        exec: words.collect(),
        environment,
        working_directory: args.workdir.and_then(said).map(request::working_directory).transpose()?,
        user,
        group,
        terminal: None,
    };
    if !interactive {
        let null = open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).during(|| "/dev/null".into())?;
        rustix::stdio::dup2_stdin(null)?;
    }
    let entered = match args.detach == Some(true) {
        true => enter::start(&pods, &entry, spec).map(|()| 0),
        false => enter::enter(&pods, &entry, None, spec, Some(tty)),
    };
    entered.map_err(|mut error| {
        // docker's daemon looks for the user itself, its runtime for the directory: that is as a program which is not there.
        error.kind = match error.kind {
            Kind::NoUser => Kind::NotExecutable,
            Kind::NoDirectory => Kind::NotFound,
            kind => kind,
        };
        match error.kind {
            Kind::NotFound | Kind::NotExecutable => error.during("OCI runtime exec failed"),
            _ => error,
        }
    })
}
