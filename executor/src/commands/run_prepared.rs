//! `proa run-prepared`: runs a pod that was made before.

use std::path::PathBuf;

use clap::Args;
use pod::{PodError, State};

use crate::context::Context;
use crate::error::CommandError;
use crate::net::NetArgs;
use crate::pod_line::{LifeArgs, unknown_option};
use crate::prepare::Begin;
use crate::{habits, launch, pod_argument, prepare, sealed};

/// Run a prepared pod and wait for it to end
///
/// The exit status is that of `proa run`. The pod is kept when it has ended: `proa rm` removes it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa run-prepared 5c8f2f6e\n  proa run-prepared --detach --net=none web",
    mut_arg("port", |port| port.hide(true)))]
pub(crate) struct RunPreparedArgs {
    #[command(flatten)]
    life: LifeArgs,

    #[command(flatten)]
    net: NetArgs,

    /// Run the pod whose UUID is in FILE
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,

    /// The pod: a UUID, the unambiguous beginning of one, or a name
    #[arg(value_name = "POD")]
    pod: Option<String>,
}

/// A better error for what is in the manifest, which was made when the pod was prepared, and for rkt's options.
pub(crate) fn mend(error: &clap::Error) -> Option<CommandError> {
    let option = unknown_option(error)?;
    if option == "--volume" { Some(prepared("--volume")) } else { habits::of_rkt(&option) }
}

fn prepared(option: &str) -> CommandError {
    CommandError::usage(format!("{option} is in the manifest of a prepared pod"))
        .hint(format!("give it when the pod is prepared: proa prepare {option} ... IMAGE"))
}

pub(crate) fn run(context: &Context, args: RunPreparedArgs) -> Result<u8, CommandError> {
    if args.net.has_ports() {
        return Err(prepared("--port"));
    }
    let mut lifecycle = args.life.lifecycle()?;
    lifecycle.keep = true;
    sealed::ensure()?;
    let pods = context.pods()?;
    let entry = pod_argument::one(&pods, args.pod.as_ref(), args.uuid_file.as_ref())?;
    let not_prepared = || {
        CommandError::failed(format!("pod \"{}\" is not prepared", entry.uuid))
            .hint("`proa list` shows what has become of it")
    };
    if entry.state != State::Prepared {
        return Err(not_prepared());
    }
    let run = || {
        let (mut prepared, known) = prepare::again(context, &pods, &entry, lifecycle, Begin::AtOnce)?;
        let is_changed = !args.net.is_bare();
        if is_changed {
            prepare::change_network(context, &mut prepared.manifest, args.net)?;
        }
        launch::resume(context, &pods, &entry, prepared, known, is_changed)?.tell()
    };
    run().map_err(|error| match error.cause() {
        // Somebody else has begun to run it meanwhile.
        Some(PodError::NotFound { uuid }) if *uuid == entry.uuid => not_prepared(),
        _ => error,
    })
}
