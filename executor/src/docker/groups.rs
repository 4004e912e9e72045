//! docker's groups of commands: `container ls` is `ps`.

use std::ffi::OsString;

use clap::Command;

use super::ALL;

/// Groups whose commands are older than they are.
const ALL_GROUPS: [(&str, &str); 2] = [("container", "Manage containers"), ("image", "Manage images")];

/// What in the group of images is called as it is outside.
const OF_IMAGES: [&str; 7] = ["pull", "push", "tag", "save", "load", "import", "history"];

/// Whether this is a group.
pub(super) fn is_one(word: &str) -> bool {
    ALL_GROUPS.iter().any(|(group, _)| *group == word)
}

/// What `docker GROUP` and `docker GROUP --help` print.
pub(super) fn help(words: &[OsString], tree: &Command) -> Option<String> {
    let word = words.first()?.to_str()?;
    let (group, about) = ALL_GROUPS.iter().find(|(group, _)| *group == word)?;
    if words.get(1).is_some_and(|word| word != "--help" && word != "-h") {
        return None;
    }
    let names: Vec<&'static str> = match *group {
        "container" => ALL.iter().filter(|it| it.of_containers).map(|it| it.name).chain(["ls", "prune"]).collect(),
        _ => OF_IMAGES.into_iter().chain(["inspect", "ls", "prune", "rm"]).collect(),
    };
    let commands = names.into_iter().map(|name| {
        let old = short(&[group.into(), name.into()]);
        let known = old.first().and_then(|old| tree.find_subcommand(old.to_str()?));
        let about = known.and_then(Command::get_about).cloned().unwrap_or_default();
        Command::new(name).about(about).disable_help_flag(true)
    });
    let root = Command::new(*group).about(*about).override_usage(format!("docker {group} COMMAND"));
    let root = root.disable_help_subcommand(true).disable_help_flag(true);
    Some(root.subcommand_required(true).subcommands(commands).render_help().to_string())
}

/// The words of a command of one of docker's groups as those of the command that is older than the groups:
/// `container ls` is `ps`.
pub(super) fn short(words: &[OsString]) -> Vec<OsString> {
    let command = match (words.first().and_then(|word| word.to_str()), words.get(1).and_then(|word| word.to_str())) {
        (Some("container"), Some("ls" | "list")) => "ps",
        (Some("image"), Some("ls" | "list")) => "images",
        (Some("image"), Some("rm" | "remove")) => "rmi",
        (Some("image"), Some(name)) if OF_IMAGES.contains(&name) => name,
        (Some(group @ ("container" | "image")), Some("inspect")) => {
            let typed = ["inspect".to_owned(), format!("--type={group}")].map(OsString::from);
            return typed.into_iter().chain(words[2..].iter().cloned()).collect();
        }
        (Some("system"), Some("events")) => "events",
        (Some("container"), Some("prune")) => "container prune",
        (Some("image"), Some("prune")) => "image prune",
        (Some("container"), Some(name)) if ALL.iter().any(|command| command.name == name && command.of_containers) => {
            name
        }
        _ => return words.to_vec(),
    };
    std::iter::once(OsString::from(command)).chain(words[2..].iter().cloned()).collect()
}
