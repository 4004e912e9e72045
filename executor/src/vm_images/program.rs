//! proa under the name `eci`: the edge containers tool's subcommands, flags, outputs and exit statuses.
//!
//! Scripts written for eci must find what they look for. What the original does wrong (crashes, an exit status of 0 for
//! command lines that make no sense) is listed in docs/eci.md.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Args as _, Command, CommandFactory as _, FromArgMatches as _, Parser};

use crate::cli::GlobalArgs;
use crate::commands::eci::{self, EciArgs};
use crate::context::Context;
use crate::error::CommandError;
use crate::output;

/// Exit status of every failure.
const FAILED: u8 = 1;

/// The tool's own switch for diagnostics stands where proa has its own.
#[derive(Debug, Parser)]
struct Globals {
    #[command(flatten)]
    global: GlobalArgs,
}

/// Runs the command line; returns the exit status.
pub(crate) fn main(argv: &[OsString]) -> u8 {
    let command = tree();
    if argv.len() < 2 || argv[1] == "help" {
        let name = argv.get(2).and_then(|it| it.to_str());
        let of = name.and_then(|it| command.find_subcommand(it).cloned().map(|of| of.bin_name(format!("eci {it}"))));
        let help = of.unwrap_or_else(|| command.clone()).render_help().to_string();
        let _ = output::write(&help);
        return 0;
    }
    let matches = match command.clone().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => {
            let _ = output::write(&error.render().to_string());
            return 0;
        }
        Err(error) => {
            output::complain(&misuse(&error, &command, argv));
            return FAILED;
        }
    };
    match run(&matches) {
        Ok(status) => status,
        Err(error) => {
            // As Go's logger writes it.
            let time = jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S").to_string();
            let message = crate::escape::printable(&error.chain()).into_owned();
            output::complain(&format!("{time} {message}\n"));
            FAILED
        }
    }
}

fn run(matches: &clap::ArgMatches) -> Result<u8, CommandError> {
    let args = EciArgs::from_arg_matches(matches)?;
    // Of proa's own options it has none; the environment and the configuration count all the same.
    let globals = Globals::try_parse_from(["eci"])?.global;
    eci::run(&Context::new(&globals)?, args)
}

/// The command line, with the switches of the original that have no other meaning here.
fn tree() -> Command {
    let command = Command::new("eci")
        .about("utility to manage an ECI, either push to or pull from a registry")
        .subcommand_required(true)
        .disable_help_subcommand(true);
    let debug = || clap::Arg::new("debug").long("debug").action(ArgAction::SetTrue).help("debug output");
    let mut command = EciArgs::augment_args(command).after_help("Use \"eci [command] --help\" for more information.");
    for name in ["push", "pull", "pullfiles", "inspect"] {
        command = command.mut_subcommand(name, |it| it.arg(debug()).after_help(""));
    }
    debug_assert!(Globals::command().get_name().len() > 2, "the options can be parsed without a program");
    command
}

/// What the original's library says of a command line that makes no sense.
fn misuse(error: &clap::Error, command: &Command, argv: &[OsString]) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let word = context(ContextKind::InvalidArg);
    let subcommand = argv.iter().skip(1).find_map(|it| command.find_subcommand(it.to_str()?));
    let usage = || match subcommand {
        Some(it) => it.clone().bin_name(format!("eci {}", it.get_name())).render_usage().to_string(),
        None => command.clone().render_usage().to_string(),
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = context(ContextKind::InvalidSubcommand);
            format!("Error: unknown command {word:?} for \"eci\"\nRun 'eci --help' for usage.\n")
        }
        ErrorKind::UnknownArgument => format!("Error: unknown flag: {word}\n{}\n", usage()),
        _ => {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default();
            format!("Error: {}\n{}\n", first.trim_start_matches("error: "), usage())
        }
    }
}
