//! Prints the functions of a program that a command executes, and after them the statics that it writes, one symbol to a
//! line, both in the order of their addresses.
//!
//! ```text
//! executed PROGRAM -- COMMAND…
//! ```
//!
//! COMMAND and everything it starts is traced, instruction by instruction, in processes that run PROGRAM, which must have
//! its symbols. For `bench/order`.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let Some((program, command)) = words.split_first().filter(|(_, command)| command.len() > 1) else {
        eprintln!("usage: executed PROGRAM -- COMMAND…");
        return ExitCode::from(2);
    };
    match touched(Path::new(program), &command[1..]) {
        Ok(names) => {
            print!("{names}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("executed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The names of what the command executes of the program, and of what it writes.
fn touched(program: &Path, command: &[OsString]) -> Result<String, String> {
    let symbols = symbols(program)?;
    let program = program.canonicalize().map_err(|error| error.to_string())?;
    let statics = Statics::of(&program)?;
    let trace = executed(Trace { program, statics, executed: HashSet::new(), written: HashSet::new() }, command)?;
    Ok(names(&symbols, "tTwW", &trace.executed) + &names(&symbols, "dDbB", &trace.written))
}

/// A symbol of the program: where it begins, of which kind it is (nm(1)), and its name.
type Symbol = (u64, char, String);

/// The symbols of the program, by address.
fn symbols(program: &Path) -> Result<Vec<Symbol>, String> {
    let symbols: Vec<_> = output_of("nm", &["--numeric-sort"], program)?
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let address = u64::from_str_radix(fields.next()?, 16).ok()?;
            Some((address, fields.next()?.parse().ok()?, fields.next()?.to_owned()))
        })
        .collect();
    if symbols.is_empty() { Err(format!("{} has no symbols", program.display())) } else { Ok(symbols) }
}

fn output_of(tool: &str, options: &[&str], program: &Path) -> Result<String, String> {
    let output = Command::new(tool).args(options).arg(program).output().map_err(|error| format!("{tool}: {error}"))?;
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}

/// All names of the symbols of these kinds that hold the addresses.
fn names(symbols: &[Symbol], kinds: &str, addresses: &HashSet<u64>) -> String {
    let symbols: Vec<_> = symbols.iter().filter(|(_, kind, _)| kinds.contains(*kind)).collect();
    let start = |address: &u64| {
        let next = symbols.partition_point(|(start, ..)| start <= address);
        next.checked_sub(1).map(|index| symbols[index].0)
    };
    let holders: BTreeSet<u64> = addresses.iter().filter_map(start).collect();
    let named = symbols.iter().filter(|(start, ..)| holders.contains(start));
    named.fold(String::new(), |text, (_, _, name)| text + name + "\n")
}

/// What the program's statics are before it runs.
struct Statics {
    address: u64,
    /// Zeros after what the file has.
    bytes: Vec<u8>,
}

impl Statics {
    const WORD: usize = 8;

    /// Of each segment that can be written to, when it is loaded: that which is sealed after the start is another one.
    fn of(program: &Path) -> Result<Vec<Self>, String> {
        let file = std::fs::read(program).map_err(|error| error.to_string())?;
        let headers = output_of("readelf", &["--program-headers", "--wide"], program)?;
        let segments = headers.lines().filter(|line| line.trim_start().starts_with("LOAD") && line.contains(" RW "));
        let statics = |line: &str| {
            let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
            let fields: Vec<u64> = line.split_whitespace().skip(1).map_while(number).collect();
            let [offset, address, _, in_file, in_memory, ..] = fields[..] else { return None };
            let mut bytes = file.get(offset as usize..(offset + in_file) as usize)?.to_vec();
            bytes.resize(in_memory as usize, 0);
            Some(Self { address, bytes })
        };
        segments.map(|line| statics(line).ok_or_else(|| format!("readelf: {line}"))).collect()
    }

    /// The addresses of the words that the process has changed.
    fn written(&self, pid: Pid) -> std::io::Result<Vec<u64>> {
        let mut now = vec![0; self.bytes.len()];
        File::open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut now, self.address)?;
        let words = now.chunks(Self::WORD).zip(self.bytes.chunks(Self::WORD)).enumerate();
        let changed = words.filter(|(_, (now, before))| now != before);
        Ok(changed.map(|(index, _)| self.address + (index * Self::WORD) as u64).collect())
    }
}

/// What was seen of the command.
struct Trace {
    program: PathBuf,
    statics: Vec<Statics>,
    /// The addresses of the program's instructions that were executed.
    executed: HashSet<u64>,
    /// Those of its statics that were written.
    written: HashSet<u64>,
}

fn executed(mut trace: Trace, command: &[OsString]) -> Result<Trace, String> {
    // It stops itself, so that tracing begins before the command does.
    let stop_first = ["-c", "kill -STOP $$; exec \"$@\"", "sh"];
    let child = Command::new("sh").args(stop_first).args(command).spawn().map_err(|error| error.to_string())?;
    let first = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    trace.follow(first).map_err(|errno| errno.to_string())?;
    Ok(trace)
}

impl Trace {
    fn follow(&mut self, first: Pid) -> nix::Result<()> {
        waitpid(first, Some(WaitPidFlag::WUNTRACED))?;
        let news = Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK;
        let ends = Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACEEXIT;
        ptrace::seize(first, news | ends | Options::PTRACE_O_EXITKILL)?;
        kill(first, Signal::SIGCONT)?;
        let mut stepped = HashSet::new();
        loop {
            match waitpid(None::<Pid>, Some(WaitPidFlag::__WALL)) {
                Err(Errno::ECHILD) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
                Ok(WaitStatus::PtraceEvent(pid, _, event)) => {
                    let runs_it = std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == self.program);
                    // A new process runs what its parent does.
                    if runs_it {
                        stepped.insert(pid)
                    } else {
                        stepped.remove(&pid)
                    };
                    if event == Event::PTRACE_EVENT_EXIT as i32 && runs_it {
                        self.compare(pid);
                    }
                    go_on(pid, stepped.contains(&pid), None, event);
                }
                Ok(WaitStatus::Stopped(pid, Signal::SIGTRAP)) => {
                    self.executed.extend(ptrace::getregs(pid).map(|registers| registers.rip));
                    go_on(pid, stepped.contains(&pid), None, 0);
                }
                Ok(WaitStatus::Stopped(pid, signal)) => go_on(pid, stepped.contains(&pid), Some(signal), 0),
                Ok(_) => {}
            }
        }
    }

    /// Looks at the statics of a process that ends.
    fn compare(&mut self, pid: Pid) {
        for statics in &self.statics {
            // One that was killed has no memory any more.
            self.written.extend(statics.written(pid).unwrap_or_default());
        }
    }
}

/// It may have been killed meanwhile.
fn go_on(pid: Pid, step: bool, signal: Option<Signal>, event: i32) {
    // PTRACE_EVENT_STOP of a group that is stopped.
    let signal = if event == 128 { None } else { signal };
    let _ = if step { ptrace::step(pid, signal) } else { ptrace::cont(pid, signal) };
}
