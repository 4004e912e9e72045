//! `docker cp`: copies files between a container and the host.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};

use clap::Args;

use super::{container, size};
use crate::commands::cp;
use crate::context::Context;
use crate::copying::{AppRoot, Options, PlaceName, Use};
use crate::error::CommandError;
use crate::output;

const HINT: &str = "one of the two is CONTAINER:PATH";

/// Copy files/folders between a container and the local filesystem
///
/// Use '-' as the source to read a tar archive from stdin and extract it to a directory destination in a container. Use '-'
/// as the destination to stream a tar archive of a container source to stdout.
#[derive(Debug, Args)]
pub(crate) struct CpArgs {
    /// Archive mode (copy all uid/gid information)
    #[arg(long, short)]
    archive: bool,

    /// Always follow symbol link in SRC_PATH
    #[arg(long, short = 'L')]
    follow_link: bool,

    /// Suppress progress output during copy
    #[arg(long, short)]
    quiet: bool,

    /// What to copy
    #[arg(value_name = "SRC_PATH")]
    from: OsString,

    /// Where to copy it
    #[arg(value_name = "DEST_PATH")]
    to: OsString,
}

pub(crate) fn run(context: &Context, args: CpArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let (from, to) = (PlaceName::parse(&args.from), PlaceName::parse(&args.to));
    match (&from, &to) {
        (PlaceName::App { .. }, PlaceName::App { .. }) => {
            return Err(CommandError::failed("Error: copying between containers is not supported").hint(HINT));
        }
        (PlaceName::App { .. }, _) | (_, PlaceName::App { .. }) => {}
        _ => return Err(CommandError::failed("Error: must specify at least one container source").hint(HINT)),
    }
    // As docker, which tells people and not scripts.
    let quiet = args.quiet || to == PlaceName::Stream || !io::stdout().is_terminal();
    let shown = args.to.to_string_lossy().into_owned();
    let root =
        |needle: &str, purpose: Use| AppRoot::find(context, &pods, &container::find(&pods, needle)?, None, purpose);
    let options = Options { follow: args.follow_link, archive: args.archive };
    let copied = cp::copy(from.clone(), to, options, root).map_err(|error| missing(error, &from))?;
    copied.remarks.iter().for_each(|remark| output::complain(&format!("{remark}\n")));
    if !quiet {
        output::complain(&format!("Successfully copied {} to {shown}\n", size(copied.bytes)));
    }
    Ok(0)
}

/// In docker's words that what is to be copied is not there.
fn missing(error: CommandError, from: &PlaceName) -> CommandError {
    let PlaceName::App { pod, path } = from else { return error };
    let path = String::from_utf8_lossy(path);
    match error.chain() == format!("{path}: No such file or directory") {
        true => {
            let text = format!("Could not find the file {path} in container {pod}");
            CommandError::failed(text).hint("volumes are there only while it runs")
        }
        false => error,
    }
}
