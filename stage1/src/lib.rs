//! The pod runner: plan, build mounts, start apps, supervise.
//!
//! A pod is a tree of forked processes (docs/stage1-contract.md): the *monitor*, which is the caller itself, outside;
//! *pid 1*, inside the pod's user namespace N1; and for each app a first process which moves into a user namespace of
//! its own, N2, and then executes the app's program. All are single-threaded, and none of the forked ones logs.
//!
//! This crate never touches the store or the network, and never resolves a path of an image on the host's side.

mod builder;
mod channel;
mod control;
mod enter;
mod in_root;
mod init;
pub mod metadata;
mod monitor;
mod output;
mod program;
mod relay;
mod streams;
mod stub;
mod uplink;

pub mod apply;
pub mod bandwidth;
pub mod capabilities;
pub mod cgroup;
pub mod environment;
pub mod health;
pub mod host;
pub mod idmap;
pub mod isolators;
pub mod landlock;
pub mod limits;
pub mod nest;
pub mod network;
pub mod node;
pub mod op;
pub mod plan;
pub mod protocol;
pub mod run;
pub mod seccomp;
pub mod signal;
pub mod supervise;
pub mod terminal;
pub mod user;
pub mod userns;
pub mod visit;

pub use channel::{End, EnterSpec, Failure, FailureKind, TerminalSize};
pub use output::LogLimits;
