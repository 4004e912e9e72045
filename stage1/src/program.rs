//! The last steps of a process that becomes a program of an app: it confines itself, gives up rights, finds the program
//! and executes it.
//!
//! An app's own program and whatever is executed in the app later take the same steps, so that none has more rights
//! than another (rkt's CVE-2019-10144, -10145 and -10147 were a second way in).

use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd, RawFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sys::exec::ExecArgs;

use crate::apply::{Named as _, Refusal};
use crate::capabilities::{self, Ids};
use crate::channel::{Failure, FailureKind};
use crate::idmap::Tier;
use crate::isolators::ulimits::Ulimit;
use crate::isolators::{Filter, Rights};
use crate::plan::AppPlan;
use crate::user::User;
use crate::{in_root, landlock, limits, seccomp};

/// Where sockets are kept that the program takes over, until they get their numbers. Above what a port's range takes.
pub(crate) const SOCKETS_MOVED: RawFd = 600;

/// The number of the first such socket (sd_listen_fds(3)).
const FIRST_SOCKET: RawFd = 3;

/// What is to be executed, by whom and with which rights.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) exec: &'a [String],
    /// Without what depends on the user.
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) working_directory: &'a str,
    pub(crate) user: User,
    pub(crate) supplementary_gids: &'a [u32],
    pub(crate) rights: &'a Rights,
    /// The listening sockets that it takes over, and their names.
    pub(crate) sockets: (&'a [String], Vec<OwnedFd>),
}

/// Confines this process and readies the program. The process is in the app's own namespaces, its root is the app's,
/// and of its descriptors only the standard streams and `channel` are left afterwards.
///
/// # Errors
/// Why the program cannot be executed so.
pub(crate) fn ready(wanted: Wanted<'_>, tier: Tier, channel: RawFd) -> Result<Program, Failure> {
    limits::for_app(&wanted.rights.ulimits).map_err(setup)?;
    confine(wanted.rights.landlock.as_ref())?;
    if wanted.rights.no_new_privs {
        rustix::thread::set_no_new_privs(true).named(|| "prctl(PR_SET_NO_NEW_PRIVS, 1)".into()).map_err(setup)?;
    }
    let groups = (tier != Tier::Single).then(|| [wanted.supplementary_gids, &wanted.user.groups].concat());
    capabilities::drop_to(&Ids { uid: wanted.user.uid, gid: wanted.user.gid, groups }, wanted.rights.capabilities)
        .map_err(|refusal| failure(FailureKind::User, &refusal))?;
    // From here on nothing is looked up with a descriptor of ours in reach: /proc/self/fd/N as a working directory or
    // program was CVE-2024-21626.
    let (names, sockets) = wanted.sockets;
    let sockets = sockets.into_iter().map(|socket| rustix::io::fcntl_dupfd_cloexec(socket, SOCKETS_MOVED));
    let sockets = sockets.collect::<Result<Vec<_>, _>>().named(|| "fcntl(F_DUPFD_CLOEXEC)".into()).map_err(setup)?;
    close_all_but(channel, &sockets).map_err(setup)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    enter_working_directory(wanted.working_directory)?;
    let filter = wanted.rights.filter.clone();
    let mut environment = wanted.environment;
    if !sockets.is_empty() {
        environment.retain(|(name, _)| !["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"].contains(&name.as_str()));
        let pid = rustix::process::getpid().as_raw_nonzero();
        environment.push(("LISTEN_PID".into(), pid.to_string()));
        environment.push(("LISTEN_FDS".into(), sockets.len().to_string()));
        environment.push(("LISTEN_FDNAMES".into(), names.join(":")));
    }
    let program = Program::find(wanted.exec, environment, &wanted.user, filter)?;
    Ok(Program { sockets, ulimits: wanted.rights.ulimits.clone(), ..program })
}

pub(crate) fn setup(refusal: Refusal) -> Failure {
    failure(FailureKind::Setup, &refusal)
}

pub(crate) fn failure(kind: FailureKind, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(kind, error)
}

/// This process's root.
pub(crate) fn open_root() -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open("/", flags, Mode::empty()).named(|| "open(\"/\", O_PATH)".into()).map_err(setup)
}

/// Looks user and groups up in this process's root. An empty group means the user's primary one, and with it his others.
pub(crate) fn lookup_user(user: &str, group: &str, plan: &AppPlan, tier: Tier) -> Result<User, Failure> {
    if let (Tier::Single, Some(path)) = (tier, [user, group].into_iter().find(|name| name.starts_with('/'))) {
        // Every file has the one id there is: a guess, and it would be root.
        let what = format_args!("owner of {path:?}: not known without a subordinate id range");
        return Err(failure(FailureKind::User, &what));
    }
    let root = open_root()?;
    let found = User::lookup(root.as_fd(), user, group, plan.numbers).and_then(|mut found| {
        found.leave_foreign_groups(&plan.ids);
        found.join(root.as_fd(), &plan.group_names, plan.numbers)?;
        found.check(&plan.ids).map(|()| found)
    });
    found.map_err(|error| failure(FailureKind::User, &error))
}

fn confine(strict: Option<&landlock::Strict>) -> Result<(), Failure> {
    let root = open_root()?;
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let confined = landlock::confine(root.as_fd(), &streams, strict);
    confined.map(drop).map_err(|error| failure(FailureKind::Setup, &error))
}

fn close_all_but(channel: RawFd, sockets: &[OwnedFd]) -> Result<(), Refusal> {
    let mut kept: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).chain([channel]).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        if fd > first {
            sys::exec::close_range(first, fd - 1).named(|| format!("close_range({first}, {})", fd - 1))?;
        }
        first = fd + 1;
    }
    sys::exec::close_range(first, RawFd::MAX).named(|| format!("close_range({first}, …)"))
}

fn enter_working_directory(path: &str) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let entered =
        in_root::open(CWD, path, flags, ResolveFlags::empty()).and_then(|dir| rustix::process::fchdir(dir.as_fd()));
    entered.map_err(|errno| {
        let what = format_args!("working directory {path:?}: {}", std::io::Error::from(errno));
        failure(FailureKind::WorkingDirectory, &what)
    })
}

/// A program, ready to be executed.
#[derive(Debug)]
pub(crate) struct Program {
    path: CString,
    args: ExecArgs,
    filter: Filter,
    /// In the order of their numbers.
    sockets: Vec<OwnedFd>,
    ulimits: Vec<Ulimit>,
}

impl Program {
    /// Finds the program as execvp(3) does (appc aci.md, "exec"): a name without a slash is looked up in PATH.
    fn find(exec: &[String], mut env: Vec<(String, String)>, user: &User, filter: Filter) -> Result<Self, Failure> {
        for (name, value) in user.environment() {
            if !env.iter().any(|(known, _)| known == name) {
                env.push((name.to_owned(), value.to_owned()));
            }
        }
        let name = exec.first().map_or("", String::as_str);
        let search = env.iter().find(|(name, _)| name == "PATH").map_or("", |(_, path)| path.as_str());
        let path = find_program(name, search)?;
        let args = exec.iter().map(|arg| c_string(arg)).collect::<Result<_, _>>()?;
        let env = env.iter().map(|(name, value)| c_string(&format!("{name}={value}"))).collect::<Result<_, _>>()?;
        Ok(Self {
            path: c_string(&path)?,
            args: ExecArgs::new(args, env),
            filter,
            sockets: Vec::new(),
            ulimits: Vec::new(),
        })
    }

    /// Loads the filter and executes the program. Returns only on failure.
    pub(crate) fn execute(&self) -> Failure {
        if let Err(error) = sys::signal::reset() {
            return failure(FailureKind::Setup, &format!("reset signals: {error}"));
        }
        for (number, socket) in (FIRST_SOCKET..).zip(&self.sockets) {
            if let Err(error) = sys::exec::place(socket.as_fd(), number) {
                return failure(FailureKind::Setup, &format!("dup2(<socket>, {number}): {error}"));
            }
        }
        // What is done before may need more than they leave, and the filter may refuse what sets them.
        if let Err(refusal) = limits::put(&self.ulimits) {
            return setup(refusal);
        }
        let filter = match &self.filter {
            Filter::Default => Some(seccomp::default_filter()),
            Filter::Own(program) => Some(&**program),
            Filter::None => None,
        };
        if let Some(filter) = filter {
            let instructions = filter.iter().map(|insn| (insn.code, insn.jt, insn.jf, insn.k));
            if let Err(error) = sys::seccomp::load(instructions) {
                return failure(FailureKind::Setup, &format!("seccomp(SECCOMP_SET_MODE_FILTER): {error}"));
            }
        }
        let error = self.args.execve(&self.path);
        let path = self.path.to_string_lossy();
        let missing = error.raw_os_error() == Some(Errno::NOENT.raw_os_error());
        let message = if missing {
            format!("execute {path:?}: its interpreter or loader is not in the image")
        } else {
            format!("execute {path:?}: {error}")
        };
        failure(FailureKind::NotExecutable, &message)
    }
}

fn find_program(name: &str, search: &str) -> Result<String, Failure> {
    let executable = |path: &str| rustix::fs::accessat(CWD, path, rustix::fs::Access::EXEC_OK, AtFlags::EACCESS);
    let candidates: Vec<String> = if name.contains('/') {
        vec![name.to_owned()]
    } else if name.is_empty() {
        // No file has that name: it would be the directories themselves.
        Vec::new()
    } else {
        // An empty element is the current directory (environ(7)).
        let dirs = search.split(':').map(|dir| if dir.is_empty() { "." } else { dir });
        dirs.map(|dir| format!("{dir}/{name}")).collect()
    };
    let mut refused = None;
    for path in candidates {
        match executable(&path) {
            Ok(()) if is_directory(&path) => refused = refused.or(Some((path, Errno::ISDIR))),
            Ok(()) => return Ok(path),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => refused = refused.or(Some((path, errno))),
        }
    }
    Err(match refused {
        Some((path, errno)) => {
            let what = format_args!("execute {path:?}: {}", std::io::Error::from(errno));
            failure(FailureKind::NotExecutable, &what)
        }
        None if name.contains('/') => {
            failure(FailureKind::NotFound, &format_args!("execute {name:?}: not in the image"))
        }
        None => failure(FailureKind::NotFound, &format_args!("execute {name:?}: not in the image's PATH {search:?}")),
    })
}

fn is_directory(path: &str) -> bool {
    rustix::fs::stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn c_string(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| failure(FailureKind::Setup, &format!("{text:?} holds a NUL byte")))
}
