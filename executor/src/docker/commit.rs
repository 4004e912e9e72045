//! `docker commit`: as proa's own, of a container that is told of in docker's words.

use crate::commands::commit;
pub(crate) use crate::commands::commit::CommitArgs;
use crate::context::Context;
use crate::error::CommandError;

use super::container;

pub(crate) fn run(context: &Context, args: CommitArgs) -> Result<u8, CommandError> {
    let entry = container::find(&context.pods()?, &args.pod)?;
    commit::run(context, CommitArgs { pod: entry.uuid.to_string(), ..args })
}
