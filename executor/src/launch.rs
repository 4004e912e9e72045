//! From stored images to a pod that runs, and to the exit status when it is over.

use std::path::Path;
use std::time::{Duration, Instant};

use appc::{PodManifest, PodUuid};
use pod::{Pod, PodEntry, Pods, Running, State};
use rustix::rand::{GetRandomFlags, getrandom};
use stage1::idmap::{IdMapping, Tier};

use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::{CommandError, Explain};
use crate::handed;
use crate::idmap::Remover;
use crate::prepare::{Known, PreparedPod};
use crate::request::Lifecycle;
use crate::setup::Setup;
use crate::supervision::{Places, hostname, supervise, undo};
use crate::{app_streams, attach, docker, keeper, leftover, monitor, output, protection, relay};

/// What became of a pod that was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Launched {
    /// It has ended with this exit status.
    Ended(u8),
    /// It was started, and lives on without this process.
    Detached(PodUuid),
}

impl Launched {
    /// The exit status of the command, after the UUID of a detached pod was printed.
    ///
    /// # Errors
    ///
    /// stdout cannot be written to.
    pub(crate) fn tell(self) -> Result<u8, CommandError> {
        match self {
            Self::Ended(status) => Ok(status),
            Self::Detached(uuid) => output::write(&format!("{uuid}\n")).map(|()| 0),
        }
    }
}

/// Runs the pod to its end, or until it is detached.
///
/// # Errors
///
/// The pod could not be made or run. Nothing of it is left then, unless the error says so.
pub(crate) fn run(context: &Context, prepared: PreparedPod) -> Result<Launched, CommandError> {
    run_as(context, uuid()?, prepared)
}

/// As [`run`], with a UUID of [`uuid`].
///
/// # Errors
///
/// As there.
pub(crate) fn run_as(context: &Context, uuid: PodUuid, mut prepared: PreparedPod) -> Result<Launched, CommandError> {
    tell_what_differs(&prepared.manifest, &prepared.mapping)?;
    name_host(&mut prepared, uuid);
    start(context, uuid, prepared, None)
}

/// Runs the pod in the foreground, or starts its monitor.
fn start(
    context: &Context,
    uuid: PodUuid,
    mut prepared: PreparedPod,
    resumed: Option<(Pod<Running>, Setup)>,
) -> Result<Launched, CommandError> {
    let data_dir = context.data_dir()?;
    let socket_dir = context.socket_dir()?;
    // A monitor would not be the process that they were handed to.
    let handed = handed::take()?;
    prepared.lifecycle.attached &= prepared.manifest.apps.len() == 1;
    let Lifecycle { detach, interactive, attached, .. } = prepared.lifecycle;
    if app_streams::has_terminal(&prepared.manifest) {
        name_terminal(&mut prepared.manifest, None);
    }
    if prepared.lifecycle.is_here() {
        let places = Places { data_dir: data_dir.into(), socket_dir };
        return supervise(&places, uuid, prepared, resumed, handed, None).map(Launched::Ended);
    }
    let app = match prepared.manifest.apps.as_slice() {
        [app] => app.name.as_str().to_owned(),
        _ if interactive => return Err(CommandError::usage("interactive option only supports one image")),
        _ => String::new(),
    };
    // The monitor has no terminal to look at.
    if interactive && !detach && !attached {
        prepared.lifecycle.terminal = relay::is_interactive().then(relay::size);
    }
    if prepared.lifecycle.terminal.is_some() {
        name_terminal(&mut prepared.manifest, prepared.lifecycle.term);
    }
    // Relative, it would mean another place in the monitor.
    let absolute = |dir: &Path| std::path::absolute(dir).during(|| "find the data directory".into());
    let places = Places { data_dir: absolute(data_dir)?, socket_dir: absolute(&socket_dir)? };
    let data_dir = places.data_dir.clone();
    let hearing = monitor::detach(move |started| supervise(&places, uuid, prepared, resumed, handed, Some(started)))?;
    if detach {
        return Ok(Launched::Detached(uuid));
    }
    let pods = Pods::existing(&data_dir)?;
    let Some(status) = attach::hold(&pods, &pods.find(&uuid.to_string())?, &app)? else {
        return Ok(Launched::Ended(0));
    };
    wait_for_monitor(&pods, uuid);
    // Why its program could not be executed, for instance.
    hearing.last_words()?;
    Ok(Launched::Ended(status))
}

/// Names the host as docker does, where that is wanted: inside, `docker inspect $(hostname)` is about oneself.
fn name_host(prepared: &mut PreparedPod, uuid: PodUuid) {
    if !prepared.lifecycle.host_is_named {
        return;
    }
    let name = prepared.lifecycle.hostname.get_or_insert_with(|| docker::short_id(uuid)).clone();
    set_where_missing(&mut prepared.manifest, "HOSTNAME", &name);
}

/// Sets a variable for the apps that do not have it.
fn set_where_missing(manifest: &mut PodManifest, variable: &str, value: &str) {
    for app in manifest.apps.iter_mut().filter_map(|app| app.app.as_mut()) {
        if app.environment.get(variable).is_none() {
            app.environment.set(variable, value);
        }
    }
}

/// Tells apps that have a terminal which kind, or that it is of the caller's: whoever was not told takes it for one that can
/// do nothing.
pub(crate) fn name_terminal(manifest: &mut PodManifest, kind: Option<&str>) {
    let of_caller = || std::env::var("TERM").ok().filter(|term| !term.is_empty()).unwrap_or_else(|| TERM.to_owned());
    set_where_missing(manifest, "TERM", &kind.map_or_else(of_caller, str::to_owned));
}

/// The kind of terminal that every program knows.
pub(crate) const TERM: &str = "xterm";

/// How long a monitor may take to put its pod away after the pod's end.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// Waits until a pod that has ended does not look as if it ran: whoever comes after this command counts on that.
fn wait_for_monitor(pods: &Pods, uuid: PodUuid) {
    let deadline = Instant::now() + LAST_MOMENTS;
    let runs = || pods.find(&uuid.to_string()).is_ok_and(|entry| entry.state == State::Running);
    while runs() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs a pod that was prepared before, or runs one again that has ended, as [`run`] does.
///
/// # Errors
///
/// Somebody else was faster; as [`run`].
pub(crate) fn resume(
    context: &Context,
    pods: &Pods,
    entry: &PodEntry,
    prepared: PreparedPod,
    known: Known,
    is_changed: bool,
) -> Result<Launched, CommandError> {
    tell_what_differs(&prepared.manifest, &prepared.mapping)?;
    let pod = match entry.state {
        State::Exited => pods.run_again(entry.uuid, Some(&known.contents))?,
        _ => pods.run_prepared(entry.uuid, Some(&known.contents))?,
    };
    if is_changed {
        pod.replace_manifest(&prepared.manifest.to_json()?)?;
    }
    start(context, entry.uuid, prepared, Some((pod, known.setup)))
}

/// Makes the pod for a later run, and makes sure that it is there after a power cut.
///
/// # Errors
///
/// The pod could not be made. Nothing of it is left then, unless the error says so.
pub(crate) fn prepare(context: &Context, mut prepared: PreparedPod) -> Result<PodUuid, CommandError> {
    tell_what_differs(&prepared.manifest, &prepared.mapping)?;
    let uuid = uuid()?;
    name_host(&mut prepared, uuid);
    let PreparedPod { manifest, mapping, images, keys, guards, name, lifecycle, .. } = prepared;
    let hostname = hostname(lifecycle.hostname, name.as_ref(), uuid);
    let setup = Setup::of(&manifest, &hostname, keys, &images).with_life(lifecycle.life);
    let data_dir = context.create_data_dir()?;
    let pods = Pods::ensure(data_dir)?;
    let pod = leftover::create(&pods, data_dir, uuid, name.as_ref()).map_err(keeper::explain)?.prepare()?;
    if let Err(error) = keeper::fill(&pod, &manifest, &mapping, Some(&setup)) {
        return Err(undo(error, pod.remove(&Remover::new(&mapping))));
    }
    let uuid = pod.into_prepared(true)?;
    // Until here no collection has seen the pod, and these kept its trees.
    drop(guards);
    Ok(uuid)
}

/// One that no pod has.
///
/// # Errors
///
/// The kernel gives no random bytes.
pub(crate) fn uuid() -> Result<PodUuid, CommandError> {
    Ok(PodUuid::from_random(random_bytes()?))
}

/// From the kernel's generator in one call; a static binary's other ways to it open /dev/random first.
fn random_bytes() -> Result<[u8; 16], CommandError> {
    let mut bytes = [0; 16];
    // Up to 256 bytes come whole, and without waiting once the machine has booted (getrandom(2)).
    getrandom(&mut bytes, GetRandomFlags::empty()).map(|_| bytes).during(|| "get random bytes".into())
}

/// Says what an app gets other than its image asks for, or than a person would expect.
fn tell_what_differs(manifest: &PodManifest, mapping: &IdMapping) -> Result<(), CommandError> {
    // What becomes of its network's bound, the monitor tells: it sets it.
    protection::tell(manifest, &protection::prospects(manifest), &protection::network(manifest, false)?)?;
    protection::lost_groups(manifest, mapping).iter().for_each(|lost| warn(lost));
    // The kernel lets nobody without a range drop groups (user_namespaces(7)).
    let own = rustix::process::getegid();
    let mut groups = if mapping.tier() == Tier::Single { rustix::process::getgroups()? } else { Vec::new() };
    groups.retain(|group| *group != own);
    if !groups.is_empty() {
        let groups: Vec<String> = groups.iter().map(|group| group.as_raw().to_string()).collect();
        let groups = groups.join(", ");
        warn(&format!("without a subordinate id range, apps keep your supplementary groups: {groups}"));
    }
    Ok(())
}
