//! The image built into the program: a pod of two apps that shows what a pod is and proves what isolates it.
//!
//! `proa run hello` needs no file and no network: the image's one executable is a copy of the running program, which
//! is [`app::main`] when it is started under the name `hello`. The image takes the way of every other image, and its
//! apps are shut in like any other; they only look around and tell.

pub(crate) mod app;
mod capability;
mod facts;
mod identity;
pub(crate) mod image;
mod judge;
mod meeting;
mod pod;
mod probe;
mod procfs;
mod report;

pub(crate) use pod::pod_manifest;

/// The app that meets the other and prints the report. It runs as root.
const GREETER: &str = "greeter";

/// The app that answers. It runs as an ordinary user.
const RESPONDER: &str = "responder";
