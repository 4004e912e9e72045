//! The usage text, and how a wrong invocation is answered: the error on standard error, the usage on standard output.

use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use crate::errno::text as reason;
use crate::output::{complain, put};

const TEXT: &str = include_str!("usage.txt");

/// Shows the usage alone.
pub(crate) fn show() -> u8 {
    print(&format!("\n{TEXT}"))
}

/// Prints a text that was asked for, and returns the exit status.
pub(crate) fn print(text: &str) -> u8 {
    match put(rustix::stdio::stdout(), text.as_bytes()) {
        // A reader that went away has all it wanted.
        Ok(()) | Err(Errno::PIPE) => 0,
        Err(error) => {
            complain(format!("Error: write to standard output: {}\n", reason(error)));
            1
        }
    }
}

/// Shows the error and the usage, and returns `status`.
pub(crate) fn fail(error: impl AsRef<[u8]>, status: u8) -> u8 {
    let error = error.as_ref();
    // As the original decides it: any character device, not only a terminal.
    let coloured =
        fstat(rustix::stdio::stdout()).is_ok_and(|it| FileType::from_raw_mode(it.st_mode) == FileType::CharacterDevice);
    let (before, after): (&[u8], &[u8]) = if coloured { (b"\x1b[31m", b"\x1b[0m") } else { (b"", b"") };
    complain([before, b"Error: ", error, after, b"\n"].concat());
    let _ = put(rustix::stdio::stdout(), format!("\n{TEXT}").as_bytes());
    status
}
