//! What gives a layer's archive back: every byte of it that is no file's content, and where the contents are.
//!
//! A layer's archive is not kept (docs/decisions/0005). Its tree has the contents of its files; the recipe, a file beside
//! the tree, has the rest. Together they are the archive, bit for bit, whatever wrote it.
//!
//! A recipe is one zstd frame with a checksum. Inside: the byte 1 (the version), then steps until the archive is whole.
//! Numbers are little-endian base 128, seven bits a byte, the high bit set on all but the last (LEB128).
//!
//! ```text
//! L length bytes                     these bytes
//! F path-length path offset length   bytes of the file of that path in the tree
//! R path-length path length bytes    the content that the file of that path had up to here: a later member of the
//!                                    archive replaced it, so steps before this one mean these bytes
//! E length                           the end, and how long the archive is
//! ```
//!
//! Paths are relative to the tree's root. No piece of literal bytes is longer than 64 KiB. A recipe is data of this
//! program, but it lies on a disk: whoever reads it trusts no number and finds every file through the tree's descriptor.

mod rebuild;
mod record;
mod skeleton;
mod steps;

pub use self::rebuild::{RecipeError, rebuild};
pub(crate) use self::record::{Recorded, Recorder};
pub(crate) use self::skeleton::Skeleton;

/// The version of the format.
const VERSION: u8 = 1;

const LITERAL: u8 = b'L';
const FILE: u8 = b'F';
const REPLACED: u8 = b'R';
const END: u8 = b'E';

/// The longest piece of literal bytes.
const PIECE: usize = 64 << 10;

/// The longest path (PATH_MAX).
const LONGEST_PATH: usize = 4096;

/// Writes a number.
fn push_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push((number as u8 & 0x7f) | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}
