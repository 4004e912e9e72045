//! A command line that clap does not take, told as every other error is: one line, then hints.

use std::ffi::OsString;

use crate::cli;
use crate::error::CommandError;

/// What clap says of this command line, and the command that it is about, if there is one. Clap says it in paragraphs: the
/// mistake, tips, how the command is used, and where its help is.
pub(crate) fn explain(error: &clap::Error, argv: &[OsString]) -> (CommandError, Option<String>) {
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n");
    let mistake = paragraphs.next().unwrap_or_default();
    let (mut tips, mut command) = (Vec::new(), None);
    for paragraph in paragraphs {
        if let Some(usage) = paragraph.strip_prefix("Usage: ") {
            command = command_of(usage);
        }
        tips.extend(paragraph.lines().filter_map(|line| line.trim().strip_prefix("tip: ")));
    }
    // Of a bad value clap does not say whose it is.
    let command = command.or_else(|| named(argv));
    let mistake = one_line(mistake.strip_prefix("error: ").unwrap_or(mistake));
    let told = tips.into_iter().fold(CommandError::usage(mistake), CommandError::hint);
    let help = command.as_deref().map_or_else(|| "proa --help".to_owned(), |name| format!("proa {name} --help"));
    (told.hint(format!("see `{help}`")), command)
}

/// The command's name in its usage, such as `proa [GLOBAL OPTIONS] app add POD IMAGE`: the words that are no placeholders.
fn command_of(usage: &str) -> Option<String> {
    let mut depth = 0_u32;
    let outside = usage.chars().filter(|c| match c {
        '[' | '<' => {
            depth += 1;
            false
        }
        ']' | '>' => {
            depth = depth.saturating_sub(1);
            false
        }
        _ => depth == 0,
    });
    let outside: String = outside.collect();
    let is_name = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
    let words: Vec<&str> = outside.split_whitespace().skip(1).take_while(is_name).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// The first words of a command line that name a command.
fn named(argv: &[OsString]) -> Option<String> {
    let tree = cli::plain_tree();
    let (mut at, mut names) = (&tree, Vec::new());
    for word in argv.iter().skip(1).filter_map(|word| word.to_str()) {
        if let Some(found) = at.find_subcommand(word) {
            names.push(found.get_name());
            at = found;
        }
    }
    (!names.is_empty()).then(|| names.join(" "))
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> String {
        let argv: Vec<_> = line.split(' ').map(Into::into).collect();
        let error = cli::parse(&argv).unwrap_err();
        let (told, command) = explain(error.cause::<clap::Error>().expect("clap refuses it"), &argv);
        told.report(command.as_deref())
    }

    #[test]
    fn mistakes_are_one_line_with_the_help_of_their_command() {
        for (line, expected) in [
            ("proa rm --force", "proa: rm: unexpected argument '--force' found\nhint: see `proa rm --help`\n"),
            ("proa frob", "proa: unrecognized subcommand 'frob'\nhint: see `proa --help`\n"),
            (
                "proa image lst",
                "proa: image: unrecognized subcommand 'lst'\nhint: a similar subcommand exists: 'list'\n\
                 hint: see `proa image --help`\n",
            ),
            (
                "proa fetch",
                "proa: fetch: the following required arguments were not provided: <IMAGE>...\n\
                 hint: see `proa fetch --help`\n",
            ),
            (
                "proa app add --foo",
                "proa: app add: unexpected argument '--foo' found\nhint: see `proa app add --help`\n",
            ),
            (
                "proa run",
                "proa: run: the following required arguments were not provided: <IMAGE>...\n\
                 hint: see `proa run --help`\n",
            ),
        ] {
            assert_eq!(told(line), expected);
        }
        let value = told("proa image list --order=odd");
        assert!(value.starts_with("proa: image list: invalid value 'odd' for '--order <ORDER>'"), "{value}");
        assert!(value.ends_with("\nhint: see `proa image list --help`\n"), "{value}");
    }
}
