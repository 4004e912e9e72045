//! The agent that ContainerSSH runs inside containers: it starts programs, delivers signals, writes files and forwards
//! connections where the container engine cannot.
//!
//! A drop-in for the original: same modes, options, messages, exit statuses and wire protocol. It is one static,
//! single-threaded program that needs nothing of the image it runs in: no C library, no NSS, no shell.
//! What is deliberately different is listed in docs/guest-agent.md.
//!
//! It never reads ahead on standard input before another program gets it, and never lets one connection's slow reader
//! hold up the others ([`forward`]).

mod console;
mod errno;
pub mod forward;
mod license;
mod output;
pub mod resolver;
mod send_signal;
mod signal_name;
mod usage;
mod wait_signal;
mod write_file;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// Runs the mode that the arguments (without the program's name) ask for and returns the exit status.
///
/// With `console` it does not return when the program could be started.
#[must_use]
pub fn run(args: &[OsString]) -> u8 {
    let Some((mode, args)) = args.split_first() else {
        return usage::fail("not enough parameters", 1);
    };
    match mode.as_bytes() {
        b"-h" | b"--help" => usage::show(),
        b"console" => console::run(args),
        b"signal" => send_signal::run(args),
        b"wait-signal" => wait_signal::run(args),
        b"write-file" => write_file::run(args),
        b"license" => license::run(args),
        b"forward-server" => forward::run(),
        other => usage::fail([b"invalid mode: ", other].concat(), 1),
    }
}
