//! From a request to a pod that lacks nothing but its directory: images stored, trees open, manifest reified.

mod network;

pub(crate) use network::{change_network, network};

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use appc::{ImageManifest, Isolator, PodManifest, Volume};
use fetch::ImageRef;
use pod::{Contents, PodEntry, PodError, PodName, Pods};
use stage1::idmap::IdMapping;
use stage1::isolators::net_admin::NetAdmin;
use stage1::limits;
use stage1::nest::Nest;
use stage1::supervise::ExitPolicy;
use store::{ImageRecord, LayerKey, Tree};

use crate::annotations::Remarks;
use crate::context::Context;
use crate::diagnostics::warn;
use crate::environment::PodEnvironment;
use crate::error::CommandError;
use crate::hello;
use crate::import::Images;
use crate::manifest::{self, AppImage, Reified, WantedApp};
use crate::net::{Mode, NetRequest};
use crate::protection::{Landlock, Profile};
use crate::pull_policy::PullPolicy;
use crate::request::{AppRequest, Lifecycle, PodRequest};
use crate::setup::Setup;
use crate::userns::{self, Rooted, Userns};
use crate::{cgroup, diagnostics, forward, guest_agent, protection, skeleton, sources, template};

/// A pod that can be launched.
#[derive(Debug)]
pub(crate) struct PreparedPod {
    pub(crate) manifest: PodManifest,
    /// The id map that the trees were extracted under.
    pub(crate) mapping: IdMapping,
    /// What it is nested in, if this process is to run it at once: to make one takes as long as all that is prepared
    /// meanwhile.
    pub(crate) nest: Option<Nest>,
    /// For each app, the trees of its image, lowest first.
    pub(crate) layers: Vec<Vec<OwnedFd>>,
    /// For each volume, what it is on the host; `None` for an empty volume.
    pub(crate) sources: Vec<Option<OwnedFd>>,
    /// For each app, the manifest of its image.
    pub(crate) images: Vec<ImageManifest>,
    /// For each app, the names of those trees: what a kept pod needs to find them again.
    pub(crate) keys: Vec<Vec<LayerKey>>,
    /// As long as these are open, no gc removes the trees, and nobody named volumes.
    pub(crate) guards: Vec<OwnedFd>,
    /// The pod's unique name, if it is to have one.
    pub(crate) name: Option<PodName>,
    /// How it lives and ends.
    pub(crate) lifecycle: Lifecycle,
}

/// When a pod is to run that is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// When nothing is left to prepare.
    AtOnce,
    /// Some other time, if ever.
    Later,
}

/// Prepares what `request` asks for.
///
/// # Errors
///
/// An image cannot be had, or images and request make no pod. Images that were stored before the error stay stored.
pub(crate) fn pod(context: &Context, request: PodRequest, begin: Begin) -> Result<PreparedPod, CommandError> {
    let whole_hello = is_whole_hello(&request);
    let net = network(context, &request)?;
    let PodRequest { name, lifecycle, strict, follow_symlinks, environment, guest_agent: agent, .. } = request;
    let (mut pod, wanted) = match request.template {
        Some(template) => template::parts(template)?,
        None => asked(request.volumes, request.remarks, request.isolators, request.apps),
    };
    manifest::check_count(wanted.len())?;
    limits::expect_apps(wanted.len());
    if follow_symlinks {
        sources::resolve_links(&mut pod.volumes)?;
    }
    // What can be told before images are fetched for nothing is told.
    // What is prepared may be run on another network.
    if begin == Begin::AtOnce && !wanted.is_empty() {
        forward::expect_way_in(&request.ports, &net)?;
    }
    let mut sources = sources::open(&pod.volumes, context.data_dir()?)?;
    let userns = if request.userns == Userns::Auto { Userns::of(&pod)? } else { request.userns };
    userns.note_in(&mut pod);
    pod.ports.extend(request.ports.iter().cloned());
    net.note_in(&mut pod);
    let mut images = Images::open(context, request.pulling)?;
    images.map_ids(userns)?;
    let nest = nest(context, begin, &lifecycle, &net, &images.mapping)?;
    let raised_before = limits::files_are_raised();
    // The built-in pod is two apps of one image.
    let Gathered { apps, records, mut trees } = gather(&images, wanted, if whole_hello { 2 } else { 1 })?;
    let mut manifest = match apps.as_slice() {
        [(_, record)] if whole_hello => hello::pod_manifest(record.id),
        _ => reify(pod, &environment, apps, strict)?,
    };
    userns.note_in(&mut manifest);
    net.note_in(&mut manifest);
    // Who comes to a sandbox may take the sockets over.
    if begin == Begin::AtOnce && !request.ports.is_empty() && !manifest.apps.is_empty() {
        forward::expect_own_network(&manifest, &net)?;
    }
    if userns == Userns::KeepId {
        keep_id(&mut images, &mut manifest, &records, &mut trees)?;
    }
    let images_of_apps: Vec<ImageManifest> = records.into_iter().map(|record| record.manifest).collect();
    guest_agent::give(&mut manifest, &images_of_apps.iter().collect::<Vec<_>>(), agent, context.data_dir()?)?;
    protection::decide(context, request.profile, request.landlock, &mut manifest)?;
    let net_admin = net_admin(request.net_admin, request.all_net_admins, &net, &manifest);
    let apps_may_come = lifecycle.exit_policy == ExitPolicy::Never;
    protection::grant_net_admin(&mut manifest, &net_admin, apps_may_come)?;
    // One that was there before the limit was raised opens files by the lower one.
    let nest = nest.filter(|_| may_be_made_now(&manifest) && raised_before == limits::files_are_raised());
    // Volumes that were declared come first.
    sources.extend(sources::open(&manifest.volumes[sources.len()..], context.data_dir()?)?);
    let mapping = images.into_mapping();
    // Now that nobody fetches any more: it may fork, and a process with threads cannot.
    if strict {
        protection::refuse_less_than_asked(&manifest, &mapping)?;
    }
    if userns != Userns::KeepId {
        skeleton::put_under(&mut trees.layers, context.data_dir()?, &mapping);
    }
    let (Trees { layers, keys, guards }, images) = (trees, images_of_apps);
    Ok(PreparedPod { manifest, mapping, nest, layers, sources, images, keys, guards, name, lifecycle })
}

/// Has what the caller is in each app be his own outside of it.
fn keep_id(
    images: &mut Images,
    manifest: &mut PodManifest,
    records: &[ImageRecord],
    trees: &mut Trees,
) -> Result<(), CommandError> {
    for ((app, image), layers) in manifest.apps.iter_mut().zip(records).zip(&mut trees.layers) {
        trees.guards.extend(userns::keep_id(images, Rooted { app, image, layers })?);
    }
    Ok(())
}

/// The apps that have rights over the pod's network: those that were named, or `all`. Nobody but the host's root has rights
/// over the host's.
fn net_admin(named: NetAdmin, all: bool, net: &NetRequest, manifest: &PodManifest) -> NetAdmin {
    match all && net.mode != Mode::Host {
        true => NetAdmin::all(manifest.apps.iter().map(|app| app.name.as_str())),
        false => named,
    }
}

/// The file in which the running pods of this data directory offer what they are nested in.
pub(crate) fn offered_nests(data_dir: &Path) -> PathBuf {
    data_dir.join("namespace")
}

/// Begins to make what a pod is nested in that runs in this process and at once.
fn nest(
    context: &Context,
    begin: Begin,
    lifecycle: &Lifecycle,
    net: &NetRequest,
    mapping: &IdMapping,
) -> Result<Option<Nest>, CommandError> {
    if begin == Begin::Later || !lifecycle.is_here() || !net.joins.is_empty() {
        return Ok(None);
    }
    // If it cannot be made, whoever runs the pod will say so.
    Ok(Nest::open(mapping, Some(&offered_nests(context.data_dir()?))).ok().flatten())
}

/// Whether the process that forks pid 1 may be there before the pod's control groups are. It would stay in the group that this
/// process came from, and pid 1 with it; and only a group that holds no other process than this one has limits.
fn may_be_made_now(manifest: &PodManifest) -> bool {
    !cgroup::is_wanted(manifest)
}

/// What was typed as the beginning of a manifest, and its apps with their images.
fn asked(
    volumes: Vec<Volume>,
    remarks: Remarks,
    isolators: Vec<Isolator>,
    apps: Vec<AppRequest>,
) -> (PodManifest, Vec<(ImageRef, WantedApp)>) {
    let pod = PodManifest {
        volumes,
        annotations: remarks.annotations,
        user_annotations: remarks.user_annotations,
        user_labels: remarks.user_labels,
        isolators,
        ..PodManifest::blank()
    };
    (pod, apps.into_iter().map(|app| (app.image.clone(), WantedApp::Asked(Box::new(app)))).collect())
}

/// What the apps are made of.
struct Gathered {
    /// What is wanted of each image.
    apps: Vec<(WantedApp, ImageRecord)>,
    /// For each app, its image.
    records: Vec<ImageRecord>,
    trees: Trees,
}

/// Has the images stored and their trees open, for `copies` apps of each.
fn gather(images: &Images, wanted: Vec<(ImageRef, WantedApp)>, copies: usize) -> Result<Gathered, CommandError> {
    let mut apps = Vec::with_capacity(wanted.len());
    let (mut trees, mut records) = (Trees::default(), Vec::new());
    for (image, wanted) in wanted {
        let record = images.resolve(&image, wanted.signature())?;
        for _ in 0..copies {
            trees.add(images.trees(&record)?);
            records.push(record.clone());
        }
        apps.push((wanted, record));
    }
    Ok(Gathered { apps, records, trees })
}

/// The trees of the apps' images, as [`PreparedPod`] has them.
#[derive(Debug, Default)]
struct Trees {
    layers: Vec<Vec<OwnedFd>>,
    keys: Vec<Vec<LayerKey>>,
    guards: Vec<OwnedFd>,
}

impl Trees {
    /// Adds those of the next app.
    fn add(&mut self, trees: Vec<Tree>) {
        self.keys.push(trees.iter().map(Tree::layer).collect());
        let (dirs, locks): (Vec<_>, Vec<_>) = trees.into_iter().map(Tree::into_parts).unzip();
        self.layers.push(dirs);
        self.guards.extend(locks);
        limits::expect_files(2 * self.guards.len());
    }
}

/// What was known of a pod that is to run when it was read.
#[derive(Debug)]
pub(crate) struct Known {
    /// How it is to be run.
    pub(crate) setup: Setup,
    /// The files that all of it follows from.
    pub(crate) contents: Contents,
}

/// What is said of a pod of which nothing was written down to run it again.
fn never_again(entry: &PodEntry) -> CommandError {
    let uuid = entry.uuid;
    CommandError::failed("it was to be removed when it ended, and cannot be started again")
        .hint(format!("`proa rm {uuid}` removes it; a pod of the same name takes its place"))
}

/// A pod that was prepared before: its manifest and its trees are as they were then.
///
/// # Errors
///
/// The pod cannot be read, or a tree of its images is gone.
pub(crate) fn again(
    context: &Context,
    pods: &Pods,
    entry: &PodEntry,
    lifecycle: Lifecycle,
    begin: Begin,
) -> Result<(PreparedPod, Known), CommandError> {
    let contents = pods.open(entry)?.contents()?;
    let mut manifest = PodManifest::from_json(&contents.manifest)
        .map_err(|error| PodError::Manifest { uuid: entry.uuid, error: Box::new(error) })?;
    protection::decide(context, Profile::Default, Landlock::Default, &mut manifest)?;
    let setup = Setup::from_json(contents.setup.as_ref().ok_or_else(|| never_again(entry))?)?;
    let mut images = Images::open(context, PullPolicy::Never)?;
    images.map_ids(Userns::of(&manifest)?)?;
    let begin = if may_be_made_now(&manifest) { begin } else { Begin::Later };
    limits::expect_apps(manifest.apps.len());
    let nest = nest(context, begin, &lifecycle, &NetRequest::of(&manifest)?, &images.mapping)?;
    let raised_before = limits::files_are_raised();
    let mut trees = Trees::default();
    let manifests = setup.images(&manifest)?;
    for runtime in &manifest.apps {
        let app = setup.app(&runtime.name)?;
        let keep = userns::keep_id_of(runtime)?.and_then(|keep| keep.tree_mapping(&images.mapping));
        let mapping = keep.unwrap_or_else(|| images.mapping.clone());
        trees.add(images.under(mapping, |images| images.trees_of(&app.layers))?);
    }
    guest_agent::renew(&manifest, context.data_dir()?)?;
    let sources = sources::open(&manifest.volumes, context.data_dir()?)?;
    let (mapping, name) = (images.into_mapping(), entry.name.clone());
    if Userns::of(&manifest)? != Userns::KeepId {
        skeleton::put_under(&mut trees.layers, context.data_dir()?, &mapping);
    }
    let nest = nest.filter(|_| raised_before == limits::files_are_raised());
    let Trees { layers, keys, guards } = trees;
    let images = manifests;
    let prepared = PreparedPod { manifest, mapping, nest, layers, sources, images, keys, guards, name, lifecycle };
    Ok((prepared, Known { setup, contents }))
}

/// Whether all that is asked for is the built-in image as it stands: that is a pod of two apps. With options of its own
/// it is an image like any other.
fn is_whole_hello(request: &PodRequest) -> bool {
    let bare = request.volumes.is_empty()
        && request.isolators.is_empty()
        && request.environment.is_empty()
        && request.remarks.is_empty();
    bare && matches!(request.apps.as_slice(), [app] if *app == AppRequest::of(ImageRef::Hello))
}

fn reify(
    pod: PodManifest,
    environment: &PodEnvironment,
    apps: Vec<(WantedApp, ImageRecord)>,
    strict: bool,
) -> Result<PodManifest, CommandError> {
    let app =
        |(wanted, record): (WantedApp, ImageRecord)| AppImage { wanted, id: record.id, manifest: record.manifest };
    for (_, record) in &apps {
        diagnostics::warn_of_version(&format!("image {}", record.manifest.name), &record.manifest.ac_version);
    }
    // The apps of a sandbox are still to come.
    let is_sandbox = apps.is_empty();
    let apps = apps.into_iter().map(app).collect();
    let reified = manifest::reify(pod, environment, apps)?;
    reified.odd_stop_signals().for_each(|odd| warn(&odd));
    let Reified { manifest, implicit_volumes, unused_volumes } = reified;
    let unused = unused_volumes.iter().filter(|_| !is_sandbox);
    unused.for_each(|volume| warn(&format!("no app mounts the volume {volume}")));
    if !implicit_volumes.is_empty() {
        let points = implicit_volumes.join(", ");
        if strict {
            return Err(CommandError::failed(format!("--strict: no volume for these mount points: {points}"))
                .hint("declare a volume of the mount point's name, or mount one there"));
        }
        warn(&format!("no volume for these mount points, each gets an empty one: {points}"));
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(app: AppRequest) -> PodRequest {
        PodRequest { apps: vec![app], ..PodRequest::default() }
    }

    #[test]
    fn only_the_built_in_image_as_it_stands_is_the_pod_of_two() {
        let hello = || AppRequest::of(ImageRef::Hello);
        assert!(is_whole_hello(&request(hello())));
        let lifecycle = Lifecycle { keep: true, ..Lifecycle::default() };
        assert!(is_whole_hello(&PodRequest { lifecycle, ..request(hello()) }));
        assert!(!is_whole_hello(&request(AppRequest::of(ImageRef::Name("hello".into())))));
        assert!(!is_whole_hello(&request(AppRequest { args: Some(Vec::new()), ..hello() })));
        assert!(!is_whole_hello(&request(AppRequest { user: Some("0".into()), ..hello() })));
        assert!(!is_whole_hello(&request(AppRequest { environment: vec![("A".into(), String::new())], ..hello() })));
        let volume = "v,kind=empty".parse().unwrap();
        assert!(!is_whole_hello(&PodRequest { volumes: vec![volume], ..request(hello()) }));
        assert!(!is_whole_hello(&PodRequest { apps: vec![hello(), hello()], ..PodRequest::default() }));
    }
}
