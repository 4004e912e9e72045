//! The images of a command line, and the options of each.

use std::ffi::OsString;
use std::path::PathBuf;

use appc::{Mount, Volume};
use clap::error::ErrorKind;
use clap::{Args, Command, FromArgMatches};

use super::misplaced::misplaced_after;
use crate::annotations::Remarks;
use crate::app_isolators::IsolatorArgs;
use crate::app_streams::StreamArgs;
use crate::error::CommandError;
use crate::request::{self, AppRequest};
use crate::split::{self, ImageWords};
use crate::{cli, devices, environment, go_flags};

// What may stand after an image. (A doc comment would become help text; help is printed for a command as a whole.)
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "App options, after an image")]
struct AppArgs {
    /// Name the app [default: the last part of the image's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Check the ACI file with this signature [default: the one beside it, FILE.aci.asc]
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,

    /// Run this executable instead of the image's
    #[arg(long, value_name = "PATH")]
    exec: Option<String>,

    /// Set an environment variable; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    environment: Vec<String>,

    /// Run as this user: a name, a number, or a path in the image whose owner is meant
    #[arg(long, value_name = "USER")]
    user: Option<String>,

    /// Run as this group: a name, a number, or a path in the image whose group is meant
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,

    /// Be in these groups too, and not in the image's further ones
    #[arg(long, value_name = "GID,...")]
    supplementary_gids: Option<String>,

    /// Start in this directory of the image
    #[arg(long, value_name = "DIR")]
    working_dir: Option<String>,

    /// Make the app's root file system read-only; volumes stay writable
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    readonly_rootfs: Option<bool>,

    /// Mount a volume of the pod: volume=NAME,target=PATH
    #[arg(long, value_name = "MOUNT")]
    mount: Vec<String>,

    /// Give the app a device of the host that you may open: /dev/NAME[:/dev/NAME]
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,

    #[command(flatten)]
    streams: StreamArgs,

    #[command(flatten)]
    isolators: IsolatorArgs,

    /// Annotate the app, over the image's annotations
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<String>,

    /// Annotate the app for whoever runs it; any name will do
    #[arg(long, value_name = "NAME=VALUE")]
    user_annotation: Vec<String>,

    /// Label the app for whoever runs it
    #[arg(long, value_name = "NAME=VALUE")]
    user_label: Vec<String>,
}

/// The apps of the images with their options; `everywhere` is mounted in each.
///
/// # Errors
///
/// What was typed makes no sense.
pub(crate) fn apps(
    command: &str,
    images: Vec<OsString>,
    everywhere: &[Mount],
    volumes: &mut Vec<Volume>,
) -> Result<Vec<AppRequest>, CommandError> {
    // Most lines have no option after an image: the parser for those is made when the first one turns up.
    let mut parser = None;
    let images = split::split(images, |flag| takes_value(parser.get_or_insert_with(app_command), flag))
        .map_err(|error| CommandError::usage(error.to_string()).hint(format!("see `proa {command} --help`")))?;
    images.into_iter().map(|words| app(command, words, everywhere, volumes)).collect()
}

/// One image's words as a request.
fn app(
    command: &str,
    words: ImageWords,
    everywhere: &[Mount],
    volumes: &mut Vec<Volume>,
) -> Result<AppRequest, CommandError> {
    let args = if words.flags.is_empty() { AppArgs::default() } else { app_args(command, &words.flags)? };
    let mut mounts = everywhere.to_vec();
    mounts.extend(request::mounts(&args.mount)?);
    for device in devices::parse(&args.device)? {
        mounts.push(devices::mount(&device, volumes)?);
    }
    for (option, given) in [("--user", &args.user), ("--group", &args.group)] {
        if given.as_deref() == Some("") {
            return Err(CommandError::usage(format!("{option}=\"\": it must not be empty"))
                .hint("give a name, a number, or a path in the image; without the option the image's counts"));
        }
    }
    let mut remarks = Remarks::parse(&args.annotation, &args.user_annotation, &args.user_label)?;
    args.streams.annotate(&mut remarks.annotations)?;
    Ok(AppRequest {
        image: request::image(&words.image)?,
        signature: args.signature,
        name: args.name.as_deref().map(request::app_name).transpose()?,
        exec: args.exec,
        args: words.args.map(request::args).transpose()?,
        environment: environment::parse("--environment", &args.environment)?,
        user: args.user,
        group: args.group,
        supplementary_gids: args.supplementary_gids.as_deref().map(request::gids).transpose()?,
        working_directory: args.working_dir.map(request::working_directory).transpose()?,
        read_only_root: args.readonly_rootfs.unwrap_or_default(),
        mounts,
        seccomp_profile: args.isolators.seccomp_profile()?,
        isolators: args.isolators.isolators()?,
        remarks,
    })
}

fn app_args(command: &str, flags: &[OsString]) -> Result<AppArgs, CommandError> {
    let parse = |command: Command| command.no_binary_name(true).try_get_matches_from(flags);
    // A second time for values of switches as rkt takes them.
    let parsed = parse(app_command()).or_else(|_| parse(go_flags::switches_with_values(app_command())));
    let matches = parsed.map_err(|error| {
        if error.kind() == ErrorKind::DisplayHelp {
            return cli::help(command);
        }
        misplaced_after(&error).unwrap_or_else(|| cli::usage(error))
    })?;
    AppArgs::from_arg_matches(&matches).map_err(cli::usage)
}

/// The parser of what stands after an image.
pub(super) fn app_command() -> Command {
    AppArgs::augment_args(Command::new("run").override_usage("proa run [OPTIONS] IMAGE [APP OPTIONS] [-- ARGS...]"))
}

/// Whether the word after this flag is the flag's value.
fn takes_value(command: &Command, flag: &str) -> bool {
    command.get_arguments().any(|arg| {
        // A value that only `=` gives, as in --readonly-rootfs=false, is no word of its own.
        let takes = arg.get_action().takes_values() && !arg.is_require_equals_set();
        takes && arg.get_long().is_some_and(|long| flag.strip_prefix("--") == Some(long))
    })
}
