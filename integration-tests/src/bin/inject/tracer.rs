//! Traces a command with ptrace(2).

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use syscalls::Sysno;

use crate::{calls, subject};

/// What is done to the chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Kill,
    Fail,
}

/// A thread that is traced.
#[derive(Clone, Copy, Debug, Default)]
struct Thread {
    /// How deep its process stands below the first one whose calls count, if its own count.
    depth: Option<usize>,
    /// What the call it is in is to return, and the first argument to put back.
    verdict: Option<(i64, u64)>,
}

struct Tracer {
    name: OsString,
    data: String,
    mode: Mode,
    /// The call, with its number among those that are called the same. Without it they are listed.
    chosen: Option<String>,
    leave: bool,
    threads: HashMap<Pid, Thread>,
    /// New threads that have stopped before we heard of them from those that made them.
    unknown: HashSet<Pid>,
    /// The calls so far, in their order.
    found: Vec<String>,
    counts: HashMap<String, u32>,
    hit: bool,
}

/// A thread that is stopped at a system call: on its way in or out (PTRACE_GET_SYSCALL_INFO).
const ENTRY: u8 = 1;
const EXIT: u8 = 2;

/// Runs the command line; returns the exit status of the command.
pub(crate) fn run(arguments: &[OsString]) -> Result<u8, String> {
    let mut words = arguments.iter();
    let mut word = || words.next().ok_or("too few arguments");
    let (mut data, mut leave) = (String::new(), false);
    let name = loop {
        match word()?.to_str() {
            Some("--data") => data = word()?.to_string_lossy().into_owned(),
            Some("--leave") => leave = true,
            name => break OsString::from(name.ok_or("a name that is no text")?),
        }
    };
    let report = word()?.clone();
    let mut call = || Ok::<_, String>(Some(word()?.to_string_lossy().into_owned()));
    let (mode, chosen) = match call()?.as_deref() {
        Some("list-kill") => (Mode::Kill, None),
        Some("list-fail") => (Mode::Fail, None),
        Some("kill") => (Mode::Kill, call()?),
        Some("fail") => (Mode::Fail, call()?),
        mode => return Err(format!("unknown mode {mode:?}")),
    };
    let command: Vec<OsString> = words.skip_while(|word| *word == "--").cloned().collect();
    let (threads, unknown, counts) = (HashMap::new(), HashSet::new(), HashMap::new());
    let mut tracer =
        Tracer { name, data, mode, chosen, leave, threads, unknown, found: Vec::new(), counts, hit: false };
    let status = tracer.trace(&command).map_err(|errno| errno.to_string())?;
    std::fs::write(report, tracer.report()).map_err(|error| error.to_string())?;
    Ok(status)
}

impl Tracer {
    fn report(&self) -> String {
        match self.chosen {
            None => self.found.iter().fold(String::new(), |text, call| text + call + "\n"),
            Some(_) if self.hit => "hit\n".to_owned(),
            Some(_) => "missed\n".to_owned(),
        }
    }

    fn trace(&mut self, command: &[OsString]) -> nix::Result<u8> {
        // It stops itself, so that tracing begins before the command does.
        let stop_first = ["-c", "kill -STOP $$; exec \"$@\"", "sh"];
        let child = Command::new("sh").args(stop_first).args(command).spawn().map_err(|_| Errno::ENOENT)?;
        let first = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
        waitpid(first, Some(WaitPidFlag::WUNTRACED))?;
        let mut options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACEEXEC;
        if !self.leave {
            options |= Options::PTRACE_O_EXITKILL;
        }
        ptrace::seize(first, options)?;
        self.threads.insert(first, Thread::default());
        kill(first, Signal::SIGCONT)?;
        let mut status = 0;
        loop {
            let ended = match waitpid(None::<Pid>, Some(WaitPidFlag::__WALL)) {
                Err(Errno::ECHILD) => return Ok(status),
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno),
                Ok(WaitStatus::Exited(pid, code)) => Some((pid, u8::try_from(code).unwrap_or(1))),
                Ok(WaitStatus::Signaled(pid, signal, _)) => Some((pid, 128 + signal as u8)),
                Ok(WaitStatus::PtraceSyscall(pid)) => {
                    self.at_call(pid);
                    None
                }
                Ok(WaitStatus::PtraceEvent(pid, _, event)) => {
                    self.at_event(pid, event);
                    None
                }
                Ok(WaitStatus::Stopped(pid, signal)) => {
                    self.proceed(pid, Some(signal));
                    None
                }
                Ok(_) => None,
            };
            if let Some((pid, code)) = ended {
                self.threads.remove(&pid);
                if pid == first {
                    status = code;
                    // Without EXITKILL the rest goes on when this process ends.
                    if self.leave {
                        return Ok(status);
                    }
                }
            }
        }
    }

    fn at_event(&mut self, pid: Pid, event: i32) {
        match event {
            event::FORK | event::VFORK | event::CLONE => {
                if let Ok(new) = ptrace::getevent(pid) {
                    let new = Pid::from_raw(new as i32);
                    let is_process = process_of(new) == new;
                    let depth = self.thread(pid).depth.map(|depth| depth + usize::from(is_process));
                    self.thread(new).depth = depth;
                    if self.unknown.remove(&new) {
                        self.proceed(new, None);
                    }
                }
            }
            // Once the call has come nothing hangs on who made it, and who did may be dead without having told.
            event::STOP if !self.hit && !self.threads.contains_key(&pid) => {
                self.unknown.insert(pid);
                return;
            }
            event::EXEC => {
                let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
                let counts = program.file_name().is_some_and(|name| name.as_bytes() == self.name.as_bytes());
                let thread = self.thread(pid);
                thread.depth = if counts { Some(thread.depth.unwrap_or(0)) } else { None };
            }
            _ => {}
        }
        self.proceed(pid, None);
    }

    fn at_call(&mut self, pid: Pid) {
        // Where they cannot be read the thread is dying.
        let (Ok(info), Ok(mut registers)) = (ptrace::syscall_info(pid), ptrace::getregs(pid)) else { return };
        match info.op {
            ENTRY if self.thread(pid).depth.is_some() => {
                let (rdi, rsi, rdx) = (registers.rdi, registers.rsi, registers.rdx);
                let arguments = [rdi, rsi, rdx, registers.r10, registers.r8, registers.r9];
                if let Some(verdict) = self.judge(pid, registers.orig_rax, &arguments) {
                    self.thread(pid).verdict = Some((verdict, rdi));
                    // Another call that does nothing. (A number that is no call's would make a seccomp filter kill it.)
                    registers.orig_rax = Sysno::close.id() as u64;
                    registers.rdi = u64::MAX;
                    let _ = ptrace::setregs(pid, registers);
                }
            }
            EXIT => {
                if let Some((verdict, rdi)) = self.thread(pid).verdict.take() {
                    registers.rax = verdict.cast_unsigned();
                    registers.rdi = rdi;
                    let _ = ptrace::setregs(pid, registers);
                }
            }
            _ => {}
        }
        self.proceed(pid, None);
    }

    /// Lets a stopped thread go on: to its next call if anybody wants to know of that. It may have been killed meanwhile.
    fn proceed(&mut self, pid: Pid, signal: Option<Signal>) {
        let signal = signal.filter(|signal| *signal != Signal::SIGTRAP);
        let thread = self.thread(pid);
        let in_call = thread.verdict.is_some();
        let matters = thread.depth.is_some() && !self.hit;
        let _ = if matters || in_call { ptrace::syscall(pid, signal) } else { ptrace::cont(pid, signal) };
    }

    /// What a call is to return instead of happening. Kills its process if that is what is wanted.
    fn judge(&mut self, pid: Pid, number: u64, arguments: &[u64; 6]) -> Option<i64> {
        let call = usize::try_from(number).ok().and_then(Sysno::new)?;
        let instead = calls::is_sync(call).then_some(0);
        if !calls::is_point(call) {
            return instead;
        }
        let depth = self.thread(pid).depth.unwrap_or(0);
        let kind = format!("{depth} {call} ");
        // Finding out what a call is about takes longer than all the rest.
        if self.hit || self.chosen.as_ref().is_some_and(|chosen| !chosen.starts_with(&kind)) {
            return instead;
        }
        let about = subject::describe(pid, calls::subject(call), arguments, &self.data);
        let name = kind + &about;
        match self.mode {
            Mode::Kill => {
                if self.is_chosen(name) {
                    let _ = kill(process_of(pid), Signal::SIGKILL);
                    for new in std::mem::take(&mut self.unknown) {
                        self.proceed(new, None);
                    }
                }
            }
            Mode::Fail => {
                for error in calls::errors(call, &about, calls::creates(call, arguments)) {
                    if self.is_chosen(format!("{name} {}", error.name().unwrap_or("?"))) {
                        return Some(-i64::from(error.into_raw()));
                    }
                }
            }
        }
        instead
    }

    /// Counts a call of this name, and says whether it is the chosen one.
    fn is_chosen(&mut self, name: String) -> bool {
        let Some(chosen) = &self.chosen else {
            let found = numbered(&mut self.counts, name);
            self.found.push(found);
            return false;
        };
        // Most are not: they are not even counted.
        let is_it = !self.hit && is_named(chosen, &name) && *chosen == numbered(&mut self.counts, name);
        self.hit |= is_it;
        is_it
    }

    fn thread(&mut self, pid: Pid) -> &mut Thread {
        self.threads.entry(pid).or_default()
    }
}

/// This name with the number of times that it was asked for.
fn numbered(counts: &mut HashMap<String, u32>, mut name: String) -> String {
    let count = counts.entry(name.clone()).or_default();
    *count += 1;
    write!(name, " #{count}").expect("writing to a string");
    name
}

/// Whether `chosen` is `name` with a number.
fn is_named(chosen: &str, name: &str) -> bool {
    chosen.strip_prefix(name).is_some_and(|rest| rest.starts_with(" #"))
}

/// The process that a thread belongs to.
fn process_of(thread: Pid) -> Pid {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    line.and_then(|id| id.trim().parse().ok()).map_or(thread, Pid::from_raw)
}

/// The numbers of ptrace's events (ptrace(2)).
mod event {
    pub(super) const FORK: i32 = 1;
    pub(super) const VFORK: i32 = 2;
    pub(super) const CLONE: i32 = 3;
    pub(super) const EXEC: i32 = 4;
    pub(super) const STOP: i32 = 128;
}
