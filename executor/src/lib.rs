//! The part of the executor that is a library: App Container Images as files. Everything else is the program `proa`.
//!
//! What is here works on files and descriptors, knows no store and no pod, and prints nothing.

pub mod aci;
