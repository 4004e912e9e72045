//! `proa volume create`.

use clap::Args;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::context::Context;
use crate::error::CommandError;
use crate::named_volumes::NamedVolumes;
use crate::output;

/// Make a named volume
///
/// Prints its name. One that is there already stays as it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa volume create data\n  proa volume create")]
pub(crate) struct CreateArgs {
    /// The name [default: 64 random digits]
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(crate) fn run(context: &Context, args: CreateArgs) -> Result<u8, CommandError> {
    let name = match args.name {
        Some(name) => name,
        None => {
            let mut bytes = [0; 32];
            getrandom(&mut bytes, GetRandomFlags::empty())?;
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        }
    };
    NamedVolumes::create(context)?.ensure(&name)?;
    output::write(&format!("{name}\n"))?;
    Ok(0)
}
