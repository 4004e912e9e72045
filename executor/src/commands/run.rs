//! `proa run`: runs a pod to its end.

use std::ffi::OsString;
use std::path::PathBuf;

use appc::{Mount, Volume};
use clap::error::ErrorKind;
use clap::{Args, Command, FromArgMatches};
use pod::PodName;

use crate::cli;
use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::CommandError;
use crate::pull_policy::{PullArgs, PullPolicy};
use crate::request::{self, AppRequest, Lifecycle, PodRequest};
use crate::sealed;
use crate::split::{self, ImageWords};
use crate::{devices, launch, prepare};

/// Run a pod of one or more images and wait for it to end
///
/// The exit status is 0 if every app succeeds, else that of the first app that fails (128+N for signal N); 126 and 127
/// if an app's executable cannot be executed or is not there; 254 if proa itself fails. The pod is removed when it has
/// ended, unless --keep is given.
#[derive(Debug, Args)]
#[command(override_usage = "proa [GLOBAL OPTIONS] run [OPTIONS] IMAGE [APP OPTIONS] [-- ARGS...] [--- IMAGE...]")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    life: LifeArgs,

    /// Keep the pod after it has ended, for `proa list` and `proa gc`
    #[arg(long, conflicts_with = "rm")]
    keep: bool,

    /// Remove the pod when it has ended, which is what happens without --detach
    #[arg(long)]
    rm: bool,

    #[command(flatten)]
    pod: PodArgs,
}

/// What a pod consists of.
#[derive(Debug, Args)]
pub(crate) struct PodArgs {
    #[command(flatten)]
    options: PodOptions,

    #[command(flatten)]
    pull: PullArgs,

    /// Each image with its options: `hello`, docker://NAME, FILE.aci, oci:DIR[:REF], or the ID or name of a stored image
    ///
    /// Options after an image are that image's. The words after `--` are appended to the command of an ACI and replace
    /// the CMD of an OCI image; `---` ends them.
    #[arg(value_name = "IMAGE", required = true, num_args = 1.., trailing_var_arg = true)]
    images: Vec<OsString>,
}

/// What belongs to a pod as a whole.
#[derive(Debug, Args)]
pub(crate) struct PodOptions {
    /// Give the pod a unique name; this is its host name too
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Choose the pod's networks; `none` is the loopback interface alone
    #[arg(long, value_name = "NETS", num_args = 0..=1, require_equals = true, default_missing_value = "default")]
    net: Option<String>,

    /// Declare a volume: NAME,kind=host,source=PATH[,readOnly=BOOL][,recursive=BOOL] or
    /// NAME,kind=empty[,mode=MODE][,uid=UID][,gid=GID]
    ///
    /// It is mounted where an image has a mount point of its name, and where --mount says.
    #[arg(long, value_name = "VOLUME")]
    volume: Vec<String>,

    /// Mount a volume in every app: volume=NAME,target=PATH
    #[arg(long, value_name = "MOUNT")]
    mount: Vec<String>,

    /// Give every app a device of the host that you may open: /dev/NAME[:/dev/NAME]
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,

    /// Follow symbolic links in the sources of volumes, which are refused else
    #[arg(long)]
    follow_symlinks: bool,
}

/// How a pod lives.
#[derive(Debug, Args)]
pub(crate) struct LifeArgs {
    /// Print the pod's UUID when its apps are being started, and leave it to a supervisor of its own
    ///
    /// The apps' output goes to logs (`proa logs`). The pod is kept after it has ended, unless --rm is given.
    #[arg(long)]
    detach: bool,

    /// Give the app a terminal if this is one, else standard input until its end; for a pod of one app
    #[arg(long, conflicts_with = "detach")]
    interactive: bool,

    /// Start apps again that have ended: no, on-failure, on-failure:N, always
    #[arg(long, value_name = "POLICY", default_value = "no", hide_default_value = true)]
    restart: String,
}

impl LifeArgs {
    /// What they mean for a pod that is kept if it is detached.
    ///
    /// # Errors
    ///
    /// An unknown policy.
    pub(crate) fn lifecycle(&self) -> Result<Lifecycle, CommandError> {
        let restart = request::restart(&self.restart)?;
        let (detach, interactive) = (self.detach, self.interactive);
        Ok(Lifecycle { detach, interactive, keep: detach, restart, ..Lifecycle::default() })
    }
}

// What may stand after an image. (A doc comment would become help text; help is printed for `run` as a whole.)
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
}

const EXAMPLES: &str = "\
Examples:
  proa run hello
  proa run --volume data,kind=host,source=/srv/data oci:layout:v1 --mount volume=data,target=/data
  proa --insecure-options=image run ./busybox.aci --exec /bin/busybox -- uname -a
  proa run --name web oci:layout:v1 --user www-data -- --port 8080 --- ./sidecar.aci --name logs";

/// Adds the options that stand after an image to the help text.
pub(crate) fn explain(command: Command) -> Command {
    explain_apps(command, EXAMPLES)
}

/// As [`explain`], for another command that takes images.
pub(crate) fn explain_apps(command: Command, examples: &str) -> Command {
    let apps = app_command().disable_help_flag(true).help_template("{all-args}").render_long_help();
    command.after_long_help(format!("{apps}\n\n{examples}"))
}

pub(crate) fn run(context: &Context, args: RunArgs) -> Result<u8, CommandError> {
    let request = request(args)?;
    tell_what_has_no_effect(context);
    // Before any work that a second execution would repeat.
    sealed::ensure()?;
    launch::run(context, prepare::pod(context, request)?)
}

/// Says which of the options for less safety are not heeded.
pub(crate) fn tell_what_has_no_effect(context: &Context) {
    let without_effect = context.insecure.protections_of_apps();
    if !without_effect.is_empty() {
        warn(&format!("--insecure-options={} has no effect: these protections stay on", without_effect.join(",")));
    }
}

/// What was typed as what it means.
fn request(args: RunArgs) -> Result<PodRequest, CommandError> {
    let lifecycle = args.life.lifecycle()?;
    let lifecycle = Lifecycle { keep: args.keep || (lifecycle.keep && !args.rm), ..lifecycle };
    pod_request(args.pod, lifecycle)
}

/// The pod that is meant, to live like this.
///
/// # Errors
///
/// What was typed makes no sense.
pub(crate) fn pod_request(args: PodArgs, lifecycle: Lifecycle) -> Result<PodRequest, CommandError> {
    let (name, mut volumes, follow_symlinks, everywhere) = args.options.parse()?;
    let apps = apps(args.images, &everywhere, &mut volumes)?;
    let policy = args.pull.policy(PullPolicy::New)?;
    Ok(PodRequest { name, policy, lifecycle, volumes, follow_symlinks, apps })
}

/// The pod's name and volumes, whether links in their sources are followed, and what is mounted in every app.
type Parsed = (Option<PodName>, Vec<Volume>, bool, Vec<Mount>);

impl PodOptions {
    /// What was typed as what it means.
    ///
    /// # Errors
    ///
    /// It makes no sense.
    pub(crate) fn parse(self) -> Result<Parsed, CommandError> {
        if let Some(net) = self.net.filter(|net| net != "none") {
            return Err(CommandError::usage(format!("--net={net} is not supported yet"))
                .hint("leave --net out or give --net=none: the pod then has its own loopback interface and no other"));
        }
        let mut volumes = request::volumes(&self.volume)?;
        let mut everywhere = request::mounts(&self.mount)?;
        for device in devices::parse(&self.device)? {
            everywhere.push(devices::mount(&device, &mut volumes)?);
        }
        let name = self.name.map(|name| name.parse().map_err(|e| CommandError::usage(format!("--name: {e}"))));
        Ok((name.transpose()?, volumes, self.follow_symlinks, everywhere))
    }
}

/// The apps of the images with their options; `everywhere` is mounted in each.
///
/// # Errors
///
/// What was typed makes no sense.
pub(crate) fn apps(
    images: Vec<OsString>,
    everywhere: &[Mount],
    volumes: &mut Vec<Volume>,
) -> Result<Vec<AppRequest>, CommandError> {
    // Most lines have no option after an image: the parser for those is made when the first one turns up.
    let mut parser = None;
    let images = split::split(images, |flag| takes_value(parser.get_or_insert_with(app_command), flag))
        .map_err(|error| CommandError::usage(error.to_string()).hint("see `proa run --help`"))?;
    images.into_iter().map(|words| app(words, everywhere, volumes)).collect()
}

/// One image's words as a request.
fn app(words: ImageWords, everywhere: &[Mount], volumes: &mut Vec<Volume>) -> Result<AppRequest, CommandError> {
    let args = if words.flags.is_empty() { AppArgs::default() } else { app_args(&words.flags)? };
    let mut mounts = everywhere.to_vec();
    mounts.extend(request::mounts(&args.mount)?);
    for device in devices::parse(&args.device)? {
        mounts.push(devices::mount(&device, volumes)?);
    }
    Ok(AppRequest {
        image: request::image(&words.image)?,
        name: args.name.as_deref().map(request::app_name).transpose()?,
        exec: args.exec,
        args: words.args.map(request::args).transpose()?,
        environment: request::environment(&args.environment)?,
        user: args.user,
        group: args.group,
        signature: args.signature,
        working_directory: args.working_dir.map(request::working_directory).transpose()?,
        read_only_root: args.readonly_rootfs.unwrap_or_default(),
        mounts,
    })
}

fn app_args(flags: &[OsString]) -> Result<AppArgs, CommandError> {
    let matches = app_command()
        .no_binary_name(true)
        .try_get_matches_from(flags)
        .map_err(|error| if error.kind() == ErrorKind::DisplayHelp { cli::help("run") } else { cli::usage(error) })?;
    AppArgs::from_arg_matches(&matches).map_err(cli::usage)
}

/// The parser of what stands after an image.
fn app_command() -> Command {
    AppArgs::augment_args(Command::new("run").override_usage("proa run [OPTIONS] IMAGE [APP OPTIONS] [-- ARGS...]"))
}

/// Whether the word after this flag is the flag's value.
fn takes_value(command: &mut Command, flag: &str) -> bool {
    command.get_arguments().any(|arg| {
        arg.get_action().takes_values() && arg.get_long().is_some_and(|long| flag.strip_prefix("--") == Some(long))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    /// What a line asks for, the name of the program and of the subcommand left out.
    fn asked(line: &str) -> Result<PodRequest, CommandError> {
        let argv: Vec<OsString> = format!("proa run {line}").split(' ').map(OsString::from).collect();
        request(cli::typed(&cli::parse(&argv)?.matches)?)
    }

    /// The same as one line: pod name, then for each app image, name, exec, arguments.
    fn shown(line: &str) -> String {
        let request = asked(line).unwrap_or_else(|error| panic!("{line}: {}", error.report(None)));
        let name = |name: Option<&dyn std::fmt::Display>| name.map_or("-".to_owned(), ToString::to_string);
        let mut text = name(request.name.as_ref().map(|n| n as _));
        for app in &request.apps {
            let args = app.args.as_ref().map_or("-".to_owned(), |args| format!("{args:?}"));
            let exec = app.exec.as_deref().unwrap_or("-");
            text += &format!(" | {} {} {exec} {args}", app.image, name(app.name.as_ref().map(|n| n as _)));
        }
        text
    }

    #[test]
    fn lines() {
        for (line, expected) in [
            ("hello", "- | hello - - -"),
            ("--name web hello --name app", "web | hello app - -"),
            ("--net=none --keep hello", "- | hello - - -"),
            ("hello -- --name x", "- | hello - - [\"--name\", \"x\"]"),
            ("a.aci --exec /bin/x b.aci -- y", "- | a.aci - /bin/x - | b.aci - - [\"y\"]"),
            ("a.aci -- x --- b.aci --name=b -- y z", "- | a.aci - - [\"x\"] | b.aci b - [\"y\", \"z\"]"),
            ("a.aci -- -- x", "- | a.aci - - [\"--\", \"x\"]"),
            ("-- hello", "- | hello - - -"),
        ] {
            assert_eq!(shown(line), expected, "{line}");
        }
    }

    #[test]
    fn options_belong_to_the_image_before_them() {
        let request = asked(
            "--keep a.aci --user u --group 5 --working-dir /w --environment A=1 --environment B=2 b.aci --user v",
        )
        .unwrap();
        assert!(request.lifecycle.keep);
        let [first, second] = request.apps.as_slice() else { panic!("{request:?}") };
        assert_eq!((first.user.as_deref(), first.group.as_deref()), (Some("u"), Some("5")));
        assert_eq!(first.working_directory.as_deref(), Some("/w"));
        assert_eq!(first.environment, [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())]);
        assert_eq!((second.user.as_deref(), second.environment.len()), (Some("v"), 0));
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error_that_names_it() {
        for (line, named) in [
            ("--net=host hello", "--net=host is not supported yet"),
            ("--net hello", "--net=default is not supported yet"),
            ("--name a/b hello", "\"a/b\""),
            ("hello --name A", "--name=\"A\""),
            ("hello --environment AC_APP_NAME=x", "AC_APP_NAME=x"),
            ("hello --working-dir tmp", "\"tmp\""),
            ("hello --bogus", "--bogus"),
            ("hello --keep", "--keep"),
            ("--exec /bin/sh hello", "--exec"),
            ("hello --user", "--user"),
            ("hello --- --user x", "--user"),
            ("containers-storage:redis", "containers-storage:"),
        ] {
            let error = asked(line).unwrap_err();
            assert_eq!(error.kind, Kind::Usage, "{line}");
            assert!(error.report(None).contains(named), "{line}: {}", error.report(None));
        }
    }

    #[test]
    fn help_after_an_image_is_the_help_of_run() {
        let help = |line| asked(line).unwrap_err().report(None);
        assert!(help("hello --help").contains("App options, after an image"));
        assert_eq!(help("hello --help"), help("--help"));
    }
}
