//! `proa app exec`: `proa enter` under rkt's other name.

use std::ffi::OsString;

use clap::Args;
use stage1::EnterSpec;

use crate::commands::enter;
use crate::context::Context;
use crate::error::CommandError;
use crate::{pod_argument, request};

/// Execute a command in an app of a running pod, as `proa enter` does
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa app exec box ps\n  proa app exec --app redis box redis-cli ping")]
pub(crate) struct ExecArgs {
    /// The app [default: the only one]
    #[arg(long, value_name = "NAME")]
    app: Option<String>,

    /// The pod, and the command with its arguments
    #[arg(value_name = "POD COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

pub(crate) fn run(context: &Context, args: ExecArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let mut words = request::args(args.words)?.into_iter();
    let entry = pod_argument::one(&pods, words.next().as_ref(), None)?;
    enter::enter(&pods, &entry, args.app, EnterSpec { exec: enter::command(words), ..EnterSpec::default() }, None)
}
