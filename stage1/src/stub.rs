//! The first process of an app, from its fork to the exec of the app's program.
//!
//! It is forked from pid 1 into a mount namespace that the pod's user namespace (N1) owns, attaches the app's mounts
//! there and pivots; then it makes the app's own user and mount namespace (N2), in which all those mounts are locked,
//! and gives up what an app must not have. The order of the steps is the kernel's; each says why.

use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use sys::exec::ExecArgs;
use sys::fork::Namespaces;

use crate::apply::{Fds, Named as _, Refusal, apply};
use crate::capabilities::{self, Ids};
use crate::channel::{Channel, Failure, FailureKind, FromStub, ToStub, shortened};
use crate::idmap::Tier;
use crate::op::Slot;
use crate::plan::AppPlan;
use crate::user::User;
use crate::{landlock, limits, seccomp};

pub(crate) type StubEnd = Channel<FromStub, ToStub>;

/// How much likelier the kernel should choose an app than its supervisor when memory runs out (security.md 3.8).
const OOM_SCORE_ADD: i32 = 100;
/// Largest oom_score_adj (proc_pid_oom_score_adj(5)).
const OOM_SCORE_MAX: i32 = 1000;

/// Runs the app. `fds` has the sandbox's slots and the app's own mounts.
pub(crate) fn run(plan: &AppPlan, fds: Fds, tier: Tier, channel: &StubEnd) -> ! {
    let failure = match prepare(plan, fds, tier, channel) {
        Ok(Some(program)) => program.execute(),
        // Pid 1 is gone, or wants no more.
        Ok(None) => sys::fork::exit_now(0),
        Err(failure) => failure,
    };
    // Nobody hears it if pid 1 is gone, and then nobody needs to.
    let _ = channel.say(&FromStub::Failed(failure));
    sys::fork::exit_now(1)
}

/// Everything that can fail on input, then the wait for the start.
fn prepare(plan: &AppPlan, mut fds: Fds, tier: Tier, channel: &StubEnd) -> Result<Option<Program>, Failure> {
    // A session of its own: no signal of the caller's terminal, and no way to it (security.md DEV-03).
    rustix::process::setsid().named(|| "setsid()".into()).map_err(setup)?;
    // The root as this mount namespace has it: mounts attach only to mounts of one's own.
    fds.put(Slot::Sandbox, open_root()?);
    apply(&plan.enter, &mut fds).map_err(|error| failure(error.kind, &error))?;
    for remark in fds.take_remarks() {
        say(channel, &FromStub::Remark(shortened(remark)))?;
    }
    let user = lookup_user(plan, tier)?;
    if !own_namespace(&user, &fds, channel)? {
        return Ok(None);
    }
    // Per user namespace, and read by whoever opens it: written here it forbids this app, and only this app, to make
    // namespaces in which it would have all capabilities again (security.md 0.4).
    write_below(&fds, Slot::Sysctls, "user/max_user_namespaces", "0").map_err(setup)?;
    limits::for_app().map_err(setup)?;
    drop(fds);
    confine()?;
    if plan.rights.no_new_privs {
        rustix::thread::set_no_new_privs(true).named(|| "prctl(PR_SET_NO_NEW_PRIVS, 1)".into()).map_err(setup)?;
    }
    let groups = (tier != Tier::Single).then(|| plan.supplementary_gids.clone());
    capabilities::drop_to(&Ids { uid: user.uid, gid: user.gid, groups }, plan.rights.capabilities)
        .map_err(|refusal| failure(FailureKind::User, &refusal))?;
    // From here on nothing is looked up with a descriptor of ours in reach: /proc/self/fd/N as a working directory or
    // program was CVE-2024-21626.
    close_all_but(channel.as_fd().as_raw_fd()).map_err(setup)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    enter_working_directory(&plan.working_directory)?;
    let program = Program::find(plan, &user)?;
    say(channel, &FromStub::Ready)?;
    Ok((hear(channel)? == Some(ToStub::Start)).then_some(program))
}

fn setup(refusal: Refusal) -> Failure {
    failure(FailureKind::Setup, &refusal)
}

fn failure(kind: FailureKind, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(kind, error)
}

fn say(channel: &StubEnd, message: &FromStub) -> Result<(), Failure> {
    channel.say(message).named(|| "send(<pid 1>)".into()).map_err(setup)
}

fn hear(channel: &StubEnd) -> Result<Option<ToStub>, Failure> {
    channel.hear().named(|| "recv(<pid 1>)".into()).map_err(setup)
}

fn open_root() -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open("/", flags, Mode::empty()).named(|| "open(\"/\", O_PATH)".into()).map_err(setup)
}

fn lookup_user(plan: &AppPlan, tier: Tier) -> Result<User, Failure> {
    if let (Tier::Single, Some(path)) = (tier, [&plan.user, &plan.group].into_iter().find(|name| name.starts_with('/')))
    {
        // Every file has the one id there is: a guess, and it would be root.
        let what = format_args!("owner of {path:?}: not known without a subordinate id range");
        return Err(failure(FailureKind::User, &what));
    }
    User::lookup(open_root()?.as_fd(), &plan.user, &plan.group).map_err(|error| failure(FailureKind::User, &error))
}

/// Moves into N2. Returns false when pid 1 is gone.
fn own_namespace(user: &User, fds: &Fds, channel: &StubEnd) -> Result<bool, Failure> {
    // The files of a process that is not dumpable belong to the host's root, whom N1 does not map: pid 1 could not
    // write our maps, nor we our own oom_score_adj. Siblings gain nothing: they are in other user namespaces.
    set_dumpable(DumpableBehavior::Dumpable)?;
    raise_oom_score(fds).map_err(setup)?;
    sys::namespace::unshare(Namespaces::USER.with(Namespaces::MOUNT))
        .named(|| "unshare(CLONE_NEWUSER|CLONE_NEWNS)".into())
        .map_err(|refusal| failure(FailureKind::Namespace, &refusal))?;
    say(channel, &FromStub::WantsMap { uid: user.uid, gid: user.gid })?;
    if hear(channel)? != Some(ToStub::Mapped) {
        return Ok(false);
    }
    set_dumpable(DumpableBehavior::NotDumpable)?;
    Ok(true)
}

fn set_dumpable(behavior: DumpableBehavior) -> Result<(), Failure> {
    set_dumpable_behavior(behavior).named(|| format!("prctl(PR_SET_DUMPABLE, {behavior:?})")).map_err(setup)
}

fn raise_oom_score(fds: &Fds) -> Result<(), Refusal> {
    let path = "self/oom_score_adj";
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file =
        rustix::fs::openat(fds.get(Slot::Proc)?, path, flags, Mode::empty()).named(|| format!("openat({path})"))?;
    let mut buffer = [0; 16];
    let len = rustix::io::read(&file, &mut buffer).named(|| format!("read({path})"))?;
    let now: i32 = std::str::from_utf8(&buffer[..len]).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    write_below(fds, Slot::Proc, path, &(now + OOM_SCORE_ADD).min(OOM_SCORE_MAX).to_string())
}

fn write_below(fds: &Fds, slot: Slot, path: &str, text: &str) -> Result<(), Refusal> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(fds.get(slot)?, path, flags, Mode::empty())
        .named(|| format!("openat(<{slot}/{path}>, O_WRONLY)"))?;
    rustix::io::write(&file, text.as_bytes()).map(drop).named(|| format!("write(<{slot}/{path}>, {text:?})"))
}

fn confine() -> Result<(), Failure> {
    let root = open_root()?;
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    landlock::confine(root.as_fd(), &streams).map(drop).map_err(|error| failure(FailureKind::Setup, &error))
}

fn close_all_but(kept: RawFd) -> Result<(), Refusal> {
    if kept > 3 {
        sys::exec::close_range(3, kept - 1).named(|| format!("close_range(3, {})", kept - 1))?;
    }
    sys::exec::close_range(kept + 1, RawFd::MAX).named(|| format!("close_range({}, …)", kept + 1))
}

fn enter_working_directory(path: &str) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let entered = rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve)
        .and_then(|dir| rustix::process::fchdir(dir.as_fd()));
    entered.map_err(|errno| {
        let what = format_args!("working directory {path:?}: {}", std::io::Error::from(errno));
        failure(FailureKind::WorkingDirectory, &what)
    })
}

/// The app's program, ready to be executed.
struct Program {
    path: CString,
    args: ExecArgs,
}

impl Program {
    /// Finds the program as execvp(3) does (appc aci.md, "exec"): a name without a slash is looked up in PATH.
    fn find(plan: &AppPlan, user: &User) -> Result<Self, Failure> {
        let mut env = plan.environment.clone();
        for (name, value) in user.environment() {
            if !env.iter().any(|(known, _)| known == name) {
                env.push((name.to_owned(), value.to_owned()));
            }
        }
        let name = plan.exec.first().map_or("", String::as_str);
        let search = env.iter().find(|(name, _)| name == "PATH").map_or("", |(_, path)| path.as_str());
        let path = find_program(name, search)?;
        let args = plan.exec.iter().map(|arg| c_string(arg)).collect::<Result<_, _>>()?;
        let env = env.iter().map(|(name, value)| c_string(&format!("{name}={value}"))).collect::<Result<_, _>>()?;
        Ok(Self { path: c_string(&path)?, args: ExecArgs::new(args, env) })
    }

    /// Loads the filter and executes the program. Returns only on failure.
    fn execute(&self) -> Failure {
        if let Err(error) = sys::signal::reset() {
            return failure(FailureKind::Setup, &format!("reset signals: {error}"));
        }
        let filter = seccomp::default_filter().iter().map(|insn| (insn.code, insn.jt, insn.jf, insn.k));
        if let Err(error) = sys::seccomp::load(filter) {
            return failure(FailureKind::Setup, &format!("seccomp(SECCOMP_SET_MODE_FILTER): {error}"));
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
