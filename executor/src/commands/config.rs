//! `proa config`: shows what the configuration directories come to.

use clap::{ArgAction, Args};
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::PrettyFormatter;

use crate::config::{Config, Entry};
use crate::context::Context;
use crate::error::CommandError;
use crate::output;

/// Print the configuration that the configuration directories come to, as JSON
///
/// What the administrator says (/etc/proa) overrides what the distribution says (/usr/lib/proa), and what the user says
/// (~/.config/proa) overrides both, key by key. Passwords and tokens are printed as they are.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa config\n  proa config --pretty-print=false")]
pub(crate) struct ConfigArgs {
    /// Indent the JSON
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, action = ArgAction::Set,
        default_value = "true", default_missing_value = "true")]
    pretty_print: bool,
}

/// The document, in rkt's words: stage0 is the part of the program that prepares pods.
#[derive(Debug, Serialize)]
struct Document<'a> {
    stage0: Vec<Entry<'a>>,
}

pub(crate) fn run(context: &Context, args: ConfigArgs) -> Result<u8, CommandError> {
    let config = Config::read(context.config_dirs())?;
    let document = Document { stage0: config.entries() };
    let mut json = Vec::new();
    match args.pretty_print {
        true => document.serialize(&mut Serializer::with_formatter(&mut json, PrettyFormatter::with_indent(b"\t")))?,
        false => serde_json::to_writer(&mut json, &document)?,
    }
    json.push(b'\n');
    output::write(&String::from_utf8(json)?)?;
    Ok(0)
}
