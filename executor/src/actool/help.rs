//! `actool help`: the list of commands, or one of them.

use super::flags::{Flag, FlagKind, FlagSet};
use super::{COMMANDS, Command, GLOBAL, Invocation, fail};

pub(super) const COMMAND: Command = Command {
    name: "help",
    summary: "List the commands, or explain one of them",
    usage: "[COMMAND]",
    description: "List the commands, or explain one of them",
    flags: FlagSet { name: "", flags: &[] },
    run,
};

fn run(invocation: &Invocation) -> u8 {
    let text = match invocation.given.rest.first() {
        None => overview(),
        Some(name) => match COMMANDS.iter().find(|command| name == command.name) {
            Some(command) => of_command(command),
            None => return fail(&format!("Unrecognized command: {}", name.to_string_lossy())),
        },
    };
    super::put("help", &text)
}

fn overview() -> String {
    let commands: Vec<_> = COMMANDS.iter().map(|command| (command.name.to_owned(), command.summary)).collect();
    format!(
        "NAME:\n\tactool - builds, checks and changes App Container images\n\n\
         USAGE:\n\tactool [global options] <command> [command options] [arguments...]\n\n\
         VERSION:\n\t{}\n\n\
         COMMANDS:\n{}\n\
         GLOBAL OPTIONS:\n{}\n\
         Run \"actool help <command>\" for more details on a specific command.\n",
        super::VERSION,
        columns(&commands),
        columns(&options(GLOBAL.flags)),
    )
}

fn of_command(command: &Command) -> String {
    let description: String = command.description.lines().map(|line| format!("\t{line}\n")).collect();
    let options = match options(command.flags.flags) {
        options if options.is_empty() => String::new(),
        options => format!("OPTIONS:\n{}\n", columns(&options)),
    };
    format!(
        "NAME:\n\t{name} - {summary}\n\n\
         USAGE:\n\tactool {name} {usage}\n\n\
         DESCRIPTION:\n{description}\n\
         {options}\
         For help on global options run \"actool help\"\n",
        name = command.name,
        summary = command.summary,
        usage = command.usage,
    )
}

fn options(flags: &[Flag]) -> Vec<(String, &'static str)> {
    let option = |flag: &Flag| {
        (format!("--{}={}", flag.name, if flag.kind == FlagKind::Switch { "false" } else { "" }), flag.help)
    };
    flags.iter().map(option).collect()
}

/// Two columns, aligned with tabs.
fn columns(rows: &[(String, &str)]) -> String {
    const TAB: usize = 8;
    let width = rows.iter().map(|(left, _)| left.len() + 1).max().unwrap_or(0).next_multiple_of(TAB);
    let row = |(left, right): &(String, &str)| {
        let tabs = (width - left.len()).div_ceil(TAB);
        format!("\t{left}{}{right}\n", "\t".repeat(tabs))
    };
    rows.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_meet_at_a_tab_stop() {
        let rows = [("a".to_owned(), "one"), ("seven77".to_owned(), "two"), ("fourteen-bytes".to_owned(), "three")];
        assert_eq!(columns(&rows), "\ta\t\tone\n\tseven77\t\ttwo\n\tfourteen-bytes\tthree\n");
    }

    #[test]
    fn every_command_is_explained_with_all_its_flags() {
        for command in COMMANDS {
            let text = of_command(command);
            assert!(command.flags.flags.iter().all(|flag| text.contains(&format!("--{}=", flag.name))), "{text}");
            assert!(command.flags.flags.is_sorted_by_key(|flag| flag.name), "{}", command.name);
            assert!(overview().contains(command.summary));
        }
        assert!(COMMANDS.is_sorted_by_key(|command| command.name));
    }
}
