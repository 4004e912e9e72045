//! `proa attach`: connects with the streams of an app.

use std::path::PathBuf;

use clap::Args;
use stage1::protocol::{Call, Reply};

use crate::attach::{self, Wanted};
use crate::client::Client;
use crate::context::Context;
use crate::error::CommandError;
use crate::{app_argument, output, pod_argument};

/// Connect with the streams of an app of a detached pod
///
/// Shows what the app writes from now on, until it ends. On a terminal of the app, Ctrl-P Ctrl-Q lets go of it; without
/// one, a signal to this command goes to the app, and KILL lets go.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  proa attach web\n  proa attach --app nginx --mode stdout,stderr web\n  proa attach --mode list web"
)]
pub(crate) struct AttachArgs {
    /// Attach to this app [default: the only one]
    #[arg(long, value_name = "NAME")]
    app: Option<String>,

    /// Choose the streams: `auto` for all, `list` to print what there is, or any of stdin,stdout,stderr
    #[arg(long, value_name = "MODE", default_value = "auto")]
    mode: String,

    /// Attach to the pod whose UUID is in FILE
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,

    /// The pod: a UUID, the unambiguous beginning of one, or a name
    #[arg(value_name = "POD")]
    pod: Option<String>,
}

pub(crate) fn run(context: &Context, args: AttachArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let entry = pod_argument::one(&pods, args.pod.as_ref(), args.uuid_file.as_ref())?;
    let mut client = Client::connect(&pods, &entry)?;
    let Reply::Status(report) = client.ask(Call::Status, &[])?.0 else { return Err(client.gone()) };
    let only = || app_argument::only(&report.apps, |app| &app.name).map(|app| app.name.clone());
    let app = args.app.map_or_else(only, Ok)?;
    if args.mode == "list" {
        let wanted = Call::Attach { app, stdin: true, stdout: true, stderr: true, holds: false };
        let Reply::Attached { stdin, stdout, stderr, terminal } = client.ask(wanted, &[])?.0 else {
            return Err(client.gone());
        };
        let named = [(stdin, "stdin"), (stdout, "stdout"), (stderr, "stderr"), (terminal, "tty")];
        return named
            .iter()
            .filter(|(there, _)| *there)
            .try_for_each(|(_, name)| output::write(&format!("{name}\n")))
            .map(|()| 0);
    }
    attach::attach(client, &app, wanted(&args.mode)?, false)?;
    Ok(0)
}

fn wanted(mode: &str) -> Result<Wanted, CommandError> {
    if matches!(mode, "auto" | "tty") {
        return Ok(Wanted { stdin: true, stdout: true, stderr: true });
    }
    let mut wanted = Wanted { stdin: false, stdout: false, stderr: false };
    for stream in mode.split(',') {
        match stream {
            "stdin" | "tty-in" => wanted.stdin = true,
            "stdout" | "tty-out" => wanted.stdout = true,
            "stderr" => wanted.stderr = true,
            _ => {
                return Err(CommandError::usage(format!("--mode={mode:?}: unknown stream {stream:?}"))
                    .hint("choose auto, list, or any of stdin,stdout,stderr"));
            }
        }
    }
    Ok(wanted)
}
