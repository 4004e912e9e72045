//! `docker port`: what leads into a container.

use clap::Args;

use super::container::{self, Container};
use crate::context::Context;
use crate::error::CommandError;
use crate::output;

/// List port mappings or a specific mapping for the container
#[derive(Debug, Args)]
pub(crate) struct PortArgs {
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,

    /// Only this port of the container
    #[arg(value_name = "PRIVATE_PORT[/PROTO]")]
    port: Option<String>,
}

pub(crate) fn run(context: &Context, args: PortArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let container = Container::read(&pods, container::find(&pods, &args.container)?)?;
    let published = container.published(&pods);
    let Some(port) = args.port else {
        let lines = published.iter().map(|(inside, outside)| format!("{inside} -> {outside}\n"));
        output::write(&lines.collect::<String>())?;
        return Ok(0);
    };
    let wanted = if port.contains('/') { port.clone() } else { format!("{port}/tcp") };
    let lines: String =
        published.iter().filter(|(inside, _)| *inside == wanted).map(|(_, o)| format!("{o}\n")).collect();
    if lines.is_empty() {
        let name = &args.container;
        return Err(CommandError::failed(format!("Error: No public port '{wanted}' published for {name}")));
    }
    output::write(&lines)?;
    Ok(0)
}
