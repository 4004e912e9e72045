//! The default system call filter, compiled at build time, and the compiler for filters made at run time.
//!
//! What the default allows stands in [`groups`] and [`arguments`]; docs/security/seccomp.md says why. Nothing here
//! loads a filter: that is one system call of the `sys` crate.

pub mod arguments;
pub mod assembler;
pub mod capable;
pub mod compiler;
pub mod groups;
pub mod instruction;
pub mod isolator;
#[cfg(test)]
mod numbers;
pub mod oci;
pub mod policy;
pub mod profile;
#[cfg(test)]
mod tests;
pub mod wildcards;

pub use compiler::{CompileError, compile};
pub use instruction::SockFilter;
pub use policy::Policy;

static DEFAULT_FILTER: &[SockFilter] = &include!(concat!(env!("OUT_DIR"), "/default_filter.rs"));

/// The default filter for this architecture, ready to be loaded.
pub fn default_filter() -> &'static [SockFilter] {
    DEFAULT_FILTER
}
