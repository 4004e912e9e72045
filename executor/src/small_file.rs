//! Files that people write and this program reads whole: they are small.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Reads a file of at most so many bytes. A fifo is read, and waited for: `--env-file=<(make)`.
///
/// # Errors
///
/// It cannot be read, or is larger; the caller names it.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(path)?.take(most + 1).read_to_end(&mut bytes)? as u64 {
        read if read > most => Err(io::Error::other(format!("it has more than {most} bytes"))),
        _ => Ok(bytes),
    }
}

/// The same of a text.
///
/// # Errors
///
/// As [`read`]; it is not UTF-8.
pub(crate) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|_| io::Error::other("it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let refused = |most| read_text(&path, most).unwrap_err().to_string();
        assert!(refused(3).contains("No such file"));
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(read_text(&path, 3).unwrap(), "abc");
        assert_eq!(refused(2), "it has more than 2 bytes");
        std::fs::write(&path, b"\xff").unwrap();
        assert_eq!(refused(2), "it is not UTF-8");
    }
}
