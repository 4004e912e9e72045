//! What a monitor tells the service about its pod.
//!
//! A registration is `Pod`, an `App` for each app of the manifest, `Commit`; the answer to `Commit` tells whether the
//! service has taken the pod on. It holds as long as the connection. A pod whose apps change says `Manifest`, an `App`
//! for each new one, and `Commit` again; until then the service answers from what it was told before.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The version of these messages. A service refuses a pod with a higher one; members that it does not know it ignores.
pub const VERSION: u32 = 1;

/// From the monitor to the service. Documents are passed as text, because they are served byte for byte.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ToService<'a> {
    /// The pod. Comes with one descriptor: the listening TCP socket that its apps connect to.
    Pod {
        /// [`VERSION`].
        version: u32,
        /// The pod's UUID.
        uuid: Cow<'a, str>,
        /// The pod's token.
        token: Cow<'a, str>,
        /// Address and port of the listener as the apps write it; the only `Host` that is served.
        host: Cow<'a, str>,
        /// The reified pod manifest.
        manifest: Cow<'a, str>,
        /// Where the pod's log is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log: Option<Log>,
    },
    /// Another manifest in place of the pod's.
    Manifest {
        /// The reified pod manifest.
        manifest: Cow<'a, str>,
    },
    /// An app of the manifest. Comes with one descriptor if it has a listener of its own.
    App {
        /// Its name in the pod.
        name: Cow<'a, str>,
        /// The manifest of its image.
        manifest: Cow<'a, str>,
        /// Whether a listening Unix socket comes with this, at which only this app asks for its identity.
        #[serde(default)]
        identity: bool,
        /// Where the app's log is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log: Option<Log>,
    },
    /// That is all; what was said counts from now on.
    Commit,
}

/// From the service to the monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ToMonitor {
    /// The pod is served.
    Registered,
    /// It is not, and the connection is closed.
    Refused {
        /// Why, for people.
        reason: String,
    },
}

/// Where a log can be found: what the log endpoints answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// What kind of place: `k8s-file`, `journald` and the like.
    pub driver: String,
    /// Where, in the driver's own terms. No path of the host.
    pub location: String,
}
