//! Why no plan can be made.

use crate::isolators::BadIsolator;
use crate::isolators::choices::BadChoice;
use crate::isolators::sysctl::BadSysctl;

/// Why no plan can be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// The app has no `app` section.
    #[error("app {0:?} says nothing about what to run")]
    NoApp(String),
    /// The app has no command.
    #[error("app {0:?} has an empty exec")]
    NoExec(String),
    /// The number is no group id.
    #[error("app {app:?}: supplementary group {gid} is not a group id")]
    BadGroup {
        /// The app.
        app: String,
        /// The number.
        gid: i64,
    },
    /// The pod has no such group; the text is that of users.
    #[error("app {app:?}: supplementary group {gid} is not one of the pod's ids, which are {ids}")]
    UnmappedGroup {
        /// The app.
        app: String,
        /// The group.
        gid: u32,
        /// The groups that there are.
        ids: String,
    },
    /// The owner of an empty volume is none of the pod's ids.
    #[error("volume {volume:?}: its owner {uid}:{gid} is not one of the pod's ids, which are {ids}")]
    UnmappedOwner {
        /// The volume.
        volume: String,
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
        /// The ids that there are, of users and of groups.
        ids: String,
    },
    /// A mount names a volume that the pod does not have.
    #[error("app {app:?}: no volume {volume:?} for its mount at {path:?}")]
    NoVolume {
        /// The app.
        app: String,
        /// The volume.
        volume: String,
        /// Path of the mount.
        path: String,
    },
    /// A mount's path cannot be one.
    #[error("app {app:?}: mount path {path:?} is not absolute or leaves the root")]
    BadPath {
        /// The app.
        app: String,
        /// Path of the mount.
        path: String,
    },
    /// A mount would cover what the runner provides.
    #[error("app {app:?}: mount path {path:?} would cover /, /proc, /sys or /dev")]
    ReservedPath {
        /// The app.
        app: String,
        /// Path of the mount.
        path: String,
    },
    /// An isolator cannot be obeyed.
    #[error("app {app:?}: {error}")]
    Isolator {
        /// The app.
        app: String,
        /// What is wrong.
        error: BadIsolator,
    },
    /// Who is to be the caller is not said as it should, or cannot be with this id map.
    #[error("app {app:?}: its user cannot be the caller: {why}")]
    KeepId {
        /// The app.
        app: String,
        /// Why not.
        why: String,
    },
    /// An isolator of the pod cannot be obeyed.
    #[error(transparent)]
    Sysctl(#[from] BadSysctl),
    /// An annotation of the pod says nothing known.
    #[error(transparent)]
    Choice(#[from] BadChoice),
    /// Nobody has opened the source of a host volume.
    #[error("volume {0:?}: its source is not open")]
    NoSource(String),
    /// The owner of an empty volume is no id.
    #[error("volume {volume:?}: owner {uid}:{gid} is not a user and group id")]
    BadOwner {
        /// The volume.
        volume: String,
        /// The user.
        uid: i64,
        /// The group.
        gid: i64,
    },
    /// Two mounts of an app, one of which would hide the other.
    #[error("app {app:?}: mounts at {outer:?} and {inner:?} overlap")]
    Overlap {
        /// The app.
        app: String,
        /// The path of the one.
        outer: String,
        /// The path of the other, the same or below.
        inner: String,
    },
}
