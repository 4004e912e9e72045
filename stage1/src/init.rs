//! Pid 1 of a pod: builds the sandbox, creates and starts the apps, reaps.
//!
//! It is forked from the monitor and never executed: a process that was executed inside the pod's user namespace could
//! be opened by apps with capabilities there, a forked one cannot (measured). It decides nothing:
//! what an app's end means is the monitor's business.

mod app;
mod apps;
mod etc;
mod files;
mod listening;
mod process;
pub(crate) mod reopen;
mod sockets;
mod streams;

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal};
use sys::fork::Namespaces;
use sys::signal::Block;

use crate::apply::{Fds, Named as _, Refusal, apply};
use crate::channel::{Channel, Failure, FailureKind, FromInit, ToInit};
use crate::idmap::{IdMapping, Tier};
use crate::limits;
use crate::network::Passed;
use crate::op::{Op, Slot};
use crate::plan::{AppPlan, Net, Plan};
use crate::run::{AppDirs, PodFiles};
use crate::streams::AppStreams;
use crate::stub::{self, Stdio};
use crate::userns::become_container_root;

pub(crate) use app::App;
use apps::Apps;
use process::{Process, Stage};
pub(crate) use sockets::BACKLOG;

pub(crate) type InitEnd = Channel<FromInit, ToInit>;

/// Namespaces of the pod that pid 1 makes itself, while the id helpers run beside it. (User and pid are made by the
/// fork: pid 1 must be the first process of its pid namespace.)
const OWN_NAMESPACES: Namespaces =
    Namespaces::MOUNT.with(Namespaces::IPC).with(Namespaces::UTS).with(Namespaces::CGROUP);

/// What pid 1 is given by the monitor, by way of the fork.
#[derive(Debug)]
pub(crate) struct Init {
    pub(crate) plan: Plan,
    pub(crate) mapping: IdMapping,
    pub(crate) layers: Vec<Vec<OwnedFd>>,
    /// Sources of the pod's volumes on the host; `None` for those of its own.
    pub(crate) sources: Vec<Option<OwnedFd>>,
    /// For each app its streams; none at all where all apps have the pod's.
    pub(crate) streams: Vec<AppStreams>,
    /// What puts a process into its control group when `0` is written to it, if the pod has groups.
    pub(crate) cgroups: Option<InitCgroups>,
    pub(crate) monitor: InitEnd,
    /// Whose network it has.
    pub(crate) net: Net,
    /// For each app the sockets that it takes over.
    pub(crate) sockets: Vec<Vec<Passed>>,
}

/// The ways into the control groups of pid 1 and of each app.
#[derive(Debug)]
pub(crate) struct InitCgroups {
    pub(crate) own: Option<OwnedFd>,
    pub(crate) apps: Vec<OwnedFd>,
}

/// Why pid 1 stops early.
enum Stop {
    /// The monitor is gone: so must the pod be.
    Orphaned,
    /// Something failed.
    Failed(Failure),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Failed(Failure::new(FailureKind::Setup, &refusal))
    }
}

/// Runs pid 1, and returns the status that it is to end with. The kernel kills every process of the pod when it ends.
pub(crate) fn run(mut init: Box<Init>) -> u8 {
    match start(&mut init) {
        Ok(apps) => {
            let served = apps.serve(&init.monitor);
            if let Err(errno) = served {
                let what = format_args!("watch the apps: {}", std::io::Error::from(errno));
                let _ = init.monitor.say(&FromInit::Failed(Failure::new(FailureKind::Setup, &what)));
            }
            u8::from(served.is_err())
        }
        Err(Stop::Orphaned) => 0,
        Err(Stop::Failed(failure)) => {
            let _ = init.monitor.say(&FromInit::Failed(failure));
            1
        }
    }
}

/// Everything up to apps that wait for their start.
///
/// Never a part of its caller, which lives as long as the pod: its many moments need 16 kB of the stack.
#[inline(never)]
fn start(init: &mut Init) -> Result<Apps, Stop> {
    // Apps may read it: the arguments of proa name their siblings' secrets and the host's paths.
    sys::title::set("proa-pod");
    // Then: a monitor that dies now takes the pod with it. One that died before shows as the end of the
    // conversation; getppid is 0 in here and proves nothing.
    die_with_parent()?;
    rustix::process::setsid().named(|| "setsid()".into())?;
    let mut fds = Fds::default();
    let early = before_maps(init, &mut fds);
    // Whatever came of that: the maps are being written, which cannot be done for a process that has ended.
    if init.monitor.hear().named(|| "recv(<monitor>)".into())? != Some(ToInit::Mapped) {
        return Err(Stop::Orphaned);
    }
    let Early { between, layers, sources } = early?;
    // Root's pods have ids that cannot pass root's own directories: there the files must be found first. Otherwise
    // the sandbox is built while the monitor still makes the files.
    let early_files = (init.mapping.tier() == Tier::Root).then(|| files::receive(init)).transpose()?;
    become_container_root(&init.mapping).named(|| "setresuid(0, 0, 0)".into())?;
    // Changing ids clears the death signal (prctl(2)).
    die_with_parent()?;
    // Only now: the maps could not be written for a process that is not dumpable.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).named(|| "prctl(PR_SET_DUMPABLE, 0)".into())?;
    rustix::process::umask(rustix::fs::Mode::empty());
    perform(&init.plan.sandbox, &mut fds)?;
    if let Some(between) = between {
        hand_over_namespaces(&init.monitor, Some(between))?;
    }
    let PodFiles { apps, volumes, lock, .. } = match early_files {
        Some(files) => files,
        None => files::receive(init)?,
    };
    let mut own = volumes.into_iter();
    for (index, source) in sources.into_iter().enumerate() {
        if let Some(volume) = source.or_else(|| own.next()) {
            fds.put(Slot::VolumeDir(index), volume);
        }
    }
    let parts = init.plan.apps.iter().zip(layers).zip(apps);
    let built = parts.map(|((plan, layers), dirs)| build(plan, layers, dirs, &mut fds));
    let built = built.collect::<Result<Vec<_>, _>>().map_err(Stop::Failed)?;
    // From here on the host's files are out of reach.
    perform(&[Op::Pivot { slot: Slot::Sandbox }], &mut fds)?;
    close_inherited(init, &fds, &built, &lock)?;
    limits::bound_processes(init.plan.processes)?;
    create(init, fds, built, lock)
}

/// What pid 1 has before its ids are mapped.
struct Early {
    /// The network namespace between the pod's and the world, if there is one.
    between: Option<OwnedFd>,
    /// For each app, the trees of its image.
    layers: Vec<Vec<OwnedFd>>,
    /// The sources of the volumes.
    sources: Vec<Option<OwnedFd>>,
}

/// The namespaces that it makes itself, and what needs no ids.
fn before_maps(init: &mut Init, fds: &mut Fds) -> Result<Early, Stop> {
    // Before its cgroup namespace begins there.
    if let Some(own) = init.cgroups.as_mut().and_then(|cgroups| cgroups.own.take()) {
        stub::join(&own)?;
    }
    let has_owner = init.plan.has_network_owner();
    let own = match init.net {
        // It comes with its owner, below.
        Net::Loopback if has_owner => OWN_NAMESPACES,
        Net::Host => OWN_NAMESPACES,
        Net::Loopback | Net::Connected => OWN_NAMESPACES.with(Namespaces::NET),
    };
    let unshared = sys::namespace::unshare(own).named(|| "unshare(<the pod's namespaces>)".into());
    unshared.map_err(|refusal| Stop::Failed(Failure::new(FailureKind::Namespace, &refusal)))?;
    perform(&init.plan.early, fds)?;
    let between = (init.net == Net::Connected && has_owner).then(|| own_namespace("net")).transpose()?;
    if init.net == Net::Connected && !has_owner {
        hand_over_namespaces(&init.monitor, None)?;
    }
    let layers = std::mem::take(&mut init.layers).into_iter().map(reopen::all).collect::<Result<Vec<_>, _>>()?;
    let sources = std::mem::take(&mut init.sources).into_iter().map(|source| source.map(reopen::source).transpose());
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    Ok(Early { between, layers, sources })
}

/// For whoever connects the pod's network: with the one that is `between` it and the world, if there is one.
fn hand_over_namespaces(monitor: &InitEnd, between: Option<OwnedFd>) -> Result<(), Refusal> {
    let (net, user) = (own_namespace("net")?, own_namespace("user")?);
    let fds: Vec<_> = [&net, &user].into_iter().chain(&between).map(|fd| fd.as_fd()).collect();
    monitor.say_with(&FromInit::Namespaces, &fds).named(|| "sendmsg(<monitor>)".into())
}

/// A namespace of this process.
fn own_namespace(name: &str) -> Result<OwnedFd, Refusal> {
    let path = format!("/proc/self/ns/{name}");
    rustix::fs::open(path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).named(|| format!("open({path:?})"))
}

fn die_with_parent() -> Result<(), Refusal> {
    set_parent_process_death_signal(Some(Signal::KILL)).named(|| "prctl(PR_SET_PDEATHSIG, SIGKILL)".into())
}

fn perform(ops: &[Op], fds: &mut Fds) -> Result<(), Stop> {
    apply(ops, fds).map_err(|error| Stop::Failed(Failure::new(error.kind, &error)))
}

/// The detached mounts of an app: made while the host's files are in reach, attached when the app starts.
pub(crate) struct Built(pub(crate) Vec<(Slot, OwnedFd)>);

/// Makes an app's mounts. The same function serves an app that is added later, in a process with a view of the host.
pub(crate) fn build(plan: &AppPlan, layers: Vec<OwnedFd>, dirs: AppDirs, fds: &mut Fds) -> Result<Built, Failure> {
    for (index, layer) in layers.into_iter().enumerate() {
        fds.put(Slot::Layer(index), layer);
    }
    fds.put(Slot::Upper, dirs.upper);
    fds.put(Slot::Work, dirs.work);
    apply(&plan.build, fds).map_err(|error| Failure::new(error.kind, &format_args!("app {:?}: {error}", plan.name)))?;
    Ok(Built(fds.take_app_mounts()))
}

/// Closes whatever the caller of proa, or proa itself, had open: only what pid 1 needs stays.
fn close_inherited(init: &Init, fds: &Fds, built: &[Built], lock: &OwnedFd) -> Result<(), Stop> {
    let mut keep: Vec<RawFd> = fds.numbers().collect();
    keep.extend(built.iter().flat_map(|built| built.0.iter().map(|(_, fd)| fd.as_raw_fd())));
    keep.extend(init.streams.iter().flat_map(AppStreams::numbers));
    keep.extend(init.cgroups.iter().flat_map(|cgroups| &cgroups.apps).map(|fd| fd.as_raw_fd()));
    keep.extend(init.sockets.iter().flatten().filter_map(|passed| listening::number(&passed.socket)));
    keep.extend([init.monitor.as_fd().as_raw_fd(), lock.as_raw_fd()]);
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep.into_iter().chain([RawFd::MAX]) {
        if fd > first {
            sys::exec::close_range(first, fd - 1).named(|| format!("close_range({first}, {})", fd - 1))?;
        }
        first = fd.saturating_add(1).max(first);
    }
    Ok(())
}

/// Creates the apps that the pod begins with: nothing else runs in it yet, so each may be waited for.
fn create(init: &mut Init, mut fds: Fds, built: Vec<Built>, lock: OwnedFd) -> Result<Apps, Stop> {
    let signals = sys::signal::watch(&[Signal::CHILD.as_raw()], Block::All).named(|| "signalfd()".into())?;
    let mut streams = init.streams.iter();
    let mut sockets = std::mem::take(&mut init.sockets).into_iter();
    // All are forked before the first is waited for, so that they prepare themselves side by side.
    let mut apps = BTreeMap::new();
    let mut processes = Vec::new();
    let metadata = fds.take(Slot::Metadata);
    let mut identities = Vec::new();
    let mut cgroups = init.cgroups.take().map(|cgroups| cgroups.apps).unwrap_or_default().into_iter();
    let Plan { apps: plans, own_volumes, .. } = std::mem::take(&mut init.plan);
    for (index, (plan, Built(mounts))) in plans.into_iter().zip(built).enumerate() {
        let stdio = streams.next().map_or(Ok(Stdio::Inherited), streams::for_child)?;
        let mut own = with_mounts(&fds, mounts)?;
        identities.extend(identity(index, &plan, &mut own)?);
        put_etc(index, &plan, &mut own)?;
        let mut app = App::new(plan, cgroups.next());
        app.put_cgroup(&mut own)?;
        app.put_sockets(sockets.next().unwrap_or_default(), &mut own)
            .map_err(|refusal| Failure::new(FailureKind::Setup, &format_args!("app {:?}: {refusal}", app.plan.name)))
            .map_err(Stop::Failed)?;
        processes.push(Process::first(index, &mut app.plan, own, stdio, init.mapping.tier())?);
        apps.insert(index, Box::new(app));
    }
    (0..own_volumes.len()).for_each(|index| drop(fds.take(Slot::VolumeDir(index))));
    let (mapping, ended_early) = (init.mapping.clone(), BTreeMap::new());
    let mut apps = Apps { apps, processes, ended_early, stays: false, fds, mapping, signals, _lock: lock };
    apps::tell_listeners(metadata, identities, &init.monitor).named(|| "sendmsg(<monitor>)".into())?;
    for wanted in [Stage::Readying, Stage::Waiting] {
        for index in 0..apps.processes.len() {
            apps.advance_to(index, wanted, &init.monitor)?;
        }
    }
    Ok(apps)
}

/// Makes the app's own socket, if it is to have one, and puts the mount with it among the app's. Returns the listener.
fn identity(index: usize, plan: &AppPlan, own: &mut Fds) -> Result<Option<(usize, OwnedFd)>, Refusal> {
    if !plan.has_identity {
        return Ok(None);
    }
    let made = sockets::make(index)?;
    own.put(Slot::Identity, made.mount);
    Ok(Some((index, made.listener)))
}

/// Makes the app's files of /etc.
fn put_etc(index: usize, plan: &AppPlan, own: &mut Fds) -> Result<(), Refusal> {
    let files = etc::make(index, &plan.etc, own.root_ids())?;
    files.into_iter().enumerate().for_each(|(file, mount)| own.put(Slot::Etc(file), mount));
    Ok(())
}

/// The sandbox's descriptors and an app's own mounts.
fn with_mounts(fds: &Fds, mounts: Vec<(Slot, OwnedFd)>) -> Result<Fds, Refusal> {
    let mut own = fds.try_clone()?;
    mounts.into_iter().for_each(|(slot, fd)| own.put(slot, fd));
    Ok(own)
}
