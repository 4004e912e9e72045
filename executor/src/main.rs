//! `proa` runs pods of App Container and OCI images for an ordinary user, with no daemon and no setuid program.
//!
//! This program is the stage0: it turns a command line into images in the store, a reified pod manifest and a pod
//! directory, and hands them to [`stage1`]. It never builds a mount or a namespace itself, and nothing on the way to a pod that
//! runs starts a thread. One file is several programs: by its first argument, and by the name it is started under.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

mod actool;
mod addresses;
mod annotations;
mod app_argument;
mod app_isolators;
mod attach;
mod cgroup;
mod cli;
mod client;
mod commands;
mod commit;
mod config;
mod consent;
mod context;
mod copying;
mod detach_keys;
mod devices;
mod diagnostics;
mod discover;
mod disk_usage;
mod docker;
mod doctor;
mod dry_run;
mod duration;
mod ending;
mod environment;
mod error;
mod escape;
mod etc;
mod export_format;
mod exporting;
mod failure_hint;
mod forward;
mod fsck;
mod go_flags;
#[cfg(test)]
mod golden;
mod guest_agent;
mod habits;
mod handed;
mod health_record;
mod hello;
mod hints;
mod identity;
mod idmap;
mod images;
mod import;
mod insecure;
mod instruction;
mod keeper;
mod keys;
mod launch;
mod layer_writer;
mod leftover;
mod log_line;
mod manifest;
mod misuse;
mod moment;
mod monitor;
mod named_volumes;
mod net;
mod network;
mod oci_form;
mod output;
mod packed;
mod parallel;
mod pod_argument;
mod pod_line;
mod pod_network;
mod policy;
mod ports;
mod prepare;
mod process_columns;
mod processes;
mod profiles;
mod progress;
mod protection;
mod pull_policy;
mod relay;
mod rendering;
mod request;
mod rkt_options;
mod sealed;
mod seccomp_profile;
mod setup;
mod signal_argument;
mod signature;
mod size;
mod skeleton;
mod small_file;
mod snapshot;
mod sockets;
mod sources;
mod split;
mod supervision;
mod table;
mod template;
mod umask;
mod unknown_keys;
mod userns;
mod uuid_file;
mod verifier;
mod vm_images;

use clap::error::ErrorKind;

use error::CommandError;

fn main() -> ExitCode {
    // Before there are frames that a supervisor should not keep.
    sys::stack::begin();
    program()
}

#[inline(never)]
fn program() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    // The built-in image holds a copy of this program under that name.
    if program_name(&argv) == Some(OsStr::new("hello")) {
        return hello::app::main(&argv[1..]);
    }
    if program_name(&argv) == Some(OsStr::new(verifier::PROGRAM)) {
        return verifier::main();
    }
    // So has the volume of a pod with the agent.
    if program_name(&argv) == Some(OsStr::new(guest_agent::PROGRAM)) {
        return ExitCode::from(::guest_agent::run(&argv[1..]));
    }
    sys::signal::expect_children();
    sys::signal::outlive_the_limit_of_file_sizes();
    // Pods and images are this user's alone, whatever the caller's umask allows. Apps get 022 from stage1.
    umask::tighten();
    if program_name(&argv) == Some(OsStr::new("actool")) {
        return ExitCode::from(actool::main(&argv[1..]));
    }
    if program_name(&argv) == Some(OsStr::new("eci")) {
        return ExitCode::from(vm_images::main(&argv));
    }
    if program_name(&argv) == Some(OsStr::new("docker")) {
        return ExitCode::from(docker::main(&argv));
    }
    let mut command = None;
    let status = proa(&argv, &mut command).unwrap_or_else(|error| report(&error, &argv, command.as_deref()));
    ExitCode::from(status)
}

/// The last part of the name that this program was started under.
fn program_name(argv: &[OsString]) -> Option<&OsStr> {
    Path::new(argv.first()?).file_name()
}

/// Parses, sets the context up and dispatches. Leaves the name of the subcommand in `command` for the error.
fn proa(argv: &[OsString], command: &mut Option<String>) -> Result<u8, CommandError> {
    let line = match cli::parse(argv) {
        Ok(line) => line,
        Err(error) => return profile(argv, &error, command).unwrap_or(Err(error)),
    };
    *command = Some(line.name());
    diagnostics::start(&line.global)?;
    let context = context::Context::new(&line.global)?;
    (line.subcommand.run)(&context, line.matches)
}

/// Runs the image whose profile has the name that no subcommand has.
fn profile(argv: &[OsString], error: &CommandError, command: &mut Option<String>) -> Option<Result<u8, CommandError>> {
    let (global, name, words) = cli::unknown_subcommand(argv, error)?;
    let context = diagnostics::start(&global).and_then(|()| context::Context::new(&global));
    let context = match context {
        Ok(context) => context,
        Err(error) => return Some(Err(error)),
    };
    let done = profiles::run(&context, &name, words)?;
    *command = Some(name);
    Some(done)
}

/// Whether clap has been asked for help or a version, or takes a bare name for that.
fn is_help(error: &clap::Error) -> bool {
    !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// Prints an error and returns the exit status. A request for help is one of clap's errors and no failure.
fn report(error: &CommandError, argv: &[OsString], command: Option<&str>) -> u8 {
    match error.cause::<clap::Error>() {
        Some(help) if is_help(help) => {
            return match output::print(help) {
                // Nothing can be done about a closed stderr.
                _ if help.use_stderr() => error.kind.exit_status(),
                Ok(()) => 0,
                Err(error) => report(&error, argv, command),
            };
        }
        Some(refused) => {
            let (error, command) = misuse::explain(refused, argv);
            output::complain(&error.report(command.as_deref()));
        }
        None => output::complain(&error.report(command)),
    }
    error.kind.exit_status()
}
