//! `proa volume create`.

use clap::Args;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::context::Context;
use crate::diagnostics::warn;
use crate::docker;
use crate::error::CommandError;
use crate::named_volumes::NamedVolumes;
use crate::output;

/// Make a named volume
///
/// Prints its name. One that is there already stays as it is, and keeps the labels that it has.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  proa volume create data\n  proa volume create --label=tier=db pages\n  proa volume create"
)]
pub(crate) struct CreateArgs {
    /// The name [default: 64 random digits]
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// The name, as docker took it once
    #[arg(long = "name", value_name = "NAME", hide = true, conflicts_with = "name")]
    older_name: Option<String>,

    /// What drives it: local
    #[arg(long, short, value_name = "DRIVER", default_value = "local", hide = true)]
    driver: String,

    /// Give it a label
    #[arg(long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,

    /// Options of the driver, of which there are none
    #[arg(long, short, value_name = "OPTION", hide = true)]
    opt: Vec<String>,
}

pub(crate) fn run(context: &Context, args: CreateArgs) -> Result<u8, CommandError> {
    if args.driver != "local" {
        return Err(CommandError::failed(format!("--driver={}: there is local", args.driver))
            .hint("mount it on the host, and give the directory with -v"));
    }
    args.opt.first().into_iter().for_each(|value| warn(&format!("--opt {value} is not held")));
    let labels = docker::labels(&args.label);
    if let Some(nameless) = args.label.iter().find(|label| label.is_empty() || label.starts_with('=')) {
        return Err(CommandError::usage(format!("--label={nameless:?}: a label has a name"))
            .hint("write it as --label NAME or --label NAME=VALUE"));
    }
    let name = match args.name.or(args.older_name) {
        Some(name) => name,
        None => {
            let mut bytes = [0; 32];
            getrandom(&mut bytes, GetRandomFlags::empty())?;
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        }
    };
    NamedVolumes::create(context)?.ensure(&name, &labels)?;
    output::write(&format!("{name}\n"))?;
    Ok(0)
}
