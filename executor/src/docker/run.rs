//! `docker run`: a pod of one app.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use rustix::fs::{Mode, OFlags, open};

use super::container;
use super::health_option::HealthArgs;
use super::limit_option::LimitArgs;
use super::network_option::NetworkArgs;
use super::noted_option::NotedArgs;
use super::protection_option::ProtectionArgs;
use super::volume_option::MountArgs;
use crate::context::Context;
use crate::error::{CommandError, Explain as _};
use crate::launch::{self, Launched};
use crate::userns::Userns;
use crate::{detach_keys, dry_run, output, sealed};

mod request;

pub(super) use request::{of as request, restart, said, split_user};

/// Create and run a new container from an image
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct RunArgs {
    /// Run container in background and print container ID
    #[arg(long, short)]
    detach: bool,

    /// Keep STDIN open even if not attached
    #[arg(long, short)]
    interactive: bool,

    /// Allocate a pseudo-TTY; with --interactive only if standard input is a terminal
    #[arg(long, short)]
    tty: bool,

    /// Automatically remove the container when it exits
    #[arg(long)]
    rm: bool,

    /// Set environment variables
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    env: Vec<String>,

    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,

    #[command(flatten)]
    mounts: MountArgs,

    /// Assign a name to the container
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(long, short, value_name = "USER")]
    user: Option<String>,

    /// Add additional groups to join: names of the image's /etc/group, or numbers
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,

    /// Working directory inside the container
    #[arg(long, short, value_name = "DIR")]
    workdir: Option<String>,

    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long, value_name = "PATH")]
    entrypoint: Option<String>,

    /// Container host name
    #[arg(long, short = 'h', value_name = "NAME")]
    hostname: Option<String>,

    #[command(flatten)]
    network: NetworkArgs,

    /// Set meta data on the container
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    label: Vec<String>,

    /// Read in a line delimited file of labels
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,

    /// Add an annotation to the container
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<String>,

    /// Suppress the pull output
    #[arg(long, short)]
    quiet: bool,

    /// Mount the container's root filesystem as read only
    #[arg(long)]
    read_only: bool,

    /// Add a host device to the container: /dev/NAME[:/dev/NAME]
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,

    #[command(flatten)]
    limits: LimitArgs,

    /// Size of /dev/shm: a number with b, k, m or g
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<String>,

    /// Resource limits: nofile=1024:4096, core=0, memlock=-1
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,

    /// Number of processes that the container may have; -1 for as many as usual
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<String>,

    #[command(flatten)]
    protection: ProtectionArgs,

    #[command(flatten)]
    health: HealthArgs,

    #[command(flatten)]
    noted: NotedArgs,

    /// Signal to stop the container
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,

    /// Seconds that the container has to stop before it is killed; -1 is for ever [default: 10]
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    stop_timeout: Option<String>,

    /// Restart policy to apply when the container exits: no, on-failure[:N], always, unless-stopped
    #[arg(long, value_name = "POLICY", default_value = "no")]
    restart: String,

    /// Write the container ID to the file
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,

    /// Pull image before running
    #[arg(long, value_name = "POLICY", default_value = "missing")]
    pull: Pull,

    /// User namespace to use: keep-id makes the container's user you
    #[arg(long, value_name = "MODE")]
    userns: Option<Userns>,

    /// Override the key sequence for detaching a container: ctrl-p,ctrl-q
    #[arg(long, value_name = "KEYS", default_value = "", hide_default_value = true)]
    detach_keys: String,

    /// Run an init inside the container, which is always done
    #[arg(long)]
    init: bool,

    /// Print the reified pod manifest, and the whole command, instead of running the container
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Print usage
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,

    /// The image, and what it is to execute instead of its CMD
    #[arg(value_name = "IMAGE [COMMAND] [ARG...]", required = true, num_args = 1.., trailing_var_arg = true)]
    words: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Pull {
    Always,
    Missing,
    Never,
}

pub(crate) fn run(context: &Context, args: RunArgs) -> Result<u8, CommandError> {
    let (dry_run, detach) = (args.dry_run, args.detach);
    let passes_input = args.interactive;
    detach_keys::choose(&args.detach_keys)?;
    let wanted = request::of(context, args)?;
    if dry_run {
        return dry_run::print(context, wanted.pod);
    }
    sealed::ensure()?;
    if !passes_input && !detach {
        // Without -i a container reads nothing: the input is for whatever runs after docker.
        let null = open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).during(|| "/dev/null".into())?;
        rustix::stdio::dup2_stdin(null)?;
    }
    let prepared = wanted.prepared(context)?;
    let uuid = launch::uuid()?;
    let launched = launch::run_as(context, uuid, prepared);
    // Whose command cannot be executed is there as well: scripts remove it by what is printed.
    let is_there = || context.pods().is_ok_and(|pods| pods.find(&uuid.to_string()).is_ok());
    if detach && (launched.is_ok() || is_there()) {
        output::write(&format!("{}\n", container::id(uuid)))?;
    }
    launched.map(|launched| match launched {
        Launched::Ended(status) => status,
        Launched::Detached(_) => 0,
    })
}
