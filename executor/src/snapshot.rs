//! What an app of a kept pod sees in its root file system, but for volumes: its image's trees and what it has changed.

use std::os::fd::OwnedFd;

use appc::ImageManifest;
use pod::{PodEntry, Pods};
use stage1::idmap::IdMapping;
use store::Tree;
use store::stack::Stack;

use crate::app_argument;
use crate::context::Context;
use crate::error::CommandError;
use crate::import::Images;
use crate::setup::Setup;
use crate::userns::{self, Userns};

/// An app's files, as they lie there.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The store, with the id map under which the files are read.
    pub(crate) images: Images,
    pub(crate) stack: Stack,
    /// The manifest of the app's image. What the pod was told to do instead is no part of an image.
    pub(crate) manifest: ImageManifest,
    /// As long as these are there, the trees are.
    _guards: Vec<Tree>,
    /// The same for what the app has changed.
    _pin: OwnedFd,
}

impl Snapshot {
    /// The files of this app of a pod, or of the only one.
    ///
    /// # Errors
    ///
    /// There is no such app, or a tree of its image is gone.
    pub(crate) fn of(
        context: &Context,
        pods: &Pods,
        entry: &PodEntry,
        app: Option<&str>,
    ) -> Result<Self, CommandError> {
        let pin = pods.pin(entry.uuid)?;
        let pod = pods.open(entry)?;
        let pod_manifest = pod.manifest()?;
        let runtime = app_argument::find(&pod_manifest.apps, |app| app.name.as_str(), app)?;
        let json = pod.setup()?.ok_or_else(|| CommandError::failed("the pod has no setup"))?;
        let setup = Setup::from_json(&json)?;
        let of_app = setup.app(&runtime.name)?;
        let index = pod_manifest.apps.iter().position(|app| app.name == runtime.name).expect("it was found there");
        let mut manifest = setup.images(&pod_manifest)?.swap_remove(index);
        // All of it is in the trees.
        manifest.dependencies.clear();
        manifest.path_whitelist.clear();
        manifest.app = manifest.app.or_else(|| runtime.app.clone());
        let mut images = Images::existing(context)?;
        images.map_ids(Userns::of(&pod_manifest)?)?;
        let keep = userns::keep_id_of(runtime)?.and_then(|keep| keep.tree_mapping(&images.mapping));
        let mapping: IdMapping = keep.unwrap_or_else(|| images.mapping.clone());
        images.set_mapping(mapping);
        let trees = images.trees_of(&of_app.layers)?;
        let (stack, guards) = images.stack_with(trees, Some(pod.upper(&runtime.name)?))?;
        Ok(Self { images, stack, manifest, _guards: guards, _pin: pin })
    }
}
