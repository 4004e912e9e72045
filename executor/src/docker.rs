//! proa under the name `docker`, and as `proa docker`: docker's grammar, words, columns and exit statuses.
//!
//! A container is a pod of one app; its id is the pod's UUID without dashes. There is no daemon: what docker's says, proa
//! says in its words, because scripts look for them.

use std::ffi::OsString;

use clap::{ArgMatches, Command, Parser};

use crate::cli::GlobalArgs;
use crate::commands;
use crate::context::Context;
use crate::error::{CommandError, Kind};
use crate::escape::printable;
use crate::{diagnostics, go_flags, output};

pub(crate) mod age;
mod archive;
mod attach;
pub(crate) mod columns;
mod commit;
mod container;
mod cp;
mod create;
mod diff;
mod events;
mod exec;
mod export;
mod filters;
mod groups;
mod health_option;
mod history;
pub(crate) mod image;
mod image_filters;
mod images;
mod import;
mod inspect;
mod label_option;
mod limit_option;
pub(crate) mod listing;
mod load;
mod logs;
mod manual_stop;
mod misuse;
mod network;
mod network_option;
mod noted_option;
mod pause;
mod port;
mod protection_option;
mod prune;
mod prune_filters;
mod ps;
mod pull;
mod push;
mod rename;
mod rmi;
mod run;
mod save;
mod start;
mod stats;
mod tag;
mod targets;
mod template;
mod top;
mod ulimit_option;
mod update;
mod variable_option;
mod version;
mod volume_option;

pub(crate) use age::size;
pub(crate) use container::{Container, id, short as short_id};
pub(crate) use filters::key_and_value;
pub(crate) use image::names_of;
pub(crate) use images::created_ns;
pub(crate) use label_option::labels;
pub(crate) use listing::Listing;
pub(crate) use prune_filters::PruneFilters;
pub(crate) use template::Template;

/// Exit status of options that make no sense, and of `run` when the container could not be made.
const UNUSABLE: u8 = 125;

/// Exit status of every other failure.
const FAILED: u8 = 1;

/// A row of the table of commands.
struct DockerCommand {
    name: &'static str,
    /// What stands after the name in the usage line.
    usage: &'static str,
    augment: fn(Command) -> Command,
    run: fn(&Context, ArgMatches) -> Result<u8, CommandError>,
    /// Whether failures have the statuses of a started container: 125, 126, 127.
    starts: bool,
    /// Whether it is in docker's group `container` as well.
    of_containers: bool,
    /// Whether it is in a group alone, and its name two words.
    grouped: bool,
}

macro_rules! row {
    ($name:literal, $usage:literal, $($module:ident)::+, $args:ident $(, $field:ident: $value:expr)*) => {
        DockerCommand {
            $($field: $value,)*
            ..DockerCommand {
                name: $name,
                usage: $usage,
                augment: <$($module)::+::$args as clap::Args>::augment_args,
                run: |context, matches| {
                    $($module)::+::run(context, crate::cli::typed::<$($module)::+::$args>(matches)?)
                },
                starts: false,
                of_containers: false,
                grouped: false,
            }
        }
    };
}

/// Every command, in the order of the help text.
static ALL: &[DockerCommand] = &[
    row!("run", "[OPTIONS] IMAGE [COMMAND] [ARG...]", run, RunArgs, starts: true, of_containers: true),
    row!("create", "[OPTIONS] IMAGE [COMMAND] [ARG...]", create, CreateArgs, of_containers: true),
    row!("start", "[OPTIONS] CONTAINER [CONTAINER...]", start, StartArgs, of_containers: true),
    row!("restart", "[OPTIONS] CONTAINER [CONTAINER...]", start::restart, RestartArgs, of_containers: true),
    row!("exec", "[OPTIONS] CONTAINER COMMAND [ARG...]", exec, ExecArgs, starts: true, of_containers: true),
    row!("ps", "[OPTIONS]", ps, PsArgs),
    row!("images", "[OPTIONS] [REPOSITORY[:TAG]]", images, ImagesArgs),
    row!("pull", "[OPTIONS] NAME[:TAG|@DIGEST]", pull, PullArgs),
    row!("push", "[OPTIONS] NAME[:TAG]", push, PushArgs),
    row!("tag", "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", tag, TagArgs),
    row!("rmi", "[OPTIONS] IMAGE [IMAGE...]", rmi, RmiArgs),
    row!("history", "[OPTIONS] IMAGE", history, HistoryArgs),
    row!("save", "[OPTIONS] IMAGE [IMAGE...]", save, SaveArgs),
    row!("load", "[OPTIONS]", load, LoadArgs),
    row!("import", "[OPTIONS] FILE|- [REPOSITORY[:TAG]]", import, ImportArgs),
    row!("logs", "[OPTIONS] CONTAINER", logs, LogsArgs, of_containers: true),
    row!("rename", "CONTAINER NEW_NAME", rename, RenameArgs, of_containers: true),
    row!("port", "CONTAINER [PRIVATE_PORT[/PROTO]]", port, PortArgs, of_containers: true),
    row!("cp", "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|- | SRC_PATH|- CONTAINER:DEST_PATH", cp, CpArgs, of_containers: true),
    row!("export", "[OPTIONS] CONTAINER", export, ExportArgs, of_containers: true),
    row!("diff", "CONTAINER", diff, DiffArgs, of_containers: true),
    row!("attach", "[OPTIONS] CONTAINER", attach, AttachArgs, of_containers: true),
    row!("stop", "[OPTIONS] CONTAINER [CONTAINER...]", targets::stop, StopArgs, of_containers: true),
    row!("kill", "[OPTIONS] CONTAINER [CONTAINER...]", targets::kill, KillArgs, of_containers: true),
    row!("pause", "CONTAINER [CONTAINER...]", pause, PauseArgs, of_containers: true),
    row!("unpause", "CONTAINER [CONTAINER...]", pause::unpause, UnpauseArgs, of_containers: true),
    row!("update", "[OPTIONS] CONTAINER [CONTAINER...]", update, UpdateArgs, of_containers: true),
    row!("wait", "CONTAINER [CONTAINER...]", targets::wait, WaitArgs, of_containers: true),
    row!("rm", "[OPTIONS] CONTAINER [CONTAINER...]", targets::rm, RmArgs, of_containers: true),
    row!("network", "COMMAND", network, NetworkArgs),
    row!("volume", "COMMAND", commands::volume, VolumeArgs),
    row!("commit", "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]", commit, ContainerArgs, of_containers: true),
    row!("stats", "[OPTIONS] [CONTAINER...]", stats, StatsArgs, of_containers: true),
    row!("events", "[OPTIONS]", events, EventsArgs),
    row!("top", "CONTAINER [ps OPTIONS]", top, TopArgs, of_containers: true),
    row!("system", "COMMAND", commands::system, SystemArgs),
    row!("info", "[OPTIONS]", commands::system::info, InfoArgs),
    row!("version", "[OPTIONS]", version, VersionArgs),
    row!("login", "[OPTIONS] [SERVER]", commands::login, LoginArgs),
    row!("logout", "[SERVER]", commands::logout, LogoutArgs),
    row!("inspect", "[OPTIONS] NAME|ID [NAME|ID...]", inspect, InspectArgs, of_containers: true),
    row!("container prune", "[OPTIONS]", prune::containers, PruneArgs, grouped: true),
    row!("image prune", "[OPTIONS]", prune::images, PruneArgs, grouped: true),
];

/// Runs the command line of a program named `docker`; returns the exit status.
pub(crate) fn main(argv: &[OsString]) -> u8 {
    /// The environment and the configuration count, options of proa there are none.
    #[derive(Debug, Parser)]
    struct Globals {
        #[command(flatten)]
        global: GlobalArgs,
    }
    let context = Globals::try_parse_from(["docker"])
        .map_err(CommandError::from)
        .and_then(|globals| diagnostics::start(&globals.global).and_then(|()| Context::new(&globals.global)));
    match context {
        Ok(context) => execute(&context, argv.get(1..).unwrap_or_default()),
        Err(error) => complain(None, &error),
    }
}

/// Runs the words after `docker`; returns the exit status.
pub(crate) fn execute(context: &Context, words: &[OsString]) -> u8 {
    // As docker, which takes registries of this machine for insecure ones.
    let mut context = context.clone();
    context.insecure = context.insecure.with_http_here();
    let context = &context;
    let words = &groups::short(words)[..];
    let (command, matches) = match at_once(words).map_or_else(|| at_length(words), Ok) {
        Ok(parsed) => parsed,
        Err(status) => return status,
    };
    (command.run)(context, matches).unwrap_or_else(|error| complain(Some(command), &error))
}

/// A command, and what stands after its name.
type Parsed = (&'static DockerCommand, ArgMatches);

/// The command that these words are, if it is the first whose name is among them. Building the tree of all of them would take
/// as long as a third of a container's start.
fn at_once(words: &[OsString]) -> Option<Parsed> {
    let command = words.iter().find_map(|word| ALL.iter().find(|command| word == command.name))?;
    parsed(tree_of([command]).try_get_matches_from(argv(words)).ok()?)
}

/// The same by the tree of all commands, or the exit status after what was to be printed: a help text, or what is wrong.
fn at_length(words: &[OsString]) -> Result<Parsed, u8> {
    let tree = tree();
    if words.first().is_none_or(|word| word == "help") {
        let of = words.get(1).and_then(|name| tree.find_subcommand(name.to_str()?).cloned());
        return Err(told(&of.unwrap_or(tree).render_help().to_string()));
    }
    if words.first().is_some_and(|word| word == "--version" || word == "-v") {
        return Err(told(concat!("Docker version ", env!("CARGO_PKG_VERSION"), ", build proa\n")));
    }
    if let Some(help) = groups::help(words, &tree) {
        return Err(told(&help));
    }
    match tree.clone().try_get_matches_from(argv(words)) {
        Ok(matches) => Ok(parsed(matches).expect("clap requires a command, and knows the table's alone")),
        Err(error) if !error.use_stderr() => Err(told(&error.render().to_string())),
        Err(error) => Err(misuse::tell(&error, &tree, words)),
    }
}

/// The words with a program's name before them.
fn argv(words: &[OsString]) -> impl Iterator<Item = OsString> {
    std::iter::once(OsString::from("docker")).chain(words.iter().cloned())
}

/// Of what was matched only this goes on: a supervisor that is about to be made would have the rest as long as its pod lives.
fn parsed(mut matches: ArgMatches) -> Option<Parsed> {
    let (name, of_command) = matches.remove_subcommand()?;
    Some((ALL.iter().find(|command| command.name == name)?, of_command))
}

/// Prints a help or version text; returns the exit status.
fn told(text: &str) -> u8 {
    output::write(text).map_or_else(|error| complain(None, &error), |()| 0)
}

/// What `docker run` does with these words.
///
/// # Errors
///
/// Those of [`run`], a command line that makes no sense among them.
pub(crate) fn run_image(context: &Context, words: Vec<OsString>) -> Result<u8, CommandError> {
    let command = <run::RunArgs as clap::Args>::augment_args(Command::new("docker run").no_binary_name(true));
    let command = go_flags::as_go_has_them(command);
    let matches = command.try_get_matches_from(words).map_err(crate::cli::usage)?;
    run::run(context, crate::cli::typed(matches)?)
}

/// Prints a failure; returns its exit status.
fn complain(command: Option<&DockerCommand>, error: &CommandError) -> u8 {
    let starts = command.filter(|command| command.starts);
    let message = printable(&error.chain()).into_owned();
    let said = if error.kind == Kind::Usage { message } else { with_origin(&message) };
    let mut text = match starts {
        Some(DockerCommand { name: "run", .. }) => format!("docker: {said}\nSee 'docker run --help'.\n"),
        _ => format!("{said}\n"),
    };
    for hint in error.all_hints(None).iter().filter_map(|hint| in_dockers_words(hint)) {
        text.push_str(&format!("hint: {}\n", printable(&hint)));
    }
    output::complain(&text);
    match (error.kind, starts) {
        (Kind::NotFound | Kind::NotExecutable, Some(_)) => error.kind.exit_status(),
        (Kind::Usage, _) if is_of_a_flag(command, error) => UNUSABLE,
        (_, Some(DockerCommand { name: "run", .. })) => UNUSABLE,
        _ => FAILED,
    }
}

/// Whether docker would find this out while it reads the options; of the rest of a line most commands do not say 125.
fn is_of_a_flag(command: Option<&DockerCommand>, error: &CommandError) -> bool {
    let makes = |command: &DockerCommand| command.starts || matches!(command.name, "create" | "update");
    command.is_none_or(makes)
        || error.cause::<clap::Error>().is_some()
        || error.chain().starts_with("invalid argument ")
}

/// A hint with the options that docker's command line has; none of those that know nothing.
fn in_dockers_words(hint: &str) -> Option<String> {
    const WORDS: [(&str, &str); 6] = [
        (
            "give the executable after the image: --exec /path/in/image -- ARGS",
            "give a command after the image, or --entrypoint",
        ),
        ("--insecure-options=http", "`proa --insecure-options=http docker …`"),
        ("--working-dir", "--workdir"),
        ("--user and --group", "--user"),
        ("--supplementary-gids", "--group-add"),
        ("`proa rm ", "`docker rm "),
    ];
    let known = WORDS.iter().fold(hint.to_owned(), |hint, (proas, dockers)| hint.replace(proas, dockers));
    (!hint.starts_with("see `proa ")).then_some(known)
}

/// Prints the failure of one of several targets.
pub(crate) fn complain_of(error: &CommandError) -> u8 {
    let hints = error.all_hints(None);
    let hints = hints.iter().filter_map(|hint| in_dockers_words(hint));
    let hints: String = hints.map(|hint| format!("hint: {}\n", printable(&hint))).collect();
    output::complain(&format!("{}\n{hints}", with_origin(&printable(&error.chain()))));
    FAILED
}

/// A message of what would be the daemon, unless it has docker's own beginning.
fn with_origin(message: &str) -> String {
    if message.starts_with("Error: ") || message.starts_with("template") {
        message.to_owned()
    } else {
        format!("Error response from daemon: {message}")
    }
}

/// The whole command line.
pub(crate) fn tree() -> Command {
    tree_of(ALL)
}

/// The command line of these commands.
fn tree_of(commands: impl IntoIterator<Item = &'static DockerCommand>) -> Command {
    let root = Command::new("docker")
        .about("docker's command line over proa's pods: no daemon, no root")
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .arg(clap::Arg::new("debug").long("debug").short('D').action(clap::ArgAction::SetTrue).hide(true))
        .arg(clap::Arg::new("log-level").long("log-level").short('l').num_args(1).hide(true))
        .after_help("Run 'docker COMMAND --help' for more information on a command.");
    commands.into_iter().fold(root, |root, command| {
        let usage = format!("docker {} {}", command.name, command.usage);
        let of = Command::new(command.name).override_usage(usage).disable_version_flag(true).hide(command.grouped);
        root.subcommand(go_flags::as_go_has_them((command.augment)(of)))
    })
}
