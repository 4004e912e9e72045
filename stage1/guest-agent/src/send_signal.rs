//! Mode `signal`: sends a signal to a process.

use std::ffi::{OsStr, OsString};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::output::complain;
use crate::{errno, signal_name, usage};

/// Sends it. Status 1: wrong invocation, 2: no such process, 3: not permitted.
pub(crate) fn run(args: &[OsString]) -> u8 {
    let (pid, signal) = match parse(args) {
        Ok(parsed) => parsed,
        Err(message) => return usage::fail(message, 1),
    };
    match kill_process(pid, signal) {
        Ok(()) => 0,
        Err(error @ Errno::SRCH) => {
            complain(format!("process not found ({})", errno::text(error)));
            2
        }
        Err(error) => {
            complain(format!("failed to send signal ({})", errno::text(error)));
            3
        }
    }
}

fn parse(args: &[OsString]) -> Result<(Pid, Signal), Vec<u8>> {
    let (mut pid, mut signal) = (None, None);
    let mut args = args.iter();
    while let Some(option) = args.next() {
        match option.as_encoded_bytes() {
            b"--pid" => {
                let value = args.next().ok_or(b"--pid requires an argument")?;
                if pid.is_some() {
                    return Err(b"--pid is duplicate".into());
                }
                pid = Some(positive(value).ok_or(b"--pid requires a positive integer argument")?);
            }
            b"--signal" => {
                signal = Some(signal_name::parse(args.next().ok_or(b"--signal requires an argument")?)?);
            }
            other => return Err([b"unknown option: ", other].concat()),
        }
    }
    let pid = pid.ok_or(b"missing required --pid option")?;
    Ok((pid, signal.ok_or(b"missing required --signal option")?))
}

/// A process number. Numbers beyond the kernel's type are refused: cut to its size they would name another process.
fn positive(value: &OsStr) -> Option<Pid> {
    value.to_str()?.parse::<i32>().ok().filter(|it| *it > 0).and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(args: &[&str]) -> String {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        String::from_utf8(parse(&args).expect_err("it is wrong")).expect("it is text")
    }

    #[test]
    fn wrong_invocations_are_named() {
        assert_eq!(message(&["--pid"]), "--pid requires an argument");
        assert_eq!(message(&["--signal"]), "--signal requires an argument");
        assert_eq!(message(&["--pid", "1", "--pid", "1"]), "--pid is duplicate");
        for pid in ["0", "-1", "x", "", "4294967297", "1.0"] {
            assert_eq!(message(&["--pid", pid]), "--pid requires a positive integer argument");
        }
        assert_eq!(message(&["--pid", "1", "--signal", "SIGTERM"]), "unsupported signal: SIGTERM");
        assert_eq!(message(&["--pid", "1"]), "missing required --signal option");
        assert_eq!(message(&["--signal", "INT"]), "missing required --pid option");
        assert_eq!(message(&["-p", "1"]), "unknown option: -p");
    }

    #[test]
    fn the_last_signal_wins() {
        let args = ["--signal", "INT", "--pid", "+7", "--signal", "USR2"].map(OsString::from);
        assert_eq!(parse(&args), Ok((Pid::from_raw(7).expect("positive"), Signal::USR2)));
    }
}
