//! The subcommands: one file each, which defines its arguments, its help and what it does.

use std::fmt;

use clap::{ArgMatches, Command};

use crate::context::Context;
use crate::error::CommandError;
use crate::pod_line;

mod aci;
mod app;
mod attach;
mod cat_manifest;
pub(crate) mod commit;
mod completion;
mod config;
pub(crate) mod cp;
mod docker;
mod doctor;
pub(crate) mod eci;
pub(crate) mod enter;
mod events;
mod export;
mod fetch;
mod gc;
mod identity;
mod image;
pub(crate) mod kill;
mod list;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod logs;
mod man;
mod metadata_service;
mod port;
mod prepare;
mod rm;
mod run;
mod run_prepared;
mod stats;
mod status;
pub(crate) mod stop;
pub(crate) mod system;
pub(crate) mod top;
mod trust;
pub(crate) mod update;
mod version;
pub(crate) mod volume;
mod wait;

/// A row of the table of subcommands.
pub(crate) struct Subcommand {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    alias: Option<&'static str>,
    /// The command that this is another name of. Such a name cannot be abbreviated: `im` stays `image`.
    pub(crate) short_for: Option<&'static str>,
    augment: fn(Command) -> Command,
    /// Adds what only a reader of the help text wants.
    explain: fn(Command) -> Command,
    /// A better error than clap's for a word that was not expected.
    pub(crate) mend: fn(&clap::Error) -> Option<CommandError>,
    /// Does the work; returns the exit status of the process.
    pub(crate) run: fn(&Context, ArgMatches) -> Result<u8, CommandError>,
}

/// A row from a module, a name, the type of its arguments, and what departs from the ordinary.
macro_rules! row {
    ($($module:ident)::+, $name:literal, $args:ident $(, $field:ident: $value:expr)*) => {
        Subcommand {
            $($field: $value,)*
            ..Subcommand {
                name: $name,
                alias: None,
                short_for: None,
                augment: <$($module)::+::$args as clap::Args>::augment_args,
                explain: |command| command,
                mend: |_| None,
                run: |context, matches| {
                    $($module)::+::run(context, crate::cli::typed::<$($module)::+::$args>(matches)?)
                },
            }
        }
    };
}

/// Every subcommand, in the order of the help text. `cli` finds them here.
pub(crate) static ALL: &[Subcommand] = &[
    row!(run, "run", RunArgs, explain: run::explain, mend: pod_line::misplaced_before),
    row!(fetch, "fetch", FetchArgs),
    row!(image, "image", ImageArgs),
    row!(image::list, "images", ListArgs, short_for: Some("image list")),
    row!(image::rm, "rmi", RmArgs, short_for: Some("image rm")),
    row!(aci, "aci", AciArgs),
    row!(prepare, "prepare", PrepareArgs, explain: prepare::explain, mend: pod_line::misplaced_before),
    row!(run_prepared, "run-prepared", RunPreparedArgs, mend: run_prepared::mend),
    row!(status, "status", StatusArgs),
    row!(enter, "enter", EnterArgs, alias: Some("exec")),
    row!(attach, "attach", AttachArgs),
    row!(logs, "logs", LogsArgs),
    row!(events, "events", EventsArgs),
    row!(wait, "wait", WaitArgs),
    row!(stop, "stop", StopArgs),
    row!(kill, "kill", KillArgs),
    row!(top, "top", TopArgs),
    row!(cp, "cp", CpArgs),
    row!(commit, "commit", CommitArgs),
    row!(export, "export", ExportArgs),
    row!(stats, "stats", StatsArgs),
    row!(update, "update", UpdateArgs, mend: update::mend),
    row!(port, "port", PortArgs),
    row!(app, "app", AppArgs, mend: app::mend),
    row!(eci, "eci", EciArgs),
    row!(list, "list", ListArgs, alias: Some("ps")),
    row!(rm, "rm", RmArgs),
    row!(cat_manifest, "cat-manifest", CatManifestArgs),
    row!(gc, "gc", GcArgs),
    row!(volume, "volume", VolumeArgs),
    row!(system, "system", SystemArgs),
    row!(login, "login", LoginArgs),
    row!(logout, "logout", LogoutArgs),
    row!(trust, "trust", TrustArgs),
    row!(config, "config", ConfigArgs),
    row!(metadata_service, "metadata-service", MetadataServiceArgs, mend: metadata_service::mend),
    row!(identity, "identity", IdentityArgs),
    row!(docker, "docker", DockerArgs),
    row!(doctor, "doctor", DoctorArgs),
    row!(completion, "completion", CompletionArgs),
    row!(man, "man", ManArgs),
    row!(version, "version", VersionArgs),
];

impl Subcommand {
    /// The names it answers to.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        [Some(self.name), self.alias].into_iter().flatten()
    }

    /// Its part of clap's tree.
    pub(crate) fn command(&self) -> Command {
        let command = Command::new(self.name);
        (self.augment)(match self.alias {
            Some(alias) => command.visible_alias(alias),
            None => command,
        })
    }

    /// [`Subcommand::command`] with all that its help text shows.
    pub(crate) fn explained(&self) -> Command {
        (self.explain)(self.command())
    }
}

impl fmt::Debug for Subcommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subcommand").field("name", &self.name).finish_non_exhaustive()
    }
}
