//! A failed system call's error number, in a form that can cross a pipe.

use std::fmt;
use std::io;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// The error number of a system call, printed as its text (`No space left on device`).
///
/// Extraction runs in a child process, so its errors are sent as data; `std::io::Error` cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OsError(i32);

impl OsError {
    /// The raw number, as in errno(3).
    pub fn raw(self) -> i32 {
        self.0
    }

    /// Whether this is `errno`.
    pub fn is(self, errno: Errno) -> bool {
        self.0 == errno.raw_os_error()
    }
}

impl From<Errno> for OsError {
    fn from(errno: Errno) -> Self {
        Self(errno.raw_os_error())
    }
}

impl From<&io::Error> for OsError {
    /// An error without a number (the standard library made it up) counts as an input/output error.
    fn from(error: &io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()))
    }
}

impl From<io::Error> for OsError {
    fn from(error: io::Error) -> Self {
        Self::from(&error)
    }
}

impl From<OsError> for io::Error {
    fn from(error: OsError) -> Self {
        io::Error::from_raw_os_error(error.0)
    }
}

impl fmt::Display for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The standard library appends " (os error 28)", which tells a reader nothing more.
        let text = io::Error::from_raw_os_error(self.0).to_string();
        f.write_str(text.split(" (os error").next().unwrap_or(&text))
    }
}

impl fmt::Debug for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OsError({}: {self})", self.0)
    }
}

impl std::error::Error for OsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_the_text_and_keeps_the_number() {
        let error = OsError::from(Errno::NOSPC);
        assert_eq!(error.to_string(), "No space left on device");
        assert_eq!(io::Error::from(error).raw_os_error(), Some(28));
        let copy: OsError = serde_json::from_str(&serde_json::to_string(&error).unwrap()).unwrap();
        assert_eq!(copy, error);
    }

    #[test]
    fn an_error_without_a_number_is_an_input_output_error() {
        assert!(OsError::from(io::Error::other("made up")).is(Errno::IO));
    }
}
