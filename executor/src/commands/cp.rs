//! `proa cp`: copies files between an app and the host.

use std::ffi::OsString;

use clap::Args;

use crate::context::Context;
use crate::copying::{self, AppRoot, Copied, Options, PlaceName, Use};
use crate::diagnostics::warn;
use crate::error::CommandError;
use crate::{output, pod_argument};

/// Copy files between an app of a pod and the host
///
/// One side is POD:PATH, the other a path of the host, or `-` for a tar archive on stdin or stdout. As with docker, a
/// directory that is there is copied into; one that ends in `/.` stands for what is in it. Links of the app lead nowhere
/// but inside it. The pod may run, be prepared, or have ended; volumes are there while it runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa cp web:/etc/passwd .
  proa cp ./site/. web:/srv
  proa cp --app db shop:/var/lib/data -")]
pub(crate) struct CpArgs {
    /// Of this app [default: the only one]
    #[arg(long, value_name = "NAME")]
    app: Option<String>,

    /// Keep owners: in the app those numbers of the host, as root on the host those of the app
    #[arg(long, short)]
    archive: bool,

    /// Follow SOURCE if it is a symbolic link
    #[arg(long, short = 'L')]
    follow_link: bool,

    /// What to copy: POD:PATH, a path of the host, or - for an archive on stdin
    #[arg(value_name = "SOURCE")]
    from: OsString,

    /// Where to copy it: a path of the host, POD:PATH, or - for an archive on stdout
    #[arg(value_name = "DESTINATION")]
    to: OsString,
}

pub(crate) fn run(context: &Context, args: CpArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let options = Options { follow: args.follow_link, archive: args.archive };
    let (from, to) = (PlaceName::parse(&args.from), PlaceName::parse(&args.to));
    let root = |pod: &str, purpose| {
        AppRoot::find(context, &pods, &pod_argument::find(&pods, pod)?, args.app.as_deref(), purpose)
    };
    copy(from, to, options, root).map(|copied| {
        copied.remarks.iter().for_each(|remark| warn(remark));
        0
    })
}

/// Copies from one side to the other; `root` finds a pod's app.
///
/// # Errors
///
/// Not just one of the sides is an app's; as the copy itself.
pub(crate) fn copy(
    from: PlaceName,
    to: PlaceName,
    options: Options,
    root: impl Fn(&str, Use) -> Result<AppRoot, CommandError>,
) -> Result<Copied, CommandError> {
    let refused = |why: &str| Err(CommandError::usage(why));
    match (from, to) {
        (PlaceName::App { path, .. }, _) | (_, PlaceName::App { path, .. }) if path.is_empty() => {
            refused("the path in the pod is empty")
        }
        (PlaceName::App { .. }, PlaceName::App { .. }) => refused("copying between pods is not supported"),
        (PlaceName::App { pod, path }, PlaceName::Host(to)) => {
            copying::out_of(root(&pod, Use::Read)?, &path, to, options)
        }
        (PlaceName::App { pod, path }, PlaceName::Stream) => {
            let copied = copying::to_stdout(root(&pod, Use::Read)?, &path, options);
            Ok(output::while_read(copied)?.unwrap_or_default())
        }
        (PlaceName::Host(from), PlaceName::App { pod, path }) => {
            copying::into(root(&pod, Use::Write)?, from, &path, options)
        }
        (PlaceName::Stream, PlaceName::App { pod, path }) => copying::from_stdin(root(&pod, Use::Write)?, &path),
        _ => refused("one of the two must be in a pod: POD:PATH"),
    }
}
