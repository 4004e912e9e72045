//! `docker pause` and `unpause`, which are refused: without a control group of its own nothing holds a container's processes
//! but signals, which they notice, and which their parents are told of.

use clap::Args;
use pod::State;

use super::container;
use super::targets::each;
use crate::context::Context;
use crate::error::CommandError;

/// Not possible: Pause all processes within one or more containers
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// The containers
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

pub(crate) fn run(context: &Context, args: PauseArgs) -> Result<u8, CommandError> {
    each(context, &args.containers, |pods, needle| {
        let entry = container::find(pods, needle)?;
        if entry.state != State::Running {
            return Err(CommandError::failed(format!("Container {} is not running", container::id(entry.uuid))));
        }
        let why = "proa does not freeze processes";
        Err(CommandError::failed(format!("cannot pause container {}: {why}", container::id(entry.uuid)))
            .hint("`docker kill -s STOP` and `-s CONT` stop its first process and let it go on, which it may notice"))
    })
}

pub(super) mod unpause {
    //! `docker unpause`: no container is paused.

    use clap::Args;

    use super::{CommandError, Context, container, each};

    /// Not possible: Unpause all processes within one or more containers
    #[derive(Debug, Args)]
    pub(in crate::docker) struct UnpauseArgs {
        /// The containers
        #[arg(value_name = "CONTAINER", required = true)]
        containers: Vec<String>,
    }

    pub(in crate::docker) fn run(context: &Context, args: UnpauseArgs) -> Result<u8, CommandError> {
        each(context, &args.containers, |pods, needle| {
            let id = container::id(container::find(pods, needle)?.uuid);
            Err(CommandError::failed(format!("Container {id} is not paused")))
        })
    }
}
