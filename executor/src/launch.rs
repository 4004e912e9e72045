//! From stored images to a pod that runs, and to the exit status when it is over.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use appc::{ImageManifest, PodManifest, PodUuid, RuntimeApp};
use metadata_api::Token;
use pod::{Pod, PodEntry, PodName, Pods, Running, State};
use rustix::rand::{GetRandomFlags, getrandom};
use stage1::LogLimits;
use stage1::idmap::{IdMapping, Tier};
use stage1::metadata::Registration;
use stage1::protocol::StdioKind;
use stage1::run::{AppOptions, AppStdio, PodOutcome, PodSpec, RunError, Signals};
use stage1::supervise::ExitPolicy;
use store::LayerKey;
use tracing::info_span;

use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::{self, CommandError, Explain, Kind};
use crate::forward::{self, Entrances};
use crate::handed::{self, Handed};
use crate::idmap::{self, Remover};
use crate::keeper::DirectoryKeeper;
use crate::net::NetRequest;
use crate::prepare::{self, PreparedPod};
use crate::request::Lifecycle;
use crate::setup::{AppSetup, Setup};
use crate::{attach, cgroup, docker, etc, failure_hint, keeper, monitor, output, pod_network, protection, relay};

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
pub(crate) fn run(context: &Context, mut prepared: PreparedPod) -> Result<Launched, CommandError> {
    tell_what_differs(&prepared.manifest, &prepared.mapping)?;
    let uuid = PodUuid::from_random(random_bytes()?);
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
        name_terminal(&mut prepared);
    }
    // Relative, it would mean another place in the monitor.
    let absolute = |dir: &Path| std::path::absolute(dir).during(|| "find the data directory".into());
    let places = Places { data_dir: absolute(data_dir)?, socket_dir: absolute(&socket_dir)? };
    let data_dir = places.data_dir.clone();
    monitor::detach(move |started| supervise(&places, uuid, prepared, resumed, handed, Some(started)))?;
    if detach {
        return Ok(Launched::Detached(uuid));
    }
    let pods = Pods::existing(&data_dir)?;
    let Some(status) = attach::hold(&pods, &pods.find(&uuid.to_string())?, &app)? else {
        return Ok(Launched::Ended(0));
    };
    wait_for_monitor(&pods, uuid);
    Ok(Launched::Ended(status))
}

/// Names the host as docker does, where that is wanted: inside, `docker inspect $(hostname)` is about oneself.
fn name_host(prepared: &mut PreparedPod, uuid: PodUuid) {
    if !prepared.lifecycle.host_is_named {
        return;
    }
    let name = prepared.lifecycle.hostname.get_or_insert_with(|| docker::short_id(uuid)).clone();
    set_where_missing(prepared, "HOSTNAME", &name);
}

/// Sets a variable for the apps that do not have it.
fn set_where_missing(prepared: &mut PreparedPod, variable: &str, value: &str) {
    for app in prepared.manifest.apps.iter_mut().filter_map(|app| app.app.as_mut()) {
        if app.environment.get(variable).is_none() {
            app.environment.set(variable, value);
        }
    }
}

/// Tells the apps that have a terminal which kind: whoever was not told takes it for one that can do nothing.
fn name_terminal(prepared: &mut PreparedPod) {
    let of_caller = || std::env::var("TERM").ok().filter(|term| !term.is_empty()).unwrap_or_else(|| TERM.to_owned());
    let term = prepared.lifecycle.term.map_or_else(of_caller, str::to_owned);
    set_where_missing(prepared, "TERM", &term);
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
    (setup, is_changed): (Setup, bool),
) -> Result<Launched, CommandError> {
    tell_what_differs(&prepared.manifest, &prepared.mapping)?;
    let pod = match entry.state {
        State::Exited => pods.run_again(entry.uuid)?,
        _ => pods.run_prepared(entry.uuid)?,
    };
    if is_changed {
        pod.replace_manifest(&prepared.manifest.to_json()?)?;
    }
    start(context, entry.uuid, prepared, Some((pod, setup)))
}

/// Makes the pod for a later run, and makes sure that it is there after a power cut.
///
/// # Errors
///
/// The pod could not be made. Nothing of it is left then, unless the error says so.
pub(crate) fn prepare(context: &Context, mut prepared: PreparedPod) -> Result<PodUuid, CommandError> {
    tell_what_differs(&prepared.manifest, &prepared.mapping)?;
    let uuid = PodUuid::from_random(random_bytes()?);
    name_host(&mut prepared, uuid);
    let PreparedPod { manifest, mapping, images, keys, guards, name, lifecycle, .. } = prepared;
    let hostname = hostname(lifecycle.hostname, name.as_ref(), uuid);
    let setup = setup(&manifest, &hostname, keys, &images).with_life(lifecycle.life);
    let pods = Pods::ensure(context.create_data_dir()?)?;
    let pod = pods.create(uuid, name.as_ref()).map_err(keeper::explain)?.prepare()?;
    if let Err(error) = keeper::fill(&pod, &manifest, &mapping, Some(&setup)) {
        return Err(undo(error, pod.remove(&Remover::new(&mapping))));
    }
    let uuid = pod.into_prepared(true)?;
    // Until here no collection has seen the pod, and these kept its trees.
    drop(guards);
    Ok(uuid)
}

/// What a monitor has to find.
#[derive(Debug)]
struct Places {
    data_dir: PathBuf,
    /// The directory of the metadata service's socket.
    socket_dir: PathBuf,
}

/// Makes the pod and sees to it until its end. A detached pod says when it is started.
fn supervise(
    places: &Places,
    uuid: PodUuid,
    prepared: PreparedPod,
    resumed: Option<(Pod<Running>, Setup)>,
    handed: Vec<Handed>,
    started: Option<monitor::Started>,
) -> Result<u8, CommandError> {
    let launch = info_span!("launch").entered();
    let PreparedPod { manifest, mapping, nest, layers, sources, images, keys, guards, name, lifecycle } = prepared;
    let chosen = lifecycle.hostname.or_else(|| resumed.as_ref().map(|(_, setup)| setup.hostname.clone()));
    let hostname = hostname(chosen, name.as_ref(), uuid);
    let life = lifecycle.life.clone();
    let new_setup =
        (lifecycle.keep && resumed.is_none()).then(|| setup(&manifest, &hostname, keys, &images).with_life(life));
    // A pod of its own has nobody's streams, and neither has one whose apps come and go.
    let held = (lifecycle.interactive || lifecycle.attached) && !lifecycle.detach;
    let own = lifecycle.detach || held || lifecycle.exit_policy == ExitPolicy::Never;
    let (stdin, terminal) = (lifecycle.interactive, lifecycle.terminal);
    let stdio = if own { AppStdio::Kept(StdioKind { stdin, terminal }) } else { AppStdio::Inherited };
    let options = AppOptions { stdio, restart: lifecycle.restart };
    let net = NetRequest::of(&manifest)?;
    let Entrances { network, sockets } = forward::open(&manifest, &net, handed)?;
    let names = name.iter().map(ToString::to_string).chain([hostname.clone()]);
    let mut names: Vec<String> = names.filter(|name| name != "localhost").collect();
    names.dedup();
    let (memberships, seats) = match net.joins.as_slice() {
        [] => (Vec::new(), Vec::new()),
        joins => pod_network::join(&places.data_dir, joins, &names)?,
    };
    // A prospect that comes to nothing is an error: apps without the limits that were promised would be worse.
    let bounded = cgroup::is_wanted(&manifest) && cgroup::prospects().is_ok();
    let scope = name.as_ref().map_or_else(|| uuid.to_string(), ToString::to_string);
    let cgroup = bounded.then(|| cgroup::obtain(&scope)).transpose()?;
    let offers = prepare::offered_nests(&places.data_dir);
    let spec = PodSpec {
        manifest: &manifest,
        hostname: &hostname,
        mapping: &mapping,
        nest,
        offers: Some(&offers),
        layers,
        sources,
        apps: vec![options; manifest.apps.len()],
        exit_policy: lifecycle.exit_policy,
        logs: LogLimits::default(),
        held,
        signals: if own { Signals::Stop } else { Signals::Forward },
        metadata: Some(registration(places, uuid, &manifest, images)?),
        network,
        memberships,
        etc: etc::files(&net, &hostname),
        cgroup,
        sockets,
    };
    let remover = Remover::new(&mapping);
    let mut keeper = DirectoryKeeper::new(&places.data_dir, uuid, name.as_ref(), &manifest, &mapping, &remover);
    if let Some((pod, setup)) = resumed {
        keeper = keeper.resume(pod);
        if lifecycle.keep {
            keeper = keeper.keep(setup);
        }
    } else if let Some(setup) = new_setup {
        keeper = keeper.keep(setup);
    }
    if own {
        keeper = keeper.keep_logs();
    }
    if let Some(file) = &lifecycle.uuid_file {
        keeper = keeper.save_uuid(file);
    }
    if let Some(started) = started {
        keeper = keeper.when_started(move || started.tell());
    }
    let outcome = stage1::run::run(spec, &mut keeper);
    drop(seats);
    drop(launch);
    drop(guards);
    finish(keeper, uuid, outcome)
}

/// The host name that was chosen, or else the pod's name, or one made of its UUID.
fn hostname(chosen: Option<String>, name: Option<&PodName>, uuid: PodUuid) -> String {
    chosen.or_else(|| name.map(ToString::to_string)).unwrap_or_else(|| format!("proa-{uuid}"))
}

/// What a kept pod remembers.
fn setup(manifest: &PodManifest, hostname: &str, keys: Vec<Vec<LayerKey>>, images: &[ImageManifest]) -> Setup {
    let apps = manifest.apps.iter().zip(keys).zip(images);
    let app = |((app, layers), image): ((&RuntimeApp, _), _)| AppSetup::new(app.name.to_string(), layers, image);
    Setup::new(hostname.to_owned(), apps.map(app).collect())
}

/// How the pod registers with the metadata service when one of its apps asks.
fn registration(
    places: &Places,
    uuid: PodUuid,
    manifest: &PodManifest,
    images: Vec<ImageManifest>,
) -> Result<Registration, CommandError> {
    let names = manifest.apps.iter().map(|app| app.name.to_string());
    let token = Token::generate().during(|| "make the pod's token".into())?;
    let dirs = (places.socket_dir.clone(), places.data_dir.clone());
    Ok(Registration::new(uuid, token, names.zip(images.into_iter().map(Box::new)).collect(), dirs))
}

/// Puts the pod away and says how it ended.
fn finish(
    keeper: DirectoryKeeper<'_>,
    uuid: PodUuid,
    outcome: Result<PodOutcome, RunError>,
) -> Result<u8, CommandError> {
    let status = match &outcome {
        Ok(outcome) => outcome.status,
        Err(error) => i32::from(error.exit_status()),
    };
    let (refused, kept) = keeper.finish(status);
    match refused.map_or_else(|| outcome.map_err(explain_run), Err) {
        // An app's status is a byte, whatever a manifest or a signal made of it.
        Ok(_) => kept.map(|()| u8::try_from(status).unwrap_or(u8::MAX)).during(|| format!("put pod {uuid} away")),
        Err(error) => Err(undo(error, kept)),
    }
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

/// A failure after which the pod was removed, or could not be removed either.
fn undo(error: CommandError, removed: Result<(), pod::PodError>) -> CommandError {
    match removed {
        Ok(()) => error,
        Err(left) => {
            let left = error::chain(&left);
            error.hint(format!("the pod could not be removed ({left}); `proa gc` will try again"))
        }
    }
}

/// The exit status of a pod that could not run, and what mends it.
fn explain_run(error: RunError) -> CommandError {
    let (kind, hint) = match &error {
        RunError::Pod(failure) => failure_hint::of(failure.kind),
        RunError::Stream { .. } => (Kind::Failed, Some("give it a file, a pipe, a terminal or /dev/null")),
        _ => (Kind::Failed, None),
    };
    let mut error = CommandError::from(error);
    error.kind = kind;
    error = idmap::explain(error);
    hint.into_iter().fold(error, CommandError::hint)
}
