//! Virtual machine images: where they are, and what is told while they are on their way.

mod program;
mod progress;
mod registry;
mod remote;
mod time;

pub(crate) use program::main;
pub(crate) use progress::Told;
pub(crate) use remote::{At, Remote, RemoteArgs};
pub(crate) use time::Timestamp;
