//! What the metadata service, its pods and their apps agree on: routes, registration messages, where the socket is.
//!
//! Two sides talk to the service, and each has a small blocking client here. An **app** asks over HTTP
//! ([`ask`]); the **monitor** of a pod registers it over a Unix socket and hands the listening socket over that the
//! apps connect to ([`link`], [`place`]).
//!
//! ```text
//! registration, monitor → service      one stream connection per pod, as long as the pod may ask
//!   u32 little endian                   length of the JSON that follows, at most MAX_MESSAGE
//!   JSON                                registration::ToService; descriptors come with its first byte
//! service → monitor
//!   u32, JSON                           registration::ToMonitor, one for each Commit
//! ```
//!
//! Neither client starts a thread or waits longer than its time limit, and nothing here logs: a [`Token`] is a secret.

pub mod ask;
pub mod link;
pub mod place;
pub mod registration;
pub mod route;
pub mod start;
mod token;
pub mod wire;

pub use route::Route;
pub use token::{Token, TokenError};

use std::net::{Ipv4Addr, SocketAddrV4};

/// Where the apps of a pod with a network namespace of its own find the service: an address of the pod's loopback.
///
/// The address is the one that clouds have made customary. The port is rkt's and not 80, because a listener on one
/// address and port keeps every app of the pod from binding that port on all addresses (measured: EADDRINUSE), and
/// pods run web servers.
pub const ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 254), 18112);

/// What every request of an app carries, as the specification asks (appc ace.md, App Container Metadata Service).
pub const FLAVOR: (&str, &str) = ("Metadata-Flavor", "AppContainer");

/// The environment variable that tells an app where the service is.
pub const URL_VARIABLE: &str = "AC_METADATA_URL";

/// Where an app finds the listener that knows which app it is, inside its root.
pub const IDENTITY_SOCKET: &str = "/run/proa/identity.sock";

/// The value of [`URL_VARIABLE`] for a pod whose listener has this address.
#[must_use]
pub fn url(listener: SocketAddrV4, token: &Token) -> String {
    format!("http://{listener}/{}", token.expose())
}
