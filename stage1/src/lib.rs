//! The pod runner: plan, build mounts, start apps, supervise.

pub mod idmap;
pub mod seccomp;
pub mod userns;
