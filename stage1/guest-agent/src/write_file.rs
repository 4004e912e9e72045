//! Mode `write-file`: copies standard input into a file that only its owner may read.

use std::ffi::OsString;

use rustix::fs::{CWD, Mode, OFlags, fchmod, openat};
use rustix::io::{Errno, read, retry_on_intr};

use crate::errno;
use crate::output::{complain, put};

/// As much as the original reads at once.
const CHUNK: usize = 8192;

/// Writes the file that the first argument names; further ones are ignored, as in the original. Status 1: no argument,
/// or the file cannot be opened, restricted or written.
///
/// A read error ends the input like its end does: container engines close the stream in either way.
pub(crate) fn run(args: &[OsString]) -> u8 {
    let Some(path) = args.first() else {
        return 1;
    };
    // A limit of file sizes is a write error like others, as for the original.
    sys::signal::outlive_the_limit_of_file_sizes();
    let failed = |what: &str, call: &str, error: Errno| {
        let text = format!(": {}\n", errno::text(error));
        complain([what.as_bytes(), call.as_bytes(), path.as_encoded_bytes(), text.as_bytes()].concat());
        1
    };
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = match retry_on_intr(|| openat(CWD, path.as_os_str(), flags, mode)) {
        Ok(file) => file,
        Err(error) => return failed("Error opening file: ", "open ", error),
    };
    // Before anything is in it: the file may have been there, open to others.
    if let Err(error) = fchmod(&file, mode) {
        return failed("Error chmod'ing file: ", "chmod ", error);
    }
    let mut buffer = [0; CHUNK];
    loop {
        match retry_on_intr(|| read(rustix::stdio::stdin(), &mut buffer)) {
            Ok(0) | Err(_) => return 0,
            Ok(count) if put(&file, &buffer[..count]).is_err() => return 1,
            Ok(_) => {}
        }
    }
}
