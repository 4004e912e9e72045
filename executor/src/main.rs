//! `proa` runs pods of App Container and OCI images for an ordinary user, with no daemon and no setuid program.
//!
//! This program is the stage0: it turns a command line into images in the store, a reified pod manifest and a pod
//! directory, and hands them to [`stage1`]. It never builds a mount or a namespace itself, and nothing on the way to a pod that
//! runs starts a thread. One file is several programs: by its first argument, and by the name it is started under.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

// The command line: what is typed, and the other programs that this one is.
mod actool;
mod cli;
mod commands;
mod docker;
mod go_flags;
mod habits;
mod hello;
mod misuse;
mod pod_line;
mod profiles;
mod request;
mod rkt_options;
mod split;
mod vm_images;

// Options and arguments, one each.
mod annotations;
mod app_argument;
mod app_isolators;
mod app_streams;
mod consent;
mod detach_keys;
mod devices;
mod duration;
mod environment;
mod export_format;
mod insecure;
mod instruction;
mod pod_argument;
mod pull_policy;
mod seccomp_profile;
mod signal_argument;
mod uuid_file;

// What is said.
mod diagnostics;
mod error;
mod escape;
mod failure_hint;
mod hints;
mod moment;
mod output;
mod process_columns;
mod progress;
mod size;
mod table;

// This process: whose data it works on, what it is handed, what it may.
mod config;
mod context;
mod disk_usage;
mod doctor;
mod handed;
mod parallel;
mod sealed;
mod small_file;
mod sockets;
mod umask;

// Images: from wherever they are into the store, and out of it.
mod commit;
mod copying;
mod discover;
mod exporting;
mod fsck;
mod images;
mod import;
mod keys;
mod layer_writer;
mod oci_form;
mod packed;
mod policy;
mod rendering;
mod signature;
mod verifier;
mod web;

// From a request to a pod that can be launched.
mod cgroup;
mod dry_run;
mod etc;
mod guest_agent;
mod idmap;
mod manifest;
mod named_volumes;
mod prepare;
mod protection;
mod setup;
mod skeleton;
mod sources;
mod template;
mod unknown_keys;
mod userns;

// The network of a pod.
mod addresses;
mod forward;
mod net;
mod pod_network;
mod ports;

// A pod's life.
mod attach;
mod client;
mod ending;
mod health_record;
mod identity;
mod keeper;
mod launch;
mod leftover;
mod log_line;
mod monitor;
mod processes;
mod relay;
mod snapshot;
mod supervision;

#[cfg(test)]
mod golden;

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
