//! `proa run`: runs a pod to its end.

use clap::{Args, Command};

use crate::context::Context;
use crate::error::CommandError;
use crate::pod_line::{self, LifeArgs, PodArgs};
use crate::prepare::Begin;
use crate::request::{Lifecycle, PodRequest};
use crate::sealed;
use crate::{dry_run, launch, prepare};

/// Run a pod of one or more images and wait for it to end
///
/// The exit status is 0 if every app succeeds, else that of the first app that fails (128+N for signal N); 126 and 127
/// if an app's executable cannot be executed or is not there; 254 if proa itself fails. The pod is removed when it has
/// ended, unless --keep, --detach or --uuid-file-save is given.
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

    /// Print the reified manifest, and the command with nothing left open, instead of running the pod
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    pod: PodArgs,
}

const EXAMPLES: &str = "\
Examples:
  proa run hello
  proa run --volume data,kind=host,source=/srv/data oci:layout:v1 --mount volume=data,target=/data
  proa run --set-env-file app.env --set-env LANG=C.UTF-8 oci:layout:v1 --environment LEVEL=debug
  proa --insecure-options=image run ./busybox.aci --exec /bin/busybox -- uname -a
  proa --insecure-options=image run --net=none --net-admin=busybox ./busybox.aci --exec /bin/busybox -- ip addr add 10.0.1.8 dev lo
  proa run --name web oci:layout:v1 --user www-data -- --port 8080 --- ./sidecar.aci --name logs";

/// Adds the options that stand after an image to the help text.
pub(crate) fn explain(command: Command) -> Command {
    pod_line::explain(command, EXAMPLES)
}

pub(crate) fn run(context: &Context, args: RunArgs) -> Result<u8, CommandError> {
    let (dry_run, request) = (args.dry_run, request(args)?);
    if dry_run {
        return dry_run::print(context, request);
    }
    // Before any work that a second execution would repeat.
    sealed::ensure()?;
    launch::run(context, prepare::pod(context, request, Begin::AtOnce)?)?.tell()
}

/// What was typed as what it means.
fn request(args: RunArgs) -> Result<PodRequest, CommandError> {
    let lifecycle = args.life.lifecycle()?;
    let lifecycle = Lifecycle { keep: args.keep || (lifecycle.keep && !args.rm), ..lifecycle };
    pod_line::request("run", args.pod, lifecycle)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli;
    use crate::error::Kind;

    /// What a line asks for, the name of the program and of the subcommand left out.
    fn asked(line: &str) -> Result<PodRequest, CommandError> {
        let argv: Vec<OsString> = format!("proa run {line}").split(' ').map(OsString::from).collect();
        request(cli::typed(cli::parse(&argv)?.matches)?)
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
            ("a.aci --readonly-rootfs --exec /bin/x b.aci", "- | a.aci - /bin/x - | b.aci - - -"),
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
            ("--net=Nowhere hello", "--net=Nowhere: there is no such network"),
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
            ("hello --volume v,kind=empty", "--volume stands after an image"),
            ("hello ls -l", "there is no option -l"),
            ("hello --nonsense=1", "no option of an app is called --nonsense"),
            ("-e A=1 hello", "there is no option -e"),
            ("--pod-manifest=/dev/null hello", "conflicting flags set with --pod-manifest (see --help)"),
            ("hello --pod-manifest=/dev/null", "conflicting flags set with --pod-manifest (see --help)"),
            ("--pod-manifest=/dev/null --set-env=a=b", "conflicting flags set with --pod-manifest (see --help)"),
            ("--pod-manifest=/dev/null --inherit-env", "conflicting flags set with --pod-manifest (see --help)"),
            ("--pod-manifest=/dev/null --no-store", "conflicting flags set with --pod-manifest (see --help)"),
            ("--pod-manifest=/dev/null --store-only", "conflicting flags set with --pod-manifest (see --help)"),
            ("--pod-manifest=/dev/null --volume=v,kind=empty", "conflicting flags set with --pod-manifest"),
            ("--pod-manifest=/dev/null --mount=volume=v,target=/v", "conflicting flags set with --pod-manifest"),
            ("--hostname=a_b hello", "\"a_b\""),
            ("hello --supplementary-gids=x", "\"x\" is not a group id"),
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
