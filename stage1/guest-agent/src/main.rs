//! The program `containerssh-agent`: hands its arguments to the library and ends with the status it gives.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    ExitCode::from(guest_agent::run(&args))
}
