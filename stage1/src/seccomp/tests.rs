//! Compiled filters against the policies they are made from, and against libseccomp.

mod agreement;
mod default;
mod evaluate;
mod golden;
mod interpreter;
mod isolator;
mod libseccomp;
mod limits;
mod random;
mod samples;
