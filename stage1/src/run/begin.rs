//! What comes before a pod's pid 1 works: its plan, its control groups, its pipes, and the fork.

use std::os::fd::OwnedFd;

use appc::{Annotations, RuntimeApp};
use rustix::fs::{FileType, fstat};
use rustix::process::Signal;
use rustix::stdio::{stderr, stdin, stdout};
use sys::signal::Block;

use crate::cgroup::limits::Limits;
use crate::cgroup::{AppCgroup, CgroupError};
use crate::channel::{Patient, pair};
use crate::host::Host;
use crate::init::{Init, InitCgroups};
use crate::metadata::Registration;
use crate::nest::Nest;
use crate::network::{EtcFile, HOSTS, Network};
use crate::plan::{Net, PodOptions, SourceKind, plan};
use crate::streams::AppPipes;
use crate::terminal;

use super::pid_1::{self, Beginning, Pid1};
use super::{FORWARDED, MonitorEnd, PodSpec, RunError};

/// What a monitor has of its pod's before pid 1 does anything.
#[derive(Debug)]
pub(super) struct Means {
    pub(super) channel: MonitorEnd,
    pub(super) app_cgroups: Vec<AppCgroup>,
    /// Where its signals are read.
    pub(super) signals: OwnedFd,
    pub(super) pipes: Vec<AppPipes>,
    pub(super) etc: Vec<EtcFile>,
}

/// Makes all that the pod needs to be born, and its pid 1.
///
/// Never a part of its caller, which waits for the pod's end: what this needs of the stack would be there as long.
///
/// # Errors
/// As [`super::run`].
#[inline(never)]
pub(super) fn begin(spec: &mut PodSpec<'_>) -> Result<(Pid1, Means), RunError> {
    check_streams()?;
    let nest = nest(spec)?;
    let layers: Vec<usize> = spec.layers.iter().map(Vec::len).collect();
    let sources = spec.sources.iter().map(|source| source.as_ref().map(source_kind).transpose());
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    let net = match &spec.network {
        Network::Loopback if spec.memberships.is_empty() => Net::Loopback,
        Network::Loopback => Net::Connected,
        Network::Host => Net::Host,
        Network::Uplink(_) => Net::Connected,
    };
    if let (Net::Host, Some(registration)) = (net, &mut spec.metadata) {
        registration.listen_on_the_host().map_err(std::io::Error::from)?;
    }
    let url = spec.metadata.as_ref().map(Registration::url);
    let mut etc = std::mem::take(&mut spec.etc);
    if !spec.memberships.is_empty() {
        // Lines follow.
        let hosts = etc.iter_mut().filter(|file| file.name == HOSTS && !file.content.ends_with('\n'));
        hosts.for_each(|file| file.content.push('\n'));
    }
    let options = PodOptions {
        hostname: spec.hostname,
        mapping: spec.mapping,
        layers: &layers,
        sources: &sources,
        metadata_url: url.as_deref(),
        net,
        uplink: spec.network.uplink(),
        etc: &etc,
        cgroup: spec.cgroup.is_some(),
    };
    let mut plan = plan(spec.manifest, &options, &Host::detect())?;
    for (app, sockets) in plan.apps.iter_mut().zip(&spec.sockets) {
        app.sockets = sockets.iter().map(|passed| passed.name.clone()).collect();
    }
    let (cgroups, app_cgroups) = make_cgroups(spec)?;
    let (pipes, streams) = AppPipes::for_apps(&spec.apps, spec.mapping)?;
    let watched = FORWARDED.map(Signal::as_raw);
    let signals = sys::signal::watch(&watched, Block::Watched)?;
    let (monitor_end, init_end) = pair().map_err(std::io::Error::from)?;
    let monitor_end = Patient::new(monitor_end);
    let init = Init {
        plan,
        mapping: spec.mapping.clone(),
        layers: std::mem::take(&mut spec.layers),
        sources: std::mem::take(&mut spec.sources),
        streams,
        cgroups,
        monitor: init_end,
        net,
        sockets: std::mem::take(&mut spec.sockets),
    };
    let (born, channel) = pid_1::fork(Box::new(Beginning { init, monitor_end }), spec.mapping, nest)?;
    Ok((born, Means { channel, app_cgroups, signals, pipes, etc }))
}

/// The groups of the apps, with their limits, and the ways into them and into that of pid 1.
fn make_cgroups(spec: &PodSpec<'_>) -> Result<(Option<InitCgroups>, Vec<AppCgroup>), CgroupError> {
    let Some(cgroup) = &spec.cgroup else { return Ok((None, Vec::new())) };
    let isolators =
        |app: &'_ RuntimeApp| Limits::of(app.app.as_ref().map_or(&[][..], |app| &app.isolators[..]), &app.annotations);
    let made = spec.manifest.apps.iter().map(|app| cgroup.app(&app.name, &isolators(app)));
    let (groups, apps) = made.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    cgroup.limit(&Limits::of(&spec.manifest.isolators, &Annotations::default()))?;
    Ok((Some(InitCgroups { own: Some(cgroup.init()?), apps }), groups))
}

pub(crate) fn source_kind(source: &OwnedFd) -> Result<SourceKind, std::io::Error> {
    Ok(match FileType::from_raw_mode(fstat(source)?.st_mode) {
        FileType::Directory => SourceKind::Directory,
        FileType::CharacterDevice | FileType::BlockDevice => SourceKind::Device,
        _ => SourceKind::File,
    })
}

fn check_streams() -> Result<(), RunError> {
    let streams = [(stdin(), "standard input"), (stdout(), "standard output"), (stderr(), "standard error")];
    for (fd, stream) in streams {
        if let Some(kind) = terminal::way_out(fd) {
            return Err(RunError::Stream { stream, kind });
        }
    }
    Ok(())
}

/// What the pod is nested in, if it is.
fn nest(spec: &mut PodSpec<'_>) -> Result<Option<Nest>, RunError> {
    // Whether it is used or not, its process must not stay as long as the pod.
    let made = spec.nest.take();
    if let Some((namespace, mapping)) = spec.memberships.first().and_then(|it| Some((it.node.user()?, &it.mapping))) {
        return Nest::of_node(namespace, mapping).map(Some);
    }
    match made.filter(|nest| nest.fits(spec.mapping)) {
        None => Nest::open(spec.mapping, spec.offers),
        nest => Ok(nest),
    }
}
