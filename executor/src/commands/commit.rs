//! `proa commit`: makes an image of what an app has made of its root file system.

use clap::Args;

use crate::commit::{self, Changes};
use crate::config::Registries;
use crate::context::Context;
use crate::error::CommandError;
use crate::{output, pod_argument};

/// Make an image of an app of a pod, with the changes it has made to its files
///
/// The pod may run or have ended. What is in volumes is not part of it. The image has one layer; its configuration is that
/// of the app's image with the app's environment. Prints its ID.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa commit web registry.example.com/team/web:2
  proa commit --app db --message warm shop db:warm")]
pub(crate) struct CommitArgs {
    /// Take this app [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub(crate) app: Option<String>,

    /// Say who made it
    #[arg(long, short, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) author: String,

    /// Say what for
    #[arg(long, short, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) message: String,

    /// Change the configuration by an instruction of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR
    #[arg(long, short, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,

    /// Make it of one layer, which is always done
    #[arg(long)]
    pub(crate) squash: bool,

    /// The pod: a UUID, the unambiguous beginning of one, or a name
    #[arg(value_name = "POD")]
    pub(crate) pod: String,

    /// The image's name
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: Option<String>,
}

pub(crate) fn run(context: &Context, args: CommitArgs) -> Result<u8, CommandError> {
    commit(context, args, false)
}

/// Makes the image; `as_run` one whose containers run as the app does.
///
/// # Errors
///
/// As [`commit::commit`]; there is no such pod, or the name is none.
pub(crate) fn commit(context: &Context, args: CommitArgs, as_run: bool) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let entry = pod_argument::find(&pods, &args.pod)?;
    let name = match &args.name {
        Some(name) => Some(Registries::read(context.config_dirs())?.reference(name)?),
        None => None,
    };
    let changes = Changes { author: args.author, message: args.message, instructions: args.change, as_run };
    let id = commit::commit(context, &pods, &entry, args.app.as_deref(), name.as_ref(), &changes)?;
    output::write(&format!("{id}\n"))?;
    Ok(0)
}
