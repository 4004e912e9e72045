//! `docker top`: the processes of a container, in columns that are chosen as with ps(1).

mod form;

use clap::Args;
use pod::State;
use stage1::protocol::{Call, Reply};

use super::container;
use crate::client::Client;
use crate::context::Context;
use crate::error::CommandError;
use crate::{output, process_columns, processes};

/// Display the running processes of a container
///
/// With their ids and users as the host sees them. Of the options of ps there are -ef, aux, and -o FIELDS.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,

    /// What of ps's options chooses the columns
    #[arg(value_name = "ps OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

pub(crate) fn run(context: &Context, args: TopArgs) -> Result<u8, CommandError> {
    let columns = form::columns(&args.options)?;
    let pods = context.pods()?;
    let entry = container::find(&pods, &args.container)?;
    let not_running = || CommandError::failed(format!("container {} is not running", container::id(entry.uuid)));
    if entry.state != State::Running {
        return Err(not_running());
    }
    let mut client = Client::reach(&pods, &entry)?.ok_or_else(not_running)?;
    let Reply::Status(report) = client.ask(Call::Status, &[])?.0 else { return Err(client.gone()) };
    output::write(&process_columns::table(&columns, &processes::below(report.pid)?))?;
    Ok(0)
}
