//! The process that sees to a pod: from what was prepared, through the pod's life, to its exit status.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use appc::{ImageManifest, PodManifest, PodUuid, RuntimeApp};
use metadata_api::Token;
use pod::{Pod, PodName, Running};
use stage1::LogLimits;
use stage1::idmap::IdMapping;
use stage1::metadata::Registration;
use stage1::nest::Nest;
use stage1::protocol::StdioKind;
use stage1::run::{AppOptions, AppStdio, PodOutcome, PodSpec, RunError, Signals};
use stage1::supervise::ExitPolicy;
use tracing::info_span;

use crate::error::{self, CommandError, Explain, Hint, Kind};
use crate::forward::{self, Entrances};
use crate::handed::Handed;
use crate::idmap::{self, Remover};
use crate::keeper::DirectoryKeeper;
use crate::net::NetRequest;
use crate::pod_network::{self, Seat};
use crate::prepare::{self, PreparedPod};
use crate::request::Lifecycle;
use crate::setup::Setup;
use crate::{app_streams, cgroup, etc, failure_hint, monitor};

/// What a monitor has to find.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) data_dir: PathBuf,
    /// The directory of the metadata service's socket.
    pub(crate) socket_dir: PathBuf,
}

/// What the pod is made of that its processes borrow.
struct Ground<'a> {
    places: &'a Places,
    uuid: PodUuid,
    manifest: PodManifest,
    mapping: IdMapping,
    hostname: String,
    name: Option<PodName>,
    lifecycle: Lifecycle,
    /// The file in which pods offer what they are nested in.
    offers: PathBuf,
}

/// What its processes take.
struct Supplies {
    nest: Option<Nest>,
    layers: Vec<Vec<OwnedFd>>,
    sources: Vec<Option<OwnedFd>>,
    images: Vec<ImageManifest>,
    handed: Vec<Handed>,
}

/// Makes the pod and sees to it until its end. A detached pod says when it is started.
///
/// # Errors
///
/// As [`crate::launch::run`].
pub(crate) fn supervise(
    places: &Places,
    uuid: PodUuid,
    prepared: PreparedPod,
    resumed: Option<(Pod<Running>, Setup)>,
    handed: Vec<Handed>,
    started: Option<monitor::Started>,
) -> Result<u8, CommandError> {
    let launch = info_span!("launch").entered();
    let PreparedPod { manifest, mapping, nest, layers, sources, images, keys, guards, name, lifecycle } = prepared;
    let chosen = lifecycle.hostname.clone().or_else(|| resumed.as_ref().map(|(_, setup)| setup.hostname.clone()));
    let hostname = hostname(chosen, name.as_ref(), uuid);
    let life = lifecycle.life.clone();
    let new_setup =
        (lifecycle.keep && resumed.is_none()).then(|| Setup::of(&manifest, &hostname, keys, &images).with_life(life));
    let offers = prepare::offered_nests(&places.data_dir);
    let ground = Ground { places, uuid, manifest, mapping, hostname, name, lifecycle, offers };
    let remover = Remover::new(&ground.mapping);
    let (spec, seats) = ground.spec(Supplies { nest, layers, sources, images, handed })?;
    let mut keeper = ground.keeper(&remover, resumed, new_setup, started);
    let outcome = stage1::run::run(spec, &mut keeper);
    drop(seats);
    drop(launch);
    drop(guards);
    finish(keeper, uuid, outcome)
}

impl Ground<'_> {
    /// Whether the pod's streams are its own. A pod of its own has nobody's, and neither has one whose apps come and go.
    fn has_own_streams(&self) -> bool {
        self.lifecycle.detach || self.is_held() || self.lifecycle.exit_policy == ExitPolicy::Never
    }

    /// Whether somebody is to attach to it before it begins.
    fn is_held(&self) -> bool {
        (self.lifecycle.interactive || self.lifecycle.attached) && !self.lifecycle.detach
    }

    /// What is to be run, and the pod's places in networks.
    ///
    /// Never a part of its caller, as all that is called from there: what is needed of the stack would be there as long as the
    /// pod.
    #[inline(never)]
    fn spec(&self, supplies: Supplies) -> Result<(PodSpec<'_>, Vec<Seat>), CommandError> {
        let Self { places, uuid, manifest, hostname, lifecycle, .. } = self;
        let Supplies { nest, layers, sources, images, handed } = supplies;
        let own = self.has_own_streams();
        let (stdin, terminal) = (lifecycle.interactive, lifecycle.terminal);
        let kept = StdioKind { stdin, terminal, ..StdioKind::default() };
        let usual = if own { AppStdio::Kept(kept) } else { AppStdio::Inherited };
        let options = |app: &RuntimeApp| -> Result<AppOptions, CommandError> {
            // Who holds a pod holds its only app's streams.
            let stdio = if self.is_held() { usual } else { app_streams::of_app(app, usual)? };
            Ok(AppOptions { stdio, restart: lifecycle.restart })
        };
        let options = manifest.apps.iter().map(options).collect::<Result<_, _>>()?;
        let net = NetRequest::of(manifest)?;
        let Entrances { network, sockets } = forward::open(manifest, &net, handed)?;
        let names = self.name.iter().map(ToString::to_string).chain([hostname.clone()]);
        let mut names: Vec<String> = names.filter(|name| name != "localhost").collect();
        names.dedup();
        let (memberships, seats) = match net.joins.as_slice() {
            [] => (Vec::new(), Vec::new()),
            joins => pod_network::join(&places.data_dir, joins, &names)?,
        };
        // A prospect that comes to nothing is an error: apps without the limits that were promised would be worse.
        let bounded = cgroup::is_wanted(manifest) && cgroup::prospects().is_ok();
        let scope = self.name.as_ref().map_or_else(|| uuid.to_string(), ToString::to_string);
        let cgroup = bounded.then(|| cgroup::obtain(&scope)).transpose()?;
        let spec = PodSpec {
            manifest,
            hostname,
            mapping: &self.mapping,
            nest,
            offers: Some(&self.offers),
            layers,
            sources,
            apps: options,
            exit_policy: lifecycle.exit_policy,
            logs: LogLimits::default(),
            held: self.is_held(),
            executes_first: lifecycle.detach,
            signals: if own { Signals::Stop } else { Signals::Forward },
            metadata: Some(registration(places, *uuid, manifest, images)?),
            network,
            memberships,
            etc: etc::files(&net, hostname),
            cgroup,
            sockets,
        };
        Ok((spec, seats))
    }

    /// Who makes and keeps the pod's directory.
    #[inline(never)]
    fn keeper<'a>(
        &'a self,
        remover: &'a Remover<'a>,
        resumed: Option<(Pod<Running>, Setup)>,
        new_setup: Option<Setup>,
        started: Option<monitor::Started>,
    ) -> DirectoryKeeper<'a> {
        let Self { places, uuid, manifest, mapping, name, lifecycle, .. } = self;
        let mut keeper = DirectoryKeeper::new(&places.data_dir, *uuid, name.as_ref(), manifest, mapping, remover);
        if let Some((pod, setup)) = resumed {
            keeper = keeper.resume(pod);
            if lifecycle.keep {
                keeper = keeper.keep(setup);
            }
        } else if let Some(setup) = new_setup {
            keeper = keeper.keep(setup);
        }
        if self.has_own_streams() {
            keeper = keeper.keep_logs();
        }
        if let Some(file) = &lifecycle.uuid_file {
            keeper = keeper.save_uuid(file);
        }
        if let Some(started) = started {
            keeper = keeper.when_started(move || started.tell());
        }
        keeper
    }
}

/// The host name that was chosen, or else the pod's name, or one made of its UUID.
pub(crate) fn hostname(chosen: Option<String>, name: Option<&PodName>, uuid: PodUuid) -> String {
    chosen.or_else(|| name.map(ToString::to_string)).unwrap_or_else(|| format!("proa-{uuid}"))
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
    let images = names.zip(images.into_iter().map(Box::new)).collect();
    Ok(Registration::new(uuid, token, images, places.socket_dir.clone(), places.data_dir.clone()))
}

/// Puts the pod away and says how it ended.
#[inline(never)]
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

/// A failure after which the pod was removed, or could not be removed either.
pub(crate) fn undo(error: CommandError, removed: Result<(), pod::PodError>) -> CommandError {
    match removed {
        Ok(()) => error,
        Err(left) => {
            let left = error::chain(&left);
            error.with(Hint::Besides(format!("the pod could not be removed ({left}); `proa gc` will try again")))
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
    hint.into_iter().fold(error, |error, hint| error.with(Hint::Step(hint.to_owned())))
}
