//! The grammar of flags of programs in Go (docker, eci, rkt), where it is not clap's own.

use std::any::TypeId;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command};

/// Lets every switch have a value (`--all=false`), and what is given again replace what was given before. An option with a value
/// has the next word, whatever it begins with (`-e -Xmx1g`).
pub(crate) fn as_go_has_them(command: Command) -> Command {
    let command = command.args_override_self(true).mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue => switch(arg),
        ArgAction::Set | ArgAction::Append if !arg.is_positional() && has_one_value(&arg) => {
            arg.allow_hyphen_values(true)
        }
        _ => arg,
    });
    command.mut_subcommands(as_go_has_them)
}

/// Lets every switch have a value (`--full=true`), and takes for a truth value what Go does. Nothing else changes.
pub(crate) fn switches_with_values(command: Command) -> Command {
    let plainly = |text: &str| truth(text).map_err(|_| "wanted: true or false");
    let command = command.mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue => switch(arg).value_parser(ValueParser::from(plainly)),
        ArgAction::Set if arg.get_value_parser().type_id() == TypeId::of::<bool>() => {
            arg.value_parser(ValueParser::from(plainly))
        }
        _ => arg,
    });
    command.mut_subcommands(switches_with_values)
}

fn switch(arg: Arg) -> Arg {
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_value("false")
        .default_missing_value("true")
        .value_parser(ValueParser::from(truth))
        .value_name("BOOL")
        .hide_default_value(true)
        .hide_possible_values(true)
}

fn has_one_value(arg: &Arg) -> bool {
    arg.get_num_args().is_none_or(|number| number == 1.into())
}

/// What Go takes for a truth value.
pub(crate) fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_have_values_and_the_last_word_counts() {
        let all = || Arg::new("all").long("all").short('a').action(ArgAction::SetTrue);
        let name = || Arg::new("name").long("name").num_args(1);
        let command = || as_go_has_them(Command::new("x").arg(all()).arg(name()));
        let parsed = |words: &[&str]| {
            let matches = command().try_get_matches_from([&["x"], words].concat()).map_err(|error| error.kind())?;
            Ok((matches.get_one::<bool>("all").copied(), matches.get_one::<String>("name").cloned()))
        };
        let invalid = Err(clap::error::ErrorKind::ValueValidation);
        for (words, expected) in [
            (&[][..], Ok((Some(false), None))),
            (&["-a"], Ok((Some(true), None))),
            (&["-a", "--all=0"], Ok((Some(false), None))),
            (&["--all=F", "-a", "-a=T"], Ok((Some(true), None))),
            (&["--name", "a", "--name=b"], Ok((Some(false), Some("b".to_owned())))),
            (&["--name", "-1", "-a"], Ok((Some(true), Some("-1".to_owned())))),
            (&["--name", "-a"], Ok((Some(false), Some("-a".to_owned())))),
            (&["--all=perhaps"], invalid),
        ] {
            assert_eq!(parsed(words), expected, "{words:?}");
        }
    }
}
