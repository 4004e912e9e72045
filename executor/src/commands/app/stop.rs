//! `proa app stop`.

use std::time::Duration;

use clap::Args;
use stage1::protocol::{AppStateName, Call, Reply};

use super::list::Target;
use crate::context::Context;
use crate::error::CommandError;

/// Stop an app of a running pod and wait for its end
///
/// It is sent its stop signal, and is killed if it has not ended after ten seconds. The pod goes on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa app stop box --app redis\n  proa app stop 5c8f2f6e --app redis")]
pub(crate) struct StopArgs {
    #[command(flatten)]
    target: Target,
}

/// How often the app is looked at.
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) fn run(context: &Context, args: StopArgs) -> Result<u8, CommandError> {
    let (mut client, app) = args.target.reach(context)?;
    client.ask(Call::Stop { app: Some(app.clone()), signal: None, grace_ms: None }, &[])?;
    loop {
        let Reply::Status(report) = client.ask(Call::Status, &[])?.0 else { return Err(client.gone()) };
        if report.apps.iter().all(|other| other.name != app || other.state != AppStateName::Running) {
            return Ok(0);
        }
        std::thread::sleep(PAUSE);
    }
}
