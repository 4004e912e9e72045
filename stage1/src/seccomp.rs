//! The default system call filter.
