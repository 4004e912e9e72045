//! Runs a command and lets one chosen system call of it kill its process, or fail.
//!
//! ```text
//! inject [--data DIR] [--leave] NAME REPORT list-kill|list-fail [--] COMMAND…
//! inject [--data DIR] [--leave] NAME REPORT kill|fail CALL -- COMMAND…
//! ```
//!
//! COMMAND and everything it starts is traced. System calls count in processes whose executable's file is called NAME.
//! A call is named so that it is the same one in every run: how deep its process stands below the first one called NAME,
//! what it is, what it is about, and the how manieth of those it is:
//!
//! ```text
//! 0 mkdirat DATA/store/tmp/* #1
//! 1 write DATA/store/tmp/*/layer-0/rootfs/f ENOSPC #2
//! ```
//!
//! | mode | |
//! | --- | --- |
//! | `list-kill`, `list-fail` | REPORT gets the calls at which a process can be killed, or with an error those that can fail |
//! | `kill CALL` | its process is killed when it enters that call |
//! | `fail CALL` | it does not happen and fails with the error |
//!
//! With `kill` and `fail` REPORT's first line is `hit` or `missed`. DIR is written `DATA`. What only makes data durable
//! does not happen. With `--leave` inject ends when COMMAND does and leaves its children running, else it waits for all.
//!
//! strace can inject too, but counts by thread, and names a call by nothing but its number.

#[cfg(target_arch = "x86_64")]
mod calls;
#[cfg(target_arch = "x86_64")]
mod subject;
#[cfg(target_arch = "x86_64")]
mod tracer;

use std::process::ExitCode;

#[cfg(target_arch = "x86_64")]
fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match tracer::run(&arguments) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("inject: {error}");
            ExitCode::from(125)
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn main() -> ExitCode {
    eprintln!("inject: registers of this architecture are not known");
    ExitCode::from(125)
}
