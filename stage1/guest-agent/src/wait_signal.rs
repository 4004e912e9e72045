//! Mode `wait-signal`: ends when a signal comes. It is made to be a container's first process, so it reaps.

use std::ffi::OsString;
use std::io;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Signal, WaitOptions, wait};

use crate::output::{complain, put};
use crate::{errno, signal_name, usage};

/// Waits. Signals that are not listed keep their action.
pub(crate) fn run(args: &[OsString]) -> u8 {
    let (signals, message) = match parse(args) {
        Ok(parsed) => parsed,
        Err(message) => return usage::fail(message, 1),
    };
    if let Err(error) = wait_for(&signals) {
        complain(format!("failed to wait for a signal ({})", errno::of(&error)));
        return 1;
    }
    u8::from(put(rustix::stdio::stdout(), &message).is_err())
}

fn parse(args: &[OsString]) -> Result<(Vec<Signal>, Vec<u8>), Vec<u8>> {
    let (mut signals, mut message) = (Vec::new(), Vec::new());
    let mut args = args.iter();
    while let Some(option) = args.next() {
        match option.as_encoded_bytes() {
            b"--message" => {
                let value = args.next().ok_or(b"--message requires an argument")?;
                // As in the original, an empty message counts for none.
                if !message.is_empty() {
                    return Err(b"--message is duplicate".into());
                }
                value.as_encoded_bytes().clone_into(&mut message);
            }
            b"--signal" => {
                signals.push(signal_name::parse(args.next().ok_or(b"--signal requires an argument")?)?);
            }
            other => return Err([b"unknown option: ", other].concat()),
        }
    }
    if signals.is_empty() {
        return Err(b"missing required --signal option".into());
    }
    Ok((signals, message))
}

fn wait_for(signals: &[Signal]) -> io::Result<()> {
    // A caller may have it ignored; then no SIGCHLD would come.
    sys::signal::expect_children();
    let child = Signal::CHILD.as_raw();
    let watched: Vec<i32> = signals.iter().map(|it| it.as_raw()).chain([child]).collect();
    let fd = sys::signal::watch(&watched, sys::signal::Block::Watched)?;
    loop {
        // Those that ended before SIGCHLD was watched as well.
        while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        while let Some(signal) = sys::signal::next(&fd)? {
            if signal != child {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<(Vec<Signal>, Vec<u8>), String> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        parse(&args).map_err(|it| String::from_utf8(it).expect("it is text"))
    }

    #[test]
    fn wrong_invocations_are_named() {
        for (args, message) in [
            (&["--message"][..], "--message requires an argument"),
            (&["--signal"], "--signal requires an argument"),
            (&["--message", "a", "--message", "b"], "--message is duplicate"),
            (&["--signal", "usr1"], "unsupported signal: usr1"),
            (&[], "missing required --signal option"),
            (&["x"], "unknown option: x"),
        ] {
            assert_eq!(parsed(args), Err(message.to_owned()));
        }
    }

    #[test]
    fn signals_add_up() {
        let args = ["--signal", "INT", "--message", "", "--message", "m", "--signal", "TERM"];
        assert_eq!(parsed(&args), Ok((vec![Signal::INT, Signal::TERM], b"m".to_vec())));
    }
}
