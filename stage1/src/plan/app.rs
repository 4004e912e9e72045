//! What it takes to start one app.

use appc::{App, PodManifest, RuntimeApp};
use sys::mount::MountAttr;

use super::annotations::{ENVIRONMENT, GROUPS, PRIMARY_GROUP, strings};
use super::entry::enter;
use super::ids::{IdRanges, id_ranges, is_in, shown};
use super::keep_id::{self, KeepId, NotKeepId};
use super::{PlanError, PodOptions, mounts};
use crate::environment;
use crate::idmap::{IdMapping, Tier};
use crate::isolators::net_admin::{Grant, NetAdmin};
use crate::isolators::{self, Rights};
use crate::network::EtcFile;
use crate::op::Op;
use crate::user::Numbers;

/// What it takes to start one app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppPlan {
    /// Name of the app in the pod.
    pub name: String,
    /// Operations that make the app's detached mounts.
    pub build: Vec<Op>,
    /// Operations in the app's own mount namespace.
    pub enter: Vec<Op>,
    /// User name, number or path, as in the manifest (appc aci.md, "user").
    pub user: String,
    /// Group name, number or path.
    pub group: String,
    /// What a number means as either.
    pub numbers: Numbers,
    /// Supplementary group ids.
    pub supplementary_gids: Vec<u32>,
    /// Supplementary groups by name, of the image's /etc/group.
    pub group_names: Vec<String>,
    /// Absolute path in the app's root.
    pub working_directory: String,
    /// The program and its arguments.
    pub exec: Vec<String>,
    /// Environment, without what depends on the user.
    pub environment: Vec<(String, String)>,
    /// What the app may do.
    pub rights: Rights,
    /// Who of the app is the caller on the host, if not its root.
    pub keep_id: Option<KeepId>,
    /// The ids there are: first and last of each range of users, and of groups.
    pub ids: IdRanges,
    /// What of it has rights over the pod's network, if anything.
    pub net_admin: Option<Grant>,
    /// Whether it goes without them, instead of being refused, if its user is not root.
    pub roots_alone: bool,
    /// Whether it has a socket of its own at which it can ask who it is.
    pub has_identity: bool,
    /// The files of /etc that are made for it.
    pub etc: Vec<EtcFile>,
    /// The names of the listening sockets that it takes over.
    pub sockets: Vec<String>,
}

/// Plans it.
///
/// # Errors
/// [`PlanError`] where the manifest asks for something that cannot be.
pub(super) fn plan(
    manifest: &PodManifest,
    runtime: &RuntimeApp,
    layers: usize,
    options: &PodOptions<'_>,
) -> Result<AppPlan, PlanError> {
    let name = runtime.name.as_str();
    let app = runtime.app.as_ref().ok_or_else(|| PlanError::NoApp(name.to_owned()))?;
    // With docker's rules an empty name is one of a program that is not there.
    if app.exec.first().is_none_or(|program| program.is_empty() && !mounts::are_dockers(runtime)) {
        return Err(PlanError::NoExec(name.to_owned()));
    }
    let (rights, _) = isolators::rights(&manifest.annotations, runtime, app, &isolators::Host::unknown())
        .map_err(|error| PlanError::Isolator { app: name.to_owned(), error })?;
    let keep_id = keep_id_of(runtime, options.mapping)?;
    let mounts = mounts::of(manifest, runtime, app, &mounts::Surroundings::new(options, keep_id.as_ref()))?;
    let root = keep_id.as_ref().map_or((0, 0), |keep| keep.in_pod(options.mapping.tier(), (0, 0)));
    // A volume there is what somebody wants to be there.
    let is_mounted = |file: &EtcFile| {
        let path = format!("/etc/{}", file.name);
        runtime.mounts.iter().any(|mount| mount.path == path || mount.path.trim_end_matches('/') == "/etc")
    };
    let etc: Vec<EtcFile> = options.etc.iter().filter(|file| !is_mounted(file)).cloned().collect();
    let mut build = Vec::new();
    if root != (0, 0) {
        build.push(Op::OwnUpper { uid: root.0, gid: root.1 });
    }
    build.push(Op::Overlay { layers, attr: MountAttr::NODEV });
    build.extend(mounts.iter().enumerate().flat_map(|(index, mount)| mount.build(index)));
    let ids = id_ranges(options.mapping);
    let supplementary_gids = supplementary_gids(name, app, &ids)?;
    Ok(AppPlan {
        name: name.to_owned(),
        build,
        enter: enter(&mounts, runtime, options, &etc, keep_id.as_ref()),
        user: app.user.clone(),
        group: if runtime.annotations.get(PRIMARY_GROUP).is_some() { String::new() } else { app.group.clone() },
        numbers: numbers_of(runtime),
        supplementary_gids,
        group_names: strings(runtime, GROUPS),
        working_directory: working_directory(app).to_owned(),
        exec: app.exec.clone(),
        environment: environment::of(name, app, &strings(runtime, ENVIRONMENT), options.metadata_url),
        rights,
        keep_id,
        ids,
        net_admin: NetAdmin::of(&manifest.annotations)?.of_app(name),
        roots_alone: mounts::are_dockers(runtime),
        has_identity: options.metadata_url.is_some(),
        etc,
        // Whoever has them says so.
        sockets: Vec::new(),
    })
}

/// What a number means as the app's user or group.
#[must_use]
pub fn numbers_of(runtime: &RuntimeApp) -> Numbers {
    if mounts::are_dockers(runtime) { Numbers::Ids } else { Numbers::NamesOrIds }
}

/// Its supplementary groups, which must be the pod's.
fn supplementary_gids(name: &str, app: &App, ids: &IdRanges) -> Result<Vec<u32>, PlanError> {
    let gids = app.supplementary_gids.iter().map(|&gid| {
        let bad = || PlanError::BadGroup { app: name.to_owned(), gid };
        let id = u32::try_from(gid).ok().filter(|&id| id != u32::MAX).ok_or_else(bad)?;
        let unmapped = || PlanError::UnmappedGroup { app: name.to_owned(), gid: id, ids: shown(&ids.gids) };
        is_in(&ids.gids, id).then_some(id).ok_or_else(unmapped)
    });
    gids.collect()
}

/// Where the app begins.
pub(super) fn working_directory(app: &App) -> &str {
    app.working_directory.as_deref().filter(|dir| !dir.is_empty()).unwrap_or("/")
}

/// Who of it is the caller on the host, if somebody is to be.
fn keep_id_of(runtime: &RuntimeApp, mapping: &IdMapping) -> Result<Option<KeepId>, PlanError> {
    let Some(text) = runtime.annotations.get(keep_id::ANNOTATION) else { return Ok(None) };
    let refuse = |why: String| PlanError::KeepId { app: runtime.name.to_string(), why };
    let keep: KeepId = text.parse().map_err(|error: NotKeepId| refuse(error.to_string()))?;
    if mapping.tier() == Tier::Root {
        return Err(refuse("the caller is root, whom no pod has".to_owned()));
    }
    if keep.tree_mapping(mapping).is_none() {
        return Err(refuse(format!("the pod has no ids {}:{}", keep.uid, keep.gid)));
    }
    Ok(Some(keep))
}
