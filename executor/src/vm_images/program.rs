//! proa under the name `eci`: the edge containers tool's subcommands, flags, outputs and exit statuses.
//!
//! Scripts written for eci must find what they look for. What the original does wrong (crashes, an exit status of 0 for
//! command lines that make no sense) is listed in docs/eci.md.

use std::error::Error as _;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Args as _, Command, CommandFactory as _, FromArgMatches as _, Parser};
use clap_complete::Shell;

use crate::cli::GlobalArgs;
use crate::commands::eci::{self, EciArgs};
use crate::context::Context;
use crate::error::CommandError;
use crate::{diagnostics, go_flags, output};

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
    if argv.len() < 2 {
        return ended(output::write(&command.clone().render_help().to_string()).map(|()| 0));
    }
    let matches = match command.clone().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => {
            return ended(output::write(&error.render().to_string()).map(|()| 0));
        }
        Err(error) => {
            output::complain(&misuse(&error, &command, argv));
            return FAILED;
        }
    };
    let done = match matches.subcommand() {
        Some(("help", words)) => return help(&command, words),
        Some(("completion", words)) => complete(&mut command.clone(), words),
        _ => run(&matches),
    };
    ended(done)
}

/// The exit status of a command; tells why it failed.
fn ended(done: Result<u8, CommandError>) -> u8 {
    match done {
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

fn run(matches: &ArgMatches) -> Result<u8, CommandError> {
    let args = EciArgs::from_arg_matches(matches)?;
    // Of proa's own options it has none; the environment and the configuration count all the same.
    let mut globals = Globals::try_parse_from(["eci"])?.global;
    globals.debug = matches.subcommand().is_some_and(|(_, of)| of.get_flag("debug"));
    diagnostics::start(&globals)?;
    eci::run(&Context::new(&globals)?, args)
}

/// Prints the help of the program or of a subcommand.
fn help(command: &Command, words: &ArgMatches) -> u8 {
    let names: Vec<&String> = words.get_many("COMMAND").into_iter().flatten().collect();
    let mut of = match names[..] {
        [] => command.clone(),
        [name] if command.find_subcommand(name).is_some() => {
            command.find_subcommand(name).expect("it was found").clone().bin_name(format!("eci {name}"))
        }
        _ => {
            let shown: Vec<String> = names.iter().map(|it| format!("`{it}`")).collect();
            output::complain(&format!(
                "Unknown help topic [{}]\n{}\n",
                shown.join(" "),
                command.clone().render_usage()
            ));
            return FAILED;
        }
    };
    ended(output::write(&of.render_long_help().to_string()).map(|()| 0))
}

/// Prints what a shell needs to complete command lines.
fn complete(command: &mut Command, words: &ArgMatches) -> Result<u8, CommandError> {
    let shell = *words.get_one::<Shell>("SHELL").expect("it must be given");
    let mut script = Vec::new();
    clap_complete::generate(shell, command, "eci", &mut script);
    output::write_bytes(&script)?;
    Ok(0)
}

/// The command line, with the switches of the original that have no other meaning here.
fn tree() -> Command {
    let command = Command::new("eci")
        .about("utility to manage an ECI, either push to or pull from a registry")
        .subcommand_required(true)
        .disable_help_subcommand(true);
    let debug = || Arg::new("debug").long("debug").action(ArgAction::SetTrue).help("Tell on stderr what is being done");
    let mut command = EciArgs::augment_args(command).after_help("Use \"eci [command] --help\" for more information.");
    for name in ["push", "pull", "pullfiles", "inspect"] {
        command = command.mut_subcommand(name, |it| it.arg(debug()).after_help(""));
    }
    let shell = Arg::new("SHELL").required(true).value_parser(clap::builder::EnumValueParser::<Shell>::new());
    let completion = Command::new("completion").about("Print the completion script of a shell").arg(shell);
    let topic = Arg::new("COMMAND").action(ArgAction::Append).num_args(0..);
    let help = Command::new("help").about("Print the help of a command").arg(topic);
    let command = go_flags::as_go_has_them(command.subcommand(completion).subcommand(help));
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
        ErrorKind::UnknownArgument => format!("Error: {}\n{}\n", unknown(&word, argv), usage()),
        ErrorKind::InvalidValue if context(ContextKind::InvalidValue).is_empty() => {
            format!("Error: flag needs an argument: {}\n{}\n", flag(&word), usage())
        }
        ErrorKind::ValueValidation => {
            let value = context(ContextKind::InvalidValue);
            let reason = error.source().map(ToString::to_string).unwrap_or_default();
            format!("Error: invalid argument {value:?} for {:?} flag: {reason}\n{}\n", flag(&word), usage())
        }
        _ => {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default();
            format!("Error: {}\n{}\n", first.trim_start_matches("error: "), usage())
        }
    }
}

/// A flag without the name of its value.
fn flag(word: &str) -> &str {
    word.split([' ', '=', '[']).next().unwrap_or_default()
}

/// What is said of a flag that there is not. Of letters behind one dash each is a flag.
fn unknown(word: &str, argv: &[OsString]) -> String {
    let letter = word.strip_prefix('-').and_then(|it| it.chars().next()).filter(|it| *it != '-');
    let within = argv.iter().filter_map(|it| it.to_str()).find(|it| it.starts_with('-') && !it.starts_with("--"));
    match (letter, within) {
        (Some(letter), Some(within)) => format!("unknown shorthand flag: {letter:?} in {within}"),
        _ => format!("unknown flag: {}", flag(word)),
    }
}
