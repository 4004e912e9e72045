//! A file's content as a zstd frame of raw blocks (RFC 8878, 3.1.1).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// The magic number, a descriptor that promises neither size nor checksum, and a window of 128 KiB.
const HEADER: [u8; 6] = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];

/// The most that a block may have (3.1.1.2.4).
const BLOCK: u64 = 128 << 10;

/// The bytes of a block's header.
const BLOCK_HEADER: u64 = 3;

/// A frame.
#[derive(Debug)]
pub(in super::super) struct Frame {
    file: File,
    size: u64,
    at: u64,
}

impl Frame {
    /// The frame of the first `size` bytes of `file`, of which there is at least one.
    pub(super) fn new(file: File, size: u64) -> Self {
        Self { file, size, at: 0 }
    }

    /// Its length.
    pub(super) fn length(&self) -> u64 {
        HEADER.len() as u64 + self.size.div_ceil(BLOCK) * BLOCK_HEADER + self.size
    }

    /// Replaces what is in `piece` by the next bytes of the frame; false at its end.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is shorter.
    pub(in super::super) fn next(&mut self, piece: &mut Vec<u8>) -> io::Result<bool> {
        piece.clear();
        if self.at == self.size {
            return Ok(false);
        }
        if self.at == 0 {
            piece.extend_from_slice(&HEADER);
        }
        let length = (self.size - self.at).min(BLOCK);
        let last = u64::from(self.at + length == self.size);
        // Little-endian: whether it is the last, its type (0 is raw), its size.
        piece.extend_from_slice(&(length << 3 | last).to_le_bytes()[..3]);
        let start = piece.len();
        piece.resize(start + usize::try_from(length).expect("it is at most a block"), 0);
        self.file.read_exact_at(&mut piece[start..], self.at)?;
        self.at += length;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn zstd_reads_what_was_in_the_file() {
        for size in [1, 1000, BLOCK, BLOCK + 1, 3 * BLOCK] {
            let content: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(&content).expect("it is ours");
            let mut frame = Frame::new(file, size);
            let (mut packed, mut piece) = (Vec::new(), Vec::new());
            while frame.next(&mut piece).expect("it is long enough") {
                packed.extend_from_slice(&piece);
            }
            assert_eq!(packed.len() as u64, frame.length());
            assert!(zstd::stream::decode_all(&*packed).expect("it is a frame") == content, "{size}");
        }
    }

    #[test]
    fn a_file_that_has_become_shorter_is_an_error() {
        let file = tempfile::tempfile().expect("a file");
        assert!(Frame::new(file, 5).next(&mut Vec::new()).is_err());
    }
}
