//! The shape of the command line: global options and the table of subcommands.
//!
//! Building clap's tree of every subcommand costs more than a pod's directory, so a line is first parsed against a tree
//! that holds only the first subcommand whose name occurs in it. Whatever that tree refuses is parsed again against the
//! whole tree, which knows abbreviations and values of switches, and then gives the error or the help text.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Args, Command, CommandFactory as _, FromArgMatches, Parser};

use crate::commands::{self, Subcommand};
use crate::error::{CommandError, Kind};
use crate::{go_flags, rkt_options};

// What may stand before or after a subcommand's name. (A doc comment would become the program's help text.)
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Keep pods and images in DIR [default: $XDG_DATA_HOME/proa, or ~/.local/share/proa; root: /var/lib/proa]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) dir: Option<PathBuf>,

    /// Read the distribution's configuration from DIR [default: /usr/lib/proa]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) system_config: Option<PathBuf>,

    /// Read the machine's configuration from DIR, which counts more [default: /etc/proa]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) local_config: Option<PathBuf>,

    /// Read the user's configuration from DIR, which counts most [default: $XDG_CONFIG_HOME/proa, or ~/.config/proa]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) user_config: Option<PathBuf>,

    /// Look for images in the store of DIR, too, and run them from there without copying; nothing is written to it
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) store_ro: Vec<PathBuf>,

    /// Switch off checks, a comma-separated list; `image` accepts ACIs without a trusted signature
    #[arg(long, value_name = "LIST", global = true)]
    pub(crate) insecure_options: Option<String>,

    /// Accept no image without a signature that is trusted, whatever --insecure-options says; an image of a registry then
    /// needs a policy that names keys
    #[arg(long, global = true)]
    pub(crate) require_signature: bool,

    /// Trust the keys that an image's host names over HTTPS, without asking, where none is trusted for the image yet
    #[arg(long, global = true)]
    pub(crate) trust_keys_from_https: bool,

    /// Tell on stderr what is being done and how long it takes; PROA_LOG=FILTER selects
    #[arg(long, global = true)]
    pub(crate) debug: bool,

    /// Write what --debug tells in this form
    #[arg(long, value_name = "FORMAT", global = true)]
    pub(crate) log_format: Option<LogFormat>,
}

/// Forms of diagnostics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

/// A parsed command line.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) global: GlobalArgs,
    pub(crate) subcommand: &'static Subcommand,
    pub(crate) matches: ArgMatches,
}

impl Line {
    /// The command's whole name, that of a group's member with it: `image list`.
    pub(crate) fn name(&self) -> String {
        let mut name = self.subcommand.name.to_owned();
        let mut matches = &self.matches;
        while let Some((member, of_member)) = matches.subcommand() {
            name.push(' ');
            name.push_str(member);
            matches = of_member;
        }
        name
    }
}

/// Parses the process's arguments, the program's name among them.
///
/// # Errors
///
/// Of kind [`Kind::Usage`] with clap's error as source, which may be a request for help.
pub(crate) fn parse(argv: &[OsString]) -> Result<Line, CommandError> {
    let asked = asked_for_help(argv);
    let argv = asked.as_deref().unwrap_or(argv);
    let is_given = |subcommand: &&Subcommand| subcommand.names().any(|name| before_subcommand(argv, name).is_some());
    let named = argv.iter().find_map(|word| commands::ALL.iter().find(|it| it.names().any(|name| word == name)));
    let attempt = named.and_then(|named| tree([named.command()]).try_get_matches_from(argv).ok());
    let mut matches = match attempt.map_or_else(|| abbreviations().try_get_matches_from(argv), Ok) {
        Ok(matches) => matches,
        Err(error) => {
            if let Some(shorter) = rkt_options::granted(&error, argv) {
                return parse(&shorter);
            }
            // Help shows options as they are meant; a mistake is told of all that may be given.
            let is_help = matches!(
                error.kind(),
                ErrorKind::DisplayHelp
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                    | ErrorKind::DisplayVersion
            );
            let tree = if is_help { whole_tree() } else { go_flags::switches_with_values(whole_tree()) };
            tree.try_get_matches_from(argv).map_err(|error| {
                let mended = commands::ALL.iter().filter(is_given).find_map(|subcommand| (subcommand.mend)(&error));
                mended.unwrap_or_else(|| usage(error))
            })?
        }
    };
    let (name, of_subcommand) = matches.remove_subcommand().expect("clap requires a subcommand");
    Ok(Line {
        global: GlobalArgs::from_arg_matches(&matches).map_err(usage)?,
        subcommand: commands::ALL.iter().find(|c| c.name == name).expect("clap knows only subcommands of the table"),
        matches: of_subcommand,
    })
}

/// The word that was taken for a subcommand and is none, with the global options before it and the words after it.
pub(crate) fn unknown_subcommand<'a>(
    argv: &'a [OsString],
    error: &CommandError,
) -> Option<(GlobalArgs, String, &'a [OsString])> {
    let error = error.cause::<clap::Error>().filter(|error| error.kind() == ErrorKind::InvalidSubcommand)?;
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    // Before it stand options with their values, which clap has understood.
    let (global, index) = before_subcommand(argv, name)?;
    Some((global, name.clone(), &argv[index + 1..]))
}

/// The global options before the word, where it stands in a subcommand's place, and its index.
pub(crate) fn before_subcommand(argv: &[OsString], word: &str) -> Option<(GlobalArgs, usize)> {
    #[derive(Debug, Parser)]
    struct Globals {
        #[command(flatten)]
        global: GlobalArgs,
    }
    let parse = |before: &[OsString]| {
        let matches = go_flags::switches_with_values(Globals::command()).try_get_matches_from(before).ok()?;
        Globals::from_arg_matches(&matches).ok()
    };
    let mut candidates = argv.iter().enumerate().skip(1).filter(|(_, found)| *found == word).map(|(index, _)| index);
    candidates.find_map(|index| Some((parse(&argv[..index])?.global, index)))
}

/// `proa help COMMAND` as `proa COMMAND --help`.
fn asked_for_help(argv: &[OsString]) -> Option<Vec<OsString>> {
    let (_, index) = before_subcommand(argv, "help")?;
    let words = argv[..index].iter().chain(&argv[index + 1..]).cloned();
    Some(words.chain(["--help".into()]).collect())
}

/// What may be abbreviated, with switches that have values, as rkt's had (`--full=true`).
fn abbreviations() -> Command {
    let whole = tree(commands::ALL.iter().filter(|command| command.short_for.is_none()).map(Subcommand::command));
    go_flags::switches_with_values(whole.infer_subcommands(true))
}

/// Every subcommand, with its help text and abbreviations.
pub(crate) fn whole_tree() -> Command {
    tree(commands::ALL.iter().map(Subcommand::explained)).infer_subcommands(true)
}

/// Every subcommand as programs want it that are told of command lines: without help texts that hold other ones.
pub(crate) fn plain_tree() -> Command {
    tree(commands::ALL.iter().map(Subcommand::command))
}

/// The error that is a subcommand's help text.
pub(crate) fn help(subcommand: &str) -> CommandError {
    match whole_tree().try_get_matches_from(["proa", subcommand, "--help"]) {
        Err(help) => usage(help),
        Ok(_) => CommandError::usage(format!("{subcommand} has no help")),
    }
}

/// The command line of the given subcommands.
fn tree(subcommands: impl IntoIterator<Item = Command>) -> Command {
    let root = Command::new("proa")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Run pods of App Container and OCI images, without root and without a daemon")
        .after_help("Example:\n  proa run hello\n\nSee `proa COMMAND --help` for a command's options and examples.")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommands(subcommands);
    GlobalArgs::augment_args(root)
}

/// The arguments of a subcommand from what clap matched, which goes: a supervisor that is made later would have it as long
/// as its pod lives.
pub(crate) fn typed<A: FromArgMatches>(mut matches: ArgMatches) -> Result<A, CommandError> {
    A::from_arg_matches_mut(&mut matches).map_err(usage)
}

/// A clap error as one of ours; [`crate::misuse`] has its text.
pub(crate) fn usage(mut error: clap::Error) -> CommandError {
    // Of a mistyped option clap says that behind `--` it would be a value. Nobody means that.
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::StyledStrs(mut tips)) = error.remove(ContextKind::Suggested)
    {
        tips.retain(|tip| !tip.to_string().contains(" as a value, use "));
        if !tips.is_empty() {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
        }
    }
    CommandError { kind: Kind::Usage, source: Box::new(error), hints: Vec::new(), picture: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subcommand(line: &str) -> Result<&'static str, clap::error::ErrorKind> {
        let argv: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        parse(&argv).map(|line| line.subcommand.name).map_err(|e| e.cause::<clap::Error>().unwrap().kind())
    }

    #[test]
    fn help_texts() {
        // A fixed width: the golden files must not depend on the terminal.
        let tree = whole_tree().term_width(100);
        let mut helps = vec![("proa".to_owned(), tree.clone().render_long_help())];
        for name in all_names() {
            let line = format!("proa {name} --help");
            let help = tree.clone().try_get_matches_from(line.split(' ')).unwrap_err();
            helps.push((name, help.render()));
        }
        for (name, help) in helps {
            let help = help.to_string();
            assert!(help.contains("\nExample"), "{name} has no example");
            crate::golden::check(&format!("help/{}.txt", name.replace(' ', "-")), &help);
        }
    }

    /// The names of all commands, groups and their members, but for hidden ones: they are another name of one of these.
    fn all_names() -> Vec<String> {
        fn collect(command: &Command, path: &str, names: &mut Vec<String>) {
            for member in command.get_subcommands().filter(|member| !member.is_hide_set()) {
                let name = format!("{path}{}", member.get_name());
                collect(member, &format!("{name} "), names);
                names.push(name);
            }
        }
        let mut names = Vec::new();
        collect(&whole_tree(), "", &mut names);
        names
    }

    #[test]
    fn examples_in_help_texts_can_be_parsed() {
        let (mut tried, names) = (0, all_names());
        for name in &names {
            let line = format!("proa {name} --help");
            let help = whole_tree().try_get_matches_from(line.split(' ')).unwrap_err().render().to_string();
            for example in help.lines().filter_map(|line| line.strip_prefix("  proa ")) {
                let argv: Vec<OsString> = format!("proa {example}").split(' ').map(OsString::from).collect();
                let parsed = parse(&argv).unwrap_or_else(|e| panic!("{example}: {}", e.report(None))).name();
                let whole = commands::ALL.iter().find(|command| command.name == name).and_then(|it| it.short_for);
                let name = whole.unwrap_or(name);
                assert!(parsed == name || parsed.starts_with(&format!("{name} ")), "{example} is of {parsed}");
                tried += 1;
            }
        }
        assert!(tried > names.len(), "{tried} examples");
    }

    #[test]
    fn the_whole_tree_is_sound() {
        whole_tree().debug_assert();
    }

    #[test]
    fn names_aliases_and_abbreviations() {
        for (line, name) in [
            ("proa list", "list"),
            ("proa ps", "list"),
            ("proa li", "list"),
            ("proa --dir list run hello", "run"),
            ("proa --dir run lis", "list"),
            ("proa list --dir x", "list"),
            ("proa run list -- rm", "run"),
            ("proa im li", "image"),
            ("proa images", "images"),
        ] {
            assert_eq!(subcommand(line), Ok(name), "{line}");
        }
    }

    #[test]
    fn an_ambiguous_abbreviation_stays_so_when_a_name_occurs_later() {
        assert_eq!(subcommand("proa r run"), Err(clap::error::ErrorKind::InvalidSubcommand));
    }

    #[test]
    fn usage_errors() {
        use clap::error::ErrorKind;
        for (line, kind) in [
            ("proa", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("proa nonsense", ErrorKind::InvalidSubcommand),
            ("proa list --nonsense", ErrorKind::UnknownArgument),
            ("proa run --nonsense hello", ErrorKind::UnknownArgument),
            ("proa run", ErrorKind::MissingRequiredArgument),
            ("proa --log-format=xml list", ErrorKind::InvalidValue),
            ("proa --help", ErrorKind::DisplayHelp),
            ("proa run --help", ErrorKind::DisplayHelp),
        ] {
            assert_eq!(subcommand(line), Err(kind), "{line}");
        }
    }

    #[test]
    fn global_options_stand_on_either_side() {
        for line in ["proa --dir /d --debug list", "proa list --dir=/d --debug"] {
            let argv: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let global = parse(&argv).unwrap().global;
            assert_eq!((global.dir, global.debug), (Some("/d".into()), true), "{line}");
        }
    }
}
