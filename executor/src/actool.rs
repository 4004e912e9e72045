//! proa under the name `actool`: the App Container tool's subcommands, flags, outputs and exit statuses.
//!
//! Scripts written for actool must find what they look for, so the messages are its, word for word. What it does on
//! input that makes it crash, and what it loses (extended attributes), is done better; docs/subcommands/aci.md lists that.

use std::error::Error;
use std::ffi::OsString;
use std::io;

use crate::escape::printable;
use crate::output;

mod build;
mod cat_manifest;
mod discover;
mod flags;
mod help;
mod patch_manifest;
mod validate;
mod version;

use flags::{Flag, FlagError, FlagSet, Given};

/// A subcommand.
struct Command {
    /// Its name on the command line.
    name: &'static str,
    /// What it does, in one line.
    summary: &'static str,
    /// Its arguments, for the help text.
    usage: &'static str,
    /// What it does, in a few lines.
    description: &'static str,
    /// The flags it knows, in the order of their names.
    flags: FlagSet,
    /// Does the work; returns the exit status.
    run: fn(&Invocation) -> u8,
}

/// What a subcommand is told.
struct Invocation {
    /// The words behind the subcommand's name.
    given: Given,
    /// `-debug`: success is told too.
    debug: bool,
}

/// Every subcommand, in the order of the help text.
static COMMANDS: &[Command] = &[
    build::COMMAND,
    cat_manifest::COMMAND,
    discover::COMMAND,
    help::COMMAND,
    patch_manifest::COMMAND,
    validate::COMMAND,
    version::COMMAND,
];

/// The flags before the subcommand.
const GLOBAL: FlagSet = FlagSet {
    name: "actool",
    flags: &[Flag::switch("debug", "Say what is going well, too"), Flag::switch("help", "Print this text and exit")],
};

/// What actool says of itself: the specification's version as it was developed last.
const VERSION: &str = "0.8.11+git";

/// Exit status of work that failed.
const FAILED: u8 = 1;

/// Exit status of a command line that makes no sense.
const MISUSED: u8 = 2;

/// Runs the command line behind the program's name; returns the exit status.
pub(crate) fn main(words: &[OsString]) -> u8 {
    let global = match GLOBAL.parse(words) {
        Ok(global) => global,
        Err(error) => {
            output::complain(&error.complaint(&GLOBAL));
            return if error == FlagError::Help { 0 } else { MISUSED };
        }
    };
    let (name, words) = match global.rest.split_first() {
        Some((name, words)) if !global.switch("help") => (name.to_string_lossy().into_owned(), words),
        _ => ("help".to_owned(), &[][..]),
    };
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        stderr(&format!("actool: unknown subcommand: {}", quoted(&name)));
        stderr("Run 'actool help' for usage.");
        return MISUSED;
    };
    match command.flags.parse(words) {
        Ok(given) => (command.run)(&Invocation { given, debug: global.switch("debug") }),
        Err(error) => {
            output::complain(&error.complaint(&command.flags));
            stderr(&error.to_string());
            MISUSED
        }
    }
}

/// Writes a message; it ends with one newline. Lines are kept (a manifest's syntax error is a picture of several), but
/// nothing in them reaches the terminal as a control character.
fn stderr(message: &str) {
    let lines: Vec<_> = message.trim_end_matches('\n').split('\n').map(printable).collect();
    output::complain(&format!("{}\n", lines.join("\n")));
}

/// Writes what a command has to say, and returns its exit status.
fn put(command: &str, text: &str) -> u8 {
    match output::write(text) {
        Ok(()) => 0,
        Err(error) => fail(&format!("{command}: {}", error.chain())),
    }
}

/// Writes a message and returns the exit status of a failure.
fn fail(message: &str) -> u8 {
    stderr(message);
    FAILED
}

/// Go's `%q`.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// An error and its causes as Go prints them: on one line, the system's answer in lower case.
fn go(error: &(dyn Error + 'static)) -> String {
    let mut text = crate::error::chain(error);
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    if let Some(io) = last.downcast_ref::<io::Error>()
        && let Some(errno) = io.raw_os_error()
    {
        let answer = io::Error::from_raw_os_error(errno).to_string();
        let answer = answer.split(" (os error ").next().unwrap_or_default();
        if text.ends_with(answer) {
            let start = text.len() - answer.len();
            let lower = answer[..1].to_ascii_lowercase();
            text.replace_range(start..=start, &lower);
        }
    }
    text
}
