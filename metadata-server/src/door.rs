//! A listening socket of a pod: who comes in by it may ask what its role allows.

use std::sync::Arc;

use appc::AcName;

use crate::http::visitors::Visitors;
use crate::pod::Pod;

/// A listener and those who have come in by it.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) pod: Arc<Pod>,
    pub(crate) role: Role,
    pub(crate) visitors: Visitors,
}

/// What a listener is for.
#[derive(Debug)]
pub(crate) enum Role {
    /// The pod's: metadata, for who knows the token.
    Metadata,
    /// One app's own: its identity. The socket is in that app's root and in no other, so whoever is connected to it is
    /// the app, or has been given the connection by it.
    Identity(AcName),
}

impl Door {
    pub(crate) fn new(pod: Arc<Pod>, role: Role) -> Self {
        Self { pod, role, visitors: Visitors::default() }
    }
}
