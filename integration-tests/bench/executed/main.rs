//! Prints the functions of a program that a command executes, one symbol to a line, in the order of their addresses.
//!
//! ```text
//! executed PROGRAM -- COMMAND…
//! ```
//!
//! COMMAND and everything it starts is traced, instruction by instruction, in processes that run PROGRAM, which must have
//! its symbols. For `bench/order`.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let Some((program, command)) = words.split_first().filter(|(_, command)| command.len() > 1) else {
        eprintln!("usage: executed PROGRAM -- COMMAND…");
        return ExitCode::from(2);
    };
    match symbols(Path::new(program)).and_then(|symbols| Ok((symbols, executed(Path::new(program), &command[1..])?))) {
        Ok((symbols, addresses)) => {
            print!("{}", names(&symbols, &addresses));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("executed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The functions of the program, by address.
fn symbols(program: &Path) -> Result<Vec<(u64, String)>, String> {
    let output =
        Command::new("nm").arg("--numeric-sort").arg(program).output().map_err(|error| format!("nm: {error}"))?;
    let text = String::from_utf8(output.stdout).map_err(|error| error.to_string())?;
    let symbols: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let address = u64::from_str_radix(fields.next()?, 16).ok()?;
            "tTwW".contains(fields.next()?).then_some((address, fields.next()?.to_owned()))
        })
        .collect();
    if symbols.is_empty() { Err(format!("{} has no symbols", program.display())) } else { Ok(symbols) }
}

/// All names of the functions that hold the addresses.
fn names(symbols: &[(u64, String)], addresses: &HashSet<u64>) -> String {
    let start = |address: &u64| {
        let next = symbols.partition_point(|(start, _)| start <= address);
        next.checked_sub(1).map(|index| symbols[index].0)
    };
    let functions: BTreeSet<u64> = addresses.iter().filter_map(start).collect();
    let named = symbols.iter().filter(|(start, _)| functions.contains(start));
    named.fold(String::new(), |text, (_, name)| text + name + "\n")
}

/// The addresses of the program's instructions that the command executes.
fn executed(program: &Path, command: &[OsString]) -> Result<HashSet<u64>, String> {
    let program = program.canonicalize().map_err(|error| error.to_string())?;
    // It stops itself, so that tracing begins before the command does.
    let stop_first = ["-c", "kill -STOP $$; exec \"$@\"", "sh"];
    let child = Command::new("sh").args(stop_first).args(command).spawn().map_err(|error| error.to_string())?;
    let first = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    trace(first, &program).map_err(|errno| errno.to_string())
}

fn trace(first: Pid, program: &PathBuf) -> nix::Result<HashSet<u64>> {
    waitpid(first, Some(WaitPidFlag::WUNTRACED))?;
    let news = Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK;
    ptrace::seize(first, news | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL)?;
    kill(first, Signal::SIGCONT)?;
    let (mut stepped, mut addresses) = (HashSet::new(), HashSet::new());
    loop {
        match waitpid(None::<Pid>, Some(WaitPidFlag::__WALL)) {
            Err(Errno::ECHILD) => return Ok(addresses),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(WaitStatus::PtraceEvent(pid, _, event)) => {
                let runs_it = std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == *program);
                // A new process runs what its parent does.
                if runs_it {
                    stepped.insert(pid)
                } else {
                    stepped.remove(&pid)
                };
                go_on(pid, stepped.contains(&pid), None, event);
            }
            Ok(WaitStatus::Stopped(pid, Signal::SIGTRAP)) => {
                addresses.extend(ptrace::getregs(pid).map(|registers| registers.rip));
                go_on(pid, stepped.contains(&pid), None, 0);
            }
            Ok(WaitStatus::Stopped(pid, signal)) => go_on(pid, stepped.contains(&pid), Some(signal), 0),
            Ok(_) => {}
        }
    }
}

/// It may have been killed meanwhile.
fn go_on(pid: Pid, step: bool, signal: Option<Signal>, event: i32) {
    // PTRACE_EVENT_STOP of a group that is stopped.
    let signal = if event == 128 { None } else { signal };
    let _ = if step { ptrace::step(pid, signal) } else { ptrace::cont(pid, signal) };
}
