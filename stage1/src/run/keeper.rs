//! Whoever keeps a pod on disk.

use std::os::fd::OwnedFd;

use appc::{AcName, ImageManifest, PodManifest, Volume};

use crate::protocol::AppReport;

/// Whoever keeps the pod on disk. It is asked while the pod's namespaces are being made, and told while they go: what
/// it does then costs the launch no time of its own.
pub trait Keeper {
    /// Makes the pod's directories.
    ///
    /// # Errors
    /// Whatever kept it from doing so; the pod is not run then.
    fn files(&mut self) -> Result<PodFiles, KeeperError>;

    /// All apps that the pod begins with are created and are being started, or their programs are executed where that
    /// was to be waited for.
    fn pod_started(&mut self) {}

    /// The state of an app has changed.
    fn app_changed(&mut self, app: &AppReport);

    /// Makes the directories of an app that is added, and writes down what later commands want to know of it: its image's
    /// manifest and what the client calls the image's trees.
    ///
    /// # Errors
    /// Whatever kept it from doing so; the app is not added then.
    fn add_app(&mut self, name: &AcName, image: &ImageManifest, trees: &[String]) -> Result<AppDirs, KeeperError>;

    /// Opens the directory of an empty volume, and makes it if the pod has none of that name.
    ///
    /// # Errors
    /// Whatever kept it from doing so.
    fn volume(&mut self, volume: &Volume) -> Result<OwnedFd, KeeperError>;

    /// Removes the directories of an app.
    ///
    /// # Errors
    /// Whatever kept it from doing so.
    fn remove_app(&mut self, name: &AcName) -> Result<(), KeeperError>;

    /// The apps of the pod have changed: this is what it consists of now.
    ///
    /// # Errors
    /// Whatever kept it from being written.
    fn manifest_changed(&mut self, manifest: &PodManifest) -> Result<(), KeeperError>;

    /// All apps have ended, and pid 1 is about to.
    fn pod_over(&mut self);

    /// Something about an app that the user should know, though nothing failed.
    fn remark(&mut self, app: &str, text: &str);

    /// Something about the pod that the user should know, though nothing failed.
    fn remark_on_pod(&mut self, text: &str);
}

/// Why a keeper could not do what it was asked.
pub type KeeperError = Box<dyn std::error::Error + Send + Sync>;

/// What the pod's directory gives to its processes.
#[derive(Debug)]
pub struct PodFiles {
    /// For each app, its writable layer.
    pub apps: Vec<AppDirs>,
    /// For each empty volume of the manifest, in its order, its directory.
    pub volumes: Vec<OwnedFd>,
    /// The pod's lock. Pid 1 holds it too, so that the pod counts as alive until both are gone.
    pub lock: OwnedFd,
    /// The listening control socket, non-blocking.
    pub control: Option<OwnedFd>,
    /// Where logs are written.
    pub logs: Option<OwnedFd>,
}

/// The writable directories of an app's root file system.
#[derive(Debug)]
pub struct AppDirs {
    /// The writable layer.
    pub upper: OwnedFd,
    /// The overlay's work directory, on the same file system.
    pub work: OwnedFd,
}
