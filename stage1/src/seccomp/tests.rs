//! Compiled filters against the policies they are made from, and against libseccomp.

mod default;
mod evaluate;
mod interpreter;
mod samples;
