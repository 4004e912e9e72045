//! The first process of an app, from its fork to the exec of the app's program.
//!
//! It is forked from pid 1 into a mount namespace that the pod's user namespace (N1) owns, attaches the app's mounts
//! there and pivots; then it makes the app's own user and mount namespace (N2), in which all those mounts are locked,
//! and gives up what an app must not have. The order of the steps is the kernel's; each says why.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sys::fork::Namespaces;

use crate::apply::{Fds, Named as _, Refusal, apply};
use crate::channel::{Channel, Failure, FailureKind, FromStub, TerminalSize, ToStub, shortened};
use crate::idmap::Tier;
use crate::isolators::net_admin::Grant;
use crate::isolators::{Label, OomScore, Rights};
use crate::op::Slot;
use crate::plan::AppPlan;
use crate::program::{self, Program, Wanted, failure, open_root, setup};
use crate::terminal;
use crate::user::User;

pub(crate) type StubEnd = Channel<FromStub, ToStub>;

/// How much likelier the kernel should choose an app than its supervisor when memory runs out.
const OOM_SCORE_ADD: i32 = 100;
/// Largest oom_score_adj (proc_pid_oom_score_adj(5)).
const OOM_SCORE_MAX: i32 = 1000;

/// Where a process's standard streams come from.
#[derive(Debug)]
pub(crate) enum Stdio {
    /// Pid 1 has them: they are the pod's.
    Inherited,
    /// Input, output and errors.
    Given([OwnedFd; 3]),
    /// The same, of pipes of the supervisor.
    Kept([OwnedFd; 3]),
    /// A terminal of its own, made in the app.
    Terminal(TerminalSize),
}

impl Stdio {
    /// Gives the supervisor's pipes to the user who is to have them, as runc does: programs open their streams again by
    /// name (`/dev/stdout`). One that does not can do without, and so nothing fails here.
    pub(crate) fn give_to(&self, owner: Option<(u32, u32)>) {
        if let (Self::Kept(streams), Some(owner @ (1.., _))) = (self, owner) {
            terminal::give_pipes(streams, owner);
        }
    }

    /// Takes the streams, and makes the terminal, which belongs to `owner` (uid, gid). Returns the terminal's other end.
    pub(crate) fn take(self, owner: Option<(u32, u32)>) -> Result<Option<OwnedFd>, Failure> {
        match self {
            Self::Inherited => Ok(None),
            Self::Given(streams) | Self::Kept(streams) => {
                terminal::replace_streams(&streams).map(|()| None).map_err(setup)
            }
            Self::Terminal(size) => terminal::open(size, owner).map(Some).map_err(setup),
        }
    }
}

/// Runs the app. `fds` has the sandbox's slots and the app's own mounts.
pub(crate) fn run(plan: &AppPlan, fds: Fds, stdio: Stdio, tier: Tier, channel: &StubEnd) -> ! {
    become_program(prepare(plan, fds, stdio, tier, channel), channel)
}

/// Executes what was prepared, or says why not.
pub(crate) fn become_program(prepared: Result<Option<Program>, Failure>, channel: &StubEnd) -> ! {
    let failure = match prepared {
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
fn prepare(
    plan: &AppPlan,
    mut fds: Fds,
    stdio: Stdio,
    tier: Tier,
    channel: &StubEnd,
) -> Result<Option<Program>, Failure> {
    // A session of its own: no signal of the caller's terminal, and no way to it (docs/security/corpus.md DEV-03).
    rustix::process::setsid().named(|| "setsid()".into()).map_err(setup)?;
    if let Some(cgroup) = fds.take(Slot::Cgroup) {
        // A namespace that begins there: the app sees its own group, and its limits, as the root.
        join(&cgroup).map_err(setup)?;
        sys::namespace::unshare(Namespaces::CGROUP).named(|| "unshare(CLONE_NEWCGROUP)".into()).map_err(setup)?;
    }
    // The root as this mount namespace has it: mounts attach only to mounts of one's own.
    fds.put(Slot::Sandbox, open_root()?);
    apply(&plan.enter, &mut fds).map_err(|error| failure(error.kind, &error))?;
    for remark in fds.take_remarks() {
        say(channel, &FromStub::Remark(shortened(remark)))?;
    }
    let (user, is_net_admin) = user_of(plan, tier, channel)?;
    let ids = (user.uid, user.gid);
    let ids = plan.keep_id.as_ref().map_or(ids, |keep| keep.in_pod(tier, ids));
    let owner = (tier != Tier::Single).then_some(ids);
    stdio.give_to(owner);
    let terminal = stdio.take(owner)?;
    if !own_namespace(&user, &plan.rights, is_net_admin, &fds, channel)? {
        return Ok(None);
    }
    // Per user namespace, and read by whoever opens it: written here it forbids this app, and only this app, to make
    // namespaces in which it would have all capabilities again.
    write_below(&fds, Slot::Sysctls, "user/max_user_namespaces", "0").map_err(setup)?;
    let sockets = (0..plan.sockets.len()).filter_map(|index| fds.take(Slot::Socket(index))).collect();
    drop(fds);
    let wanted = Wanted {
        sockets: (&plan.sockets, sockets),
        exec: &plan.exec,
        environment: plan.environment.clone(),
        working_directory: &plan.working_directory,
        user,
        supplementary_gids: &plan.supplementary_gids,
        rights: &plan.rights,
    };
    ready_and_wait(wanted, terminal, tier, channel)
}

/// The app's user, and whether it has the rights over the pod's network that are meant for root.
fn user_of(plan: &AppPlan, tier: Tier, channel: &StubEnd) -> Result<(User, bool), Failure> {
    let mut user = program::lookup_user(&plan.user, &plan.group, plan, tier)?;
    if let Some(keep) = plan.keep_id.as_ref().filter(|keep| plan.group.is_empty() && keep.uid == user.uid) {
        // A volume on /etc/passwd may say otherwise than the image, whose group the tree was made for.
        user.gid = keep.gid;
    }
    let ids = (user.uid, user.gid);
    if let Some(keep) = plan.keep_id.as_ref().filter(|keep| (keep.uid, keep.gid) != ids) {
        // The tree was made for another user; as the caller this one could write to files of the image's root.
        let (uid, gid) = ids;
        let what = format_args!("the image's tree was made for {}:{}, and its user is {uid}:{gid}", keep.uid, keep.gid);
        return Err(failure(FailureKind::User, &what));
    }
    let is_net_admin = plan.net_admin == Some(Grant::App) && ids == (0, 0);
    if plan.net_admin.is_some() && ids != (0, 0) {
        // Nobody else's capabilities outlive execve(2); without a word they would do nothing.
        let (uid, gid) = ids;
        let what = format!("rights over the pod's network are for 0:0, and its user is {uid}:{gid}");
        if !plan.roots_alone {
            return Err(failure(FailureKind::User, &what));
        }
        say(channel, &FromStub::Remark(what))?;
    }
    Ok((user, is_net_admin))
}

/// The last steps, and the wait for the start; `None` when it does not come.
pub(crate) fn ready_and_wait(
    wanted: Wanted<'_>,
    terminal: Option<OwnedFd>,
    tier: Tier,
    channel: &StubEnd,
) -> Result<Option<Program>, Failure> {
    let kept = channel.as_fd().as_raw_fd();
    // Sent before it would be closed; pid 1 looks at it only when this process is ready.
    if let Some(terminal) = terminal {
        channel
            .say_with(&FromStub::Terminal, &[terminal.as_fd()])
            .named(|| "sendmsg(<pid 1>)".into())
            .map_err(setup)?;
    }
    let program = program::ready(wanted, tier, kept)?;
    say(channel, &FromStub::Ready)?;
    Ok((hear(channel)? == Some(ToStub::Start)).then_some(program))
}

fn say(channel: &StubEnd, message: &FromStub) -> Result<(), Failure> {
    channel.say(message).named(|| "send(<pid 1>)".into()).map_err(setup)
}

fn hear(channel: &StubEnd) -> Result<Option<ToStub>, Failure> {
    channel.hear().named(|| "recv(<pid 1>)".into()).map_err(setup)
}

/// Moves this process into a control group. The kernel asks whether whoever opened the file might do that.
pub(crate) fn join(cgroup: &OwnedFd) -> Result<(), Refusal> {
    rustix::io::write(cgroup, b"0").map(drop).named(|| "write(<cgroup.procs>, \"0\")".into())
}

/// Moves into N2; an app with rights over the pod's network into the user namespace that this belongs to, which is a sibling
/// of every N2. Returns false when pid 1 is gone.
fn own_namespace(
    user: &User,
    rights: &Rights,
    is_net_admin: bool,
    fds: &Fds,
    channel: &StubEnd,
) -> Result<bool, Failure> {
    // The files of a process that is not dumpable belong to the host's root, whom N1 does not map: pid 1 could not
    // write our maps, nor we our own oom_score_adj. Siblings gain nothing: they are in other user namespaces.
    set_dumpable(DumpableBehavior::Dumpable)?;
    if let Some(remark) = mark(rights, fds).map_err(setup)? {
        say(channel, &FromStub::Remark(shortened(remark)))?;
    }
    let own = if is_net_admin {
        move_into_link_name_space(fds.get(Slot::NetOwner).map_err(setup)?, Some(LinkNameSpaceType::User))
            .named(|| "setns(<network's owner>, CLONE_NEWUSER)".into())
            .map_err(setup)?;
        (Namespaces::MOUNT, "unshare(CLONE_NEWNS)")
    } else {
        (Namespaces::USER.with(Namespaces::MOUNT), "unshare(CLONE_NEWUSER|CLONE_NEWNS)")
    };
    sys::namespace::unshare(own.0)
        .named(|| own.1.into())
        .map_err(|refusal| failure(FailureKind::Namespace, &refusal))?;
    say(channel, &FromStub::WantsMap { uid: user.uid, gid: user.gid })?;
    if hear(channel)? != Some(ToStub::Mapped) {
        return Ok(false);
    }
    set_dumpable(DumpableBehavior::NotDumpable)?;
    Ok(true)
}

pub(crate) fn set_dumpable(behavior: DumpableBehavior) -> Result<(), Failure> {
    set_dumpable_behavior(behavior).named(|| format!("prctl(PR_SET_DUMPABLE, {behavior:?})")).map_err(setup)
}

/// Writes what the kernel is to think of this process, which must be dumpable: how gladly to kill it for want of
/// memory, and the label of what it will execute. Returns what differs from what was wanted.
pub(crate) fn mark(rights: &Rights, fds: &Fds) -> Result<Option<String>, Refusal> {
    let usual = (oom_score(fds)? + OOM_SCORE_ADD).min(OOM_SCORE_MAX);
    let set = |score: i32| write_below(fds, Slot::Proc, OOM_SCORE, &score.to_string());
    let remark = match rights.oom_score_adj {
        None => {
            set(usual)?;
            None
        }
        Some(OomScore { value, may_be_low: false }) => {
            set(value.max(usual))?;
            let low = value < usual;
            low.then(|| {
                format!("isolator os/linux/oom-score-adj: it is {usual}, as for others: an image cannot lower it")
            })
        }
        Some(OomScore { value, .. }) => match set(value) {
            Ok(()) => None,
            // The caller's own may be higher, and only the host's root could go below it.
            Err(refusal) => {
                set(usual)?;
                Some(format!("isolator os/linux/oom-score-adj: it is {usual}: {refusal}"))
            }
        },
    };
    match &rights.label {
        // proc_pid_attr(5).
        Some(Label::ApparmorProfile(profile)) => {
            write_below(fds, Slot::Proc, "self/attr/apparmor/exec", &format!("exec {profile}"))?;
        }
        Some(Label::StackedApparmorProfile(profile)) => {
            write_below(fds, Slot::Proc, "self/attr/apparmor/exec", &format!("stack {profile}"))?;
        }
        Some(Label::SelinuxContext(context)) => write_below(fds, Slot::Proc, "self/attr/exec", context)?,
        None => {}
    }
    Ok(remark)
}

const OOM_SCORE: &str = "self/oom_score_adj";

fn oom_score(fds: &Fds) -> Result<i32, Refusal> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(fds.get(Slot::Proc)?, OOM_SCORE, flags, Mode::empty())
        .named(|| format!("openat({OOM_SCORE})"))?;
    let mut buffer = [0; 16];
    let len = rustix::io::read(&file, &mut buffer).named(|| format!("read({OOM_SCORE})"))?;
    Ok(std::str::from_utf8(&buffer[..len]).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0))
}

fn write_below(fds: &Fds, slot: Slot, path: &str, text: &str) -> Result<(), Refusal> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(fds.get(slot)?, path, flags, Mode::empty())
        .named(|| format!("openat(<{slot}/{path}>, O_WRONLY)"))?;
    rustix::io::write(&file, text.as_bytes()).map(drop).named(|| format!("write(<{slot}/{path}>, {text:?})"))
}
