//! The root file system of a pod's app, to be worked on: through its supervisor if it runs, else from its directories.

use std::os::fd::OwnedFd;

use pod::{PodEntry, Pods, State, StillPod};
use stage1::idmap::{IdMapping, Tier};
use stage1::protocol::{Call, Reply};
use stage1::visit::Visited;
use store::Tree;

use super::unpack::Owners;
use crate::app_argument;
use crate::cgroup;
use crate::client::Client;
use crate::context::Context;
use crate::error::CommandError;
use crate::import::Images;
use crate::setup::Setup;
use crate::userns::{self, Userns};

/// What is to be done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Files are read.
    Read,
    /// Files are written.
    Write,
}

/// What is needed to work on an app's files.
#[derive(Debug)]
pub(crate) struct AppRoot {
    pub(super) visited: Visited,
    /// The ids of its files.
    pub(super) mapping: IdMapping,
    /// As long as these are there, nobody removes the trees, or starts the pod.
    pub(super) guards: (Vec<OwnedFd>, Option<StillPod>),
}

impl AppRoot {
    /// The root of this app of a pod, or of the only one.
    ///
    /// # Errors
    ///
    /// There is no such app; its image's trees are gone; the pod is in a state in which nothing can be done with it.
    pub(crate) fn find(
        context: &Context,
        pods: &Pods,
        entry: &PodEntry,
        app: Option<&str>,
        to: Use,
    ) -> Result<Self, CommandError> {
        let pod = pods.open(entry)?;
        let manifest = pod.manifest()?;
        let runtime = app_argument::find(&manifest.apps, |app| app.name.as_str(), app)?;
        let mut images = Images::existing(context)?;
        images.map_ids(Userns::of(&manifest)?)?;
        if entry.state == State::Running {
            if cgroup::is_frozen(pods, entry, &manifest) {
                return Err(CommandError::failed("the pod is paused").hint("`proa docker unpause` lets it go on"));
            }
            let call = Call::Room { app: runtime.name.as_str().to_owned() };
            let (reply, fds) = Client::connect(pods, entry)?.ask(call, &[])?;
            let mut fds = fds.into_iter();
            let (Reply::Room, Some(user), Some(mount)) = (reply, fds.next(), fds.next()) else {
                return Err(CommandError::failed("the supervisor gave no namespaces"));
            };
            let visited = Visited::Running { user, mount };
            return Ok(Self { visited, mapping: images.into_mapping(), guards: (Vec::new(), None) });
        }
        let json = pod.setup()?.ok_or_else(|| CommandError::failed("the pod has no setup"))?;
        let setup = Setup::from_json(&json)?;
        let layers = &setup.app(&runtime.name)?.layers;
        let keep = userns::keep_id_of(runtime)?.and_then(|keep| keep.tree_mapping(&images.mapping));
        let mapping = keep.unwrap_or_else(|| images.mapping.clone());
        let trees = images.under(mapping.clone(), |images| images.trees_of(layers))?;
        let (layers, guards): (Vec<_>, Vec<_>) = trees.into_iter().map(Tree::into_parts).unzip();
        let (upper, work, held) = match to {
            Use::Read => (pod.upper(&runtime.name)?, None, None),
            Use::Write => {
                let held = pods.hold(entry.uuid)?.seen(entry.uuid)?;
                let dirs = held.app_dirs(&runtime.name)?;
                (dirs.upper, Some(dirs.work), Some(held))
            }
        };
        Ok(Self { visited: Visited::Still { layers, upper, work }, mapping, guards: (guards, held) })
    }

    /// Who files belong to that are copied there: root, or whoever the archive says, where there is more than one id.
    pub(super) fn owners(&self, archive: bool) -> Owners {
        match archive && self.mapping.tier() != Tier::Single {
            true => Owners::Kept,
            false => Owners::Ours,
        }
    }
}
