//! `docker pause` and `unpause`: the control group of a container is frozen. A container without one cannot be: nothing
//! else holds processes without their notice.

use clap::Args;
use pod::{PodEntry, Pods, State};
use stage1::cgroup::PodCgroup;

use super::container;
use super::targets::each;
use crate::cgroup;
use crate::context::Context;
use crate::error::CommandError;

/// Pause all processes within one or more containers: those that have control groups
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// The containers
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

pub(crate) fn run(context: &Context, args: PauseArgs) -> Result<u8, CommandError> {
    each(context, &args.containers, |pods, needle| {
        let entry = container::find(pods, needle)?;
        let id = container::id(entry.uuid);
        if entry.state != State::Running {
            return Err(CommandError::failed(format!("Container {id} is not running")));
        }
        let group = group(pods, &entry).map_err(|error| {
            error.during(format!("cannot pause container {id}: only control groups hold processes")).hint(
                "`docker kill -s STOP` and `-s CONT` stop its first process and let it go on, which it may notice",
            )
        })?;
        if group.is_frozen()? {
            return Err(CommandError::failed(format!("Container {id} is already paused")));
        }
        group.freeze()?;
        Ok(Some(needle.to_owned()))
    })
}

fn group(pods: &Pods, entry: &PodEntry) -> Result<PodCgroup, CommandError> {
    cgroup::of_pod(pods, entry).map(|(group, _)| group)
}

pub(super) mod unpause {
    //! `docker unpause`: the control group of a container is let go.

    use clap::Args;

    use super::{CommandError, Context, State, container, each, group};

    /// Unpause all processes within one or more containers
    #[derive(Debug, Args)]
    pub(in crate::docker) struct UnpauseArgs {
        /// The containers
        #[arg(value_name = "CONTAINER", required = true)]
        containers: Vec<String>,
    }

    pub(in crate::docker) fn run(context: &Context, args: UnpauseArgs) -> Result<u8, CommandError> {
        each(context, &args.containers, |pods, needle| {
            let entry = container::find(pods, needle)?;
            let group = if entry.state == State::Running { group(pods, &entry).ok() } else { None };
            match group {
                Some(group) if group.is_frozen()? => group.thaw()?,
                _ => {
                    let id = container::id(entry.uuid);
                    return Err(CommandError::failed(format!("Container {id} is not paused")));
                }
            }
            Ok(Some(needle.to_owned()))
        })
    }
}
