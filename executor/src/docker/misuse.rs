//! What is said of a command line that makes no sense: docker's words, and who else does what there is not.

use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::{FAILED, UNUSABLE, groups};
use crate::escape::printable;
use crate::output;

/// Says of a command line that makes no sense what docker says; returns the exit status.
pub(super) fn tell(error: &clap::Error, tree: &Command, words: &[OsString]) -> u8 {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let wrong = context(match error.kind() {
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        _ => ContextKind::InvalidArg,
    });
    // What stands behind the mistake is no command: `docker buildx version`.
    let before = words.iter().take_while(|word| **word != *wrong);
    let (mut command, mut name) = (None, String::new());
    for word in before.into_iter().filter_map(|word| word.to_str()) {
        if let Some(found) = command.unwrap_or(tree).find_subcommand(word) {
            command = Some(found);
            name.push_str(&format!(" {}", found.get_name()));
        }
    }
    let see = format!("See 'docker{name} --help'.");
    let word = context(ContextKind::InvalidArg);
    let (said, status) = match error.kind() {
        ErrorKind::InvalidSubcommand => (unknown(&context(ContextKind::InvalidSubcommand), command, words), FAILED),
        ErrorKind::UnknownArgument if word.starts_with("--") => {
            let why = daemons(&word).map(|why| format!("hint: {why}\n")).unwrap_or_default();
            (format!("unknown flag: {}\n{see}\n{why}", printable(&word)), UNUSABLE)
        }
        ErrorKind::UnknownArgument if word.starts_with('-') => {
            let letter = word.chars().nth(1).unwrap_or('-');
            let why = daemons(&word).filter(|_| command.is_none()).map(|why| format!("hint: {why}\n"));
            let why = why.unwrap_or_default();
            (format!("unknown shorthand flag: {letter:?} in {}\n{see}\n{why}", printable(&word)), UNUSABLE)
        }
        ErrorKind::MissingRequiredArgument | ErrorKind::UnknownArgument | ErrorKind::TooFewValues => {
            let wants = command.map_or_else(|| "requires more arguments".to_owned(), wants);
            let usage = command.map(|command| command.clone().render_usage().to_string()).unwrap_or_default();
            (format!("\"docker{name}\" {wants}.\n{see}\n\n{usage}\n"), FAILED)
        }
        // A group alone.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => return super::told(&error.render().to_string()),
        ErrorKind::InvalidValue if context(ContextKind::InvalidValue).is_empty() && lacks_value(words) => {
            (format!("flag needs an argument: {}\n{see}\n", printable(&last_flag(words))), UNUSABLE)
        }
        ErrorKind::InvalidUtf8 => {
            let wrong = words.iter().find(|word| word.to_str().is_none()).map(|word| word.to_string_lossy());
            let wrong = wrong.as_deref().map(printable).unwrap_or_default();
            (format!("\"{wrong}\" is not UTF-8\n{see}\n"), UNUSABLE)
        }
        _ => {
            let known = context(ContextKind::ValidValue);
            let known = if known.is_empty() { known } else { format!("hint: there are {known}\n") };
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            (format!("{}\n{see}\n{known}", printable(first)), UNUSABLE)
        }
    };
    output::complain(&said);
    status
}

/// The flag at the line's end, as docker names it.
fn last_flag(words: &[OsString]) -> String {
    let last = words.last().map(|word| word.to_string_lossy()).unwrap_or_default();
    match last.chars().last() {
        Some(letter) if !last.starts_with("--") => format!("{letter:?} in {last}"),
        _ => last.into_owned(),
    }
}

/// Whether the line ends with an option.
fn lacks_value(words: &[OsString]) -> bool {
    words.last().and_then(|word| word.to_str()).is_some_and(|word| word.starts_with('-') && !word.contains('='))
}

/// How many arguments a command has, in docker's words.
fn wants(command: &Command) -> String {
    let counts = command.get_positionals().map(|arg| {
        let range = arg.get_num_args().unwrap_or_else(|| 1.into());
        let many = matches!(arg.get_action(), clap::ArgAction::Append);
        let least = if arg.is_required_set() { range.min_values().max(1) } else { 0 };
        (least, if many { usize::MAX } else { range.max_values() })
    });
    let (least, most) = counts.fold((0, 0usize), |sum, one| (sum.0 + one.0, sum.1.saturating_add(one.1)));
    let counted = |count: usize| format!("{count} argument{}", if count == 1 { "" } else { "s" });
    match (least, most) {
        (0, 0) => "accepts no arguments".to_owned(),
        (least, usize::MAX) => format!("requires at least {}", counted(least)),
        (least, most) if least == most => format!("requires exactly {}", counted(least)),
        (0, most) => format!("requires at most {}", counted(most)),
        (least, most) => format!("requires at least {least} and at most {}", counted(most)),
    }
}

/// What is said of options that choose a daemon.
fn daemons(option: &str) -> Option<&'static str> {
    match option {
        "-H" | "--host" | "--context" | "-c" => {
            Some("there is no daemon to be chosen: leave it out, containers are your own on this machine")
        }
        "--tls" | "--tlscacert" | "--tlscert" | "--tlskey" | "--tlsverify" => {
            Some("there is no daemon to be spoken to: leave it out")
        }
        "--config" => Some("set DOCKER_CONFIG to read credentials from another directory"),
        _ => None,
    }
}

/// Who does what a command of docker's would do that there is not.
fn elsewhere(command: &str) -> Option<&'static str> {
    Some(match command {
        "build" | "builder" | "buildx" => {
            "buildah, kaniko and others build images without a daemon; `docker load` takes their archives"
        }
        "compose" | "stack" => {
            "`docker network create` and `docker run --network` connect containers that find each other by name"
        }
        "swarm" | "node" | "service" | "secret" | "config" => "containers are of this machine alone",
        "context" => "there is no daemon to be chosen",
        "plugin" => "there is nothing that could be plugged in",
        "manifest" => "`docker inspect` shows images that are stored; skopeo shows those of registries",
        "checkpoint" => "containers are stopped, or paused, but not frozen to disk",
        "trust" => "`proa trust` says whose signatures count",
        "init" | "scout" | "extension" | "desktop" | "model" | "ai" | "mcp" | "debug" | "sbom" => {
            "it is a program of its own beside docker's"
        }
        "search" => "a registry's own pages tell what it has",
        _ => return None,
    })
}

/// What is said of a command that there is not, of docker's own or of one of its groups.
fn unknown(word: &str, command: Option<&Command>, words: &[OsString]) -> String {
    let (shown, mut see) = (printable(word), "docker".to_owned());
    let said = match (command.map(Command::get_name), groups::is_one(word)) {
        (Some(group), _) => {
            see = format!("docker {group}");
            format!("{group} {shown}")
        }
        (None, true) => {
            see = format!("docker {shown}");
            let given = words.iter().skip_while(|given| **given != *word).nth(1);
            format!("{shown} {}", printable(&given.map(|given| given.to_string_lossy()).unwrap_or_default()))
        }
        (None, false) => shown.to_string(),
    };
    let last = said.trim_end().rsplit(' ').next().unwrap_or_default();
    let why = elsewhere(word).or_else(|| elsewhere(last)).map(|why| format!("hint: {why}\n")).unwrap_or_default();
    format!("docker: '{}' is not a docker command.\nSee '{see} --help'\n{why}", said.trim_end())
}
