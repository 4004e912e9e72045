//! From a request to a pod that lacks nothing but its directory: images stored, trees open, manifest reified.

use std::os::fd::OwnedFd;

use appc::{PodManifest, Volume};
use fetch::ImageRef;
use pod::{PodEntry, PodName, Pods};
use stage1::idmap::IdMapping;
use store::{ImageRecord, LayerKey, Tree};

use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::CommandError;
use crate::hello;
use crate::import::Images;
use crate::manifest::{self, AppImage, Reified};
use crate::pull_policy::PullPolicy;
use crate::request::{AppRequest, Lifecycle, PodRequest};
use crate::setup::Setup;
use crate::sources;

/// A pod that can be launched.
#[derive(Debug)]
pub(crate) struct PreparedPod {
    pub(crate) manifest: PodManifest,
    /// The id map that the trees were extracted under.
    pub(crate) mapping: IdMapping,
    /// For each app, the trees of its image, lowest first.
    pub(crate) layers: Vec<Vec<OwnedFd>>,
    /// For each volume, what it is on the host; `None` for an empty volume.
    pub(crate) sources: Vec<Option<OwnedFd>>,
    /// For each app, the names of those trees: what a kept pod needs to find them again.
    pub(crate) keys: Vec<Vec<LayerKey>>,
    /// As long as these are open, no gc removes the trees.
    pub(crate) guards: Vec<OwnedFd>,
    /// The pod's unique name, if it is to have one.
    pub(crate) name: Option<PodName>,
    /// How it lives and ends.
    pub(crate) lifecycle: Lifecycle,
}

/// Prepares what `request` asks for.
///
/// # Errors
///
/// An image cannot be had, or images and request make no pod. Images that were stored before the error stay stored.
pub(crate) fn pod(context: &Context, mut request: PodRequest) -> Result<PreparedPod, CommandError> {
    if request.follow_symlinks {
        sources::resolve_links(&mut request.volumes)?;
    }
    // A missing source is told of before images are fetched for nothing.
    let mut sources = sources::open(&request.volumes, context.data_dir()?)?;
    let images = Images::open(context, request.policy)?;
    let records = request
        .apps
        .iter()
        .map(|app| images.resolve(&app.image, app.signature.as_deref()))
        .collect::<Result<Vec<_>, _>>()?;
    let (mut layers, mut keys, mut guards) = (Vec::new(), Vec::new(), Vec::new());
    let mut open = |record: &ImageRecord| -> Result<(), CommandError> {
        let (dirs, locks): (Vec<_>, Vec<_>) = images.trees(record)?.into_iter().map(Tree::into_parts).unzip();
        layers.push(dirs);
        keys.push(record.layers.clone());
        guards.extend(locks);
        Ok(())
    };
    let manifest = match (request.apps.as_slice(), records.as_slice()) {
        ([app], [record]) if is_whole_hello(app) && request.volumes.is_empty() => {
            let manifest = hello::pod_manifest(record.id);
            manifest.apps.iter().try_for_each(|_| open(record))?;
            manifest
        }
        _ => {
            records.iter().try_for_each(&mut open)?;
            reify(request.volumes, request.apps, records)?
        }
    };
    let mapping = images.into_mapping();
    // Volumes that were declared come first.
    sources.extend(sources::open(&manifest.volumes[sources.len()..], context.data_dir()?)?);
    let PodRequest { name, lifecycle, .. } = request;
    Ok(PreparedPod { manifest, mapping, layers, sources, keys, guards, name, lifecycle })
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
) -> Result<(PreparedPod, Setup), CommandError> {
    let pod = pods.open(entry)?;
    let manifest = pod.manifest()?;
    let json = pod.setup()?.ok_or_else(|| CommandError::failed("the pod has no setup"))?;
    let setup = Setup::from_json(&json)?;
    let images = Images::open(context, PullPolicy::Never)?;
    let (mut layers, mut keys, mut guards) = (Vec::new(), Vec::new(), Vec::new());
    for app in &setup.apps {
        let trees = images.trees_of(&app.layers)?.into_iter().map(Tree::into_parts);
        let (dirs, locks): (Vec<_>, Vec<_>) = trees.unzip();
        layers.push(dirs);
        keys.push(app.layers.clone());
        guards.extend(locks);
    }
    let sources = sources::open(&manifest.volumes, context.data_dir()?)?;
    let (mapping, name) = (images.into_mapping(), entry.name.clone());
    Ok((PreparedPod { manifest, mapping, layers, sources, keys, guards, name, lifecycle }, setup))
}

/// Whether the app is the built-in image as it stands: that is a pod of two apps. With options of its own it is an
/// image like any other.
fn is_whole_hello(app: &AppRequest) -> bool {
    let AppRequest {
        image,
        signature,
        name,
        exec,
        args,
        environment,
        user,
        group,
        working_directory,
        read_only_root,
        mounts,
    } = app;
    *image == ImageRef::Hello
        && signature.is_none()
        && [exec, user, group, working_directory].into_iter().all(Option::is_none)
        && (name.is_none(), args.is_none()) == (true, true)
        && (environment.is_empty(), *read_only_root, mounts.is_empty()) == (true, false, true)
}

fn reify(
    volumes: Vec<Volume>,
    requests: Vec<AppRequest>,
    records: Vec<ImageRecord>,
) -> Result<PodManifest, CommandError> {
    let app =
        |(request, record): (AppRequest, ImageRecord)| AppImage { request, id: record.id, manifest: record.manifest };
    let is_sandbox = requests.is_empty();
    let apps = requests.into_iter().zip(records).map(app).collect();
    let Reified { manifest, implicit_volumes, unused_volumes } = manifest::reify(volumes, apps)?;
    // The apps of a sandbox are still to come.
    unused_volumes
        .iter()
        .filter(|_| !is_sandbox)
        .for_each(|volume| warn(&format!("no app mounts the volume {volume}")));
    if !implicit_volumes.is_empty() {
        warn(&format!("no volume for these mount points, each gets an empty one: {}", implicit_volumes.join(", ")));
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> AppRequest {
        AppRequest {
            image: ImageRef::Hello,
            signature: None,
            name: None,
            exec: None,
            args: None,
            environment: Vec::new(),
            user: None,
            group: None,
            working_directory: None,
            read_only_root: false,
            mounts: Vec::new(),
        }
    }

    #[test]
    fn only_the_built_in_image_as_it_stands_is_the_pod_of_two() {
        assert!(is_whole_hello(&hello()));
        assert!(!is_whole_hello(&AppRequest { image: ImageRef::Name("hello".into()), ..hello() }));
        assert!(!is_whole_hello(&AppRequest { args: Some(Vec::new()), ..hello() }));
        assert!(!is_whole_hello(&AppRequest { user: Some("0".into()), ..hello() }));
        assert!(!is_whole_hello(&AppRequest { name: Some("x".parse().unwrap()), ..hello() }));
        assert!(!is_whole_hello(&AppRequest { environment: vec![("A".into(), String::new())], ..hello() }));
    }
}
