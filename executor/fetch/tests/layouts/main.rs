//! The crate against OCI layouts on disk, good and bad.

mod fixture;
mod hostile;
mod mapping;
mod mutated;
mod selection;
