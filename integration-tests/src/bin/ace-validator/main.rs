//! What the validator of the App Container specification checks (appc ace/validator.go), from inside an app: a port that
//! shares no code with what it checks but the manifest types.
//!
//! `ace-validator main|sidekick|prestart|poststop` prints `MODE OK` and exits with 0, or prints `MODE FAIL`, a line
//! `==> ERROR` on standard error for each failed check, and exits with 1. A wrong usage exits with 64.

mod files;
mod http;
mod metadata;
mod mounts;

use std::env;
use std::process::ExitCode;

const USAGE: u8 = 64;

/// What every app has for PATH (appc ace.md, "Execution Environment").
const STANDARD_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The failed checks of a mode, in order.
type Errors = Vec<String>;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().collect();
    let [program, mode] = args.as_slice() else {
        let program = args.first().map_or("ace-validator", String::as_str);
        eprintln!("usage: {program} [main|sidekick|preStart|postStop]");
        return ExitCode::from(USAGE);
    };
    let errors = match mode.to_lowercase().as_str() {
        "main" => main_app(),
        "sidekick" => sidekick(),
        "prestart" => pre_start(),
        "poststop" => post_stop(),
        _ => {
            eprintln!("unrecognized mode: {mode}");
            eprintln!("usage: {program} [main|sidekick|preStart|postStop]");
            return ExitCode::from(USAGE);
        }
    };
    if errors.is_empty() {
        println!("{mode} OK");
        return ExitCode::SUCCESS;
    }
    println!("{mode} FAIL");
    errors.iter().for_each(|error| eprintln!("==> {error}"));
    ExitCode::FAILURE
}

fn pre_start() -> Errors {
    [files::touch_new("/prestart"), files::absent("/main"), files::absent("/poststop")].concat()
}

fn main_app() -> Errors {
    [
        files::present("/prestart"),
        files::touch_new("/main"),
        files::absent("/poststop"),
        path(STANDARD_PATH),
        working_directory("/opt/acvalidator"),
        environment("IN_ACE_VALIDATOR", "correct"),
        mounts::writable("/db"),
        app_name("ace-validator-main"),
        metadata::check(),
        files::wait_for("/db/sidekick"),
        files::touch_new("/db/main"),
    ]
    .concat()
}

fn post_stop() -> Errors {
    [files::present("/prestart"), files::present("/main"), files::touch_new("/poststop")].concat()
}

fn sidekick() -> Errors {
    [files::touch_new("/db/sidekick"), files::wait_for("/db/main")].concat()
}

/// No error, or this one.
fn check(holds: bool, error: impl FnOnce() -> String) -> Errors {
    if holds { Errors::new() } else { vec![error()] }
}

fn path(wanted: &str) -> Errors {
    let found = env::var("PATH").unwrap_or_default();
    check(found == wanted, || format!("PATH not set appropriately (need {wanted:?}, got {found:?})"))
}

fn working_directory(wanted: &str) -> Errors {
    match env::current_dir() {
        Ok(found) => check(found.as_os_str() == wanted, || {
            format!("working directory not set appropriately (need {wanted:?}, got {})", found.display())
        }),
        Err(error) => vec![format!("error getting working directory: {error}")],
    }
}

fn environment(name: &str, wanted: &str) -> Errors {
    let found = env::var(name).unwrap_or_default();
    check(found == wanted, || {
        format!("environment variable {name:?} not set appropriately (need {wanted:?}, got {found:?})")
    })
}

fn app_name(wanted: &str) -> Errors {
    check(env::var("AC_APP_NAME").is_ok_and(|found| found == wanted), || "AC_APP_NAME not set appropriately".to_owned())
}
