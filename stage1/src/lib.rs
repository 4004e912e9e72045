//! The pod runner: plan, build mounts, start apps, supervise.

pub mod seccomp;
