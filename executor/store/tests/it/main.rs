//! Tests of the store through its public interface.

mod archive;
mod bed;
mod extracting;
mod hostile;
mod ingesting;
