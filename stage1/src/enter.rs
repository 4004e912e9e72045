//! A later process of an app: it joins the app's namespaces and takes the same last steps as the app's own program.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::process::DumpableBehavior;
use rustix::thread::{CapabilitySet, LinkNameSpaceType, move_into_link_name_space};

use crate::apply::{Fds, Named as _};
use crate::channel::{EnterSpec, Failure, FailureKind};
use crate::idmap::Tier;
use crate::init::App;
use crate::isolators::Rights;
use crate::op::Slot;
use crate::plan::AppPlan;
use crate::program::{self, Program, Wanted, setup};
use crate::stub::{self, Stdio, StubEnd};
use crate::user::User;

/// The namespaces of an app. They last for as long as somebody has them open, so something can run in an
/// app whose program has ended.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) user: OwnedFd,
    pub(crate) mount: OwnedFd,
    /// Only where the app has a control group.
    pub(crate) cgroup: Option<OwnedFd>,
    /// User and group of its first process, as the app counts.
    pub(crate) ids: (u32, u32),
}

/// What is to be executed, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Later<'a> {
    pub(crate) spec: &'a EnterSpec,
    /// Whether it has rights over the pod's network that the app itself does not have.
    pub(crate) as_owner: bool,
}

/// Runs something in the app. `fds` has the sandbox's slots.
pub(crate) fn run(
    app: &App,
    spec: Later<'_>,
    room: &Room,
    fds: &Fds,
    stdio: Stdio,
    tier: Tier,
    channel: &StubEnd,
) -> ! {
    stub::become_program(prepare(app, spec, room, fds, stdio, tier, channel), channel)
}

fn prepare(
    app: &App,
    Later { spec, as_owner }: Later<'_>,
    room: &Room,
    fds: &Fds,
    stdio: Stdio,
    tier: Tier,
    channel: &StubEnd,
) -> Result<Option<Program>, Failure> {
    let App { plan, sockets, .. } = app;
    rustix::process::setsid().named(|| "setsid()".into()).map_err(setup)?;
    if let Some(cgroup) = fds.find(Slot::Cgroup) {
        stub::join(cgroup).map_err(setup)?;
    }
    // As for an app's first process; siblings gain nothing, they are in other user namespaces.
    stub::set_dumpable(DumpableBehavior::Dumpable)?;
    stub::mark(&plan.rights, fds).map_err(setup)?;
    // Before the app can see it: from here on a process of the app's namespace could look into this one.
    stub::set_dumpable(DumpableBehavior::NotDumpable)?;
    move_in(room, fds, as_owner)?;
    let user = who(plan, spec, room.ids, tier)?;
    let owner = (tier != Tier::Single).then_some((user.uid, user.gid));
    stdio.give_to(owner);
    let terminal = stdio.take(owner)?;
    // The app itself takes them over each time it starts; what else is executed in it does not.
    let sockets = if spec.exec.is_empty() { sockets.as_slice() } else { &[] };
    let sockets: Vec<OwnedFd> = sockets
        .iter()
        .map(OwnedFd::try_clone)
        .collect::<Result<_, _>>()
        .named(|| "dup(<socket>)".into())
        .map_err(setup)?;
    let more = if as_owner { CapabilitySet::NET_ADMIN } else { CapabilitySet::empty() };
    let rights = Rights { capabilities: plan.rights.capabilities | more, ..plan.rights.clone() };
    let wanted = Wanted {
        sockets: (&plan.sockets, sockets),
        exec: if spec.exec.is_empty() { &plan.exec } else { &spec.exec },
        environment: environment(plan, spec),
        working_directory: spec.working_directory.as_ref().unwrap_or(&plan.working_directory),
        user,
        supplementary_gids: &plan.supplementary_gids,
        rights: &rights,
    };
    stub::ready_and_wait(wanted, terminal, tier, channel)
}

/// The user that `spec` asks for, by the accounts that the app's root file system has by now; the app's own, whose ids
/// are `ids`, if it asks for none.
fn who(plan: &AppPlan, spec: &EnterSpec, ids: (u32, u32), tier: Tier) -> Result<User, Failure> {
    let group = match (&spec.user, &spec.group) {
        (_, Some(group)) => group,
        // Another user has his own primary group.
        (Some(_), None) => "",
        (None, None) => plan.group.as_str(),
    };
    let mut user = program::lookup_user(spec.user.as_ref().unwrap_or(&plan.user), group, plan, tier)?;
    if spec.user.is_none() && spec.group.is_none() && (user.uid, user.gid) != ids {
        // By now the app may have written another /etc/passwd, to a volume for instance. It stays who it was.
        user = User { uid: ids.0, gid: ids.1, ..User::default() };
    }
    // There is one id, and in the app's own namespace it is the app's.
    let only = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if tier == Tier::Single && (user.uid, user.gid) != only {
        let what = format_args!(
            "user {}:{}: without a range of subordinate ids there is {}:{} alone",
            user.uid, user.gid, only.0, only.1
        );
        return Err(program::failure(FailureKind::User, &what));
    }
    Ok(user)
}

/// Enters the app's namespaces.
fn move_in(room: &Room, fds: &Fds, as_owner: bool) -> Result<(), Failure> {
    // Belongs to the pod's user namespace, which is left last.
    let cgroup = room.cgroup.as_ref().map(|it| (it.as_fd(), LinkNameSpaceType::ControlGroup, "CLONE_NEWCGROUP"));
    let mount = (room.mount.as_fd(), LinkNameSpaceType::Mount, "CLONE_NEWNS");
    // From the pod's user namespace both can be entered: the one that owns the network gives no right to the other.
    let user = if as_owner { fds.get(Slot::NetOwner).map_err(setup)? } else { room.user.as_fd() };
    for (namespace, kind, name) in cgroup.into_iter().chain([mount, (user, LinkNameSpaceType::User, "CLONE_NEWUSER")]) {
        move_into_link_name_space(namespace, Some(kind)).named(|| format!("setns(<app>, {name})")).map_err(setup)?;
    }
    Ok(())
}

/// The app's environment with the variables of `spec` in their places, or after it.
fn environment(plan: &AppPlan, spec: &EnterSpec) -> Vec<(String, String)> {
    let mut environment = plan.environment.clone();
    for (name, value) in &spec.environment {
        match environment.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => environment.push((name.clone(), value.clone())),
        }
    }
    environment
}
