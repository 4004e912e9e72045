//! Mode `license`: the licence's text.

use std::ffi::OsString;

use crate::usage;

const TEXT: &str = concat!(include_str!("../../../LICENSE"), "\n");

/// Prints it.
pub(crate) fn run(args: &[OsString]) -> u8 {
    if !args.is_empty() {
        return usage::fail("license takes no arguments", 1);
    }
    usage::print(TEXT)
}
