//! An archive in blocks of one size, however it was written.

use std::sync::Arc;

/// What is packed at a time. It decides the bytes of packed archives, so it must stay as it is.
pub const BLOCK: usize = 512 << 10;

/// A piece of an archive, shared by whoever packs it and whoever hashes it.
pub type Block = Arc<Vec<u8>>;

/// Cuts what is written into pieces of [`BLOCK`] bytes. Only the last one, which is there when all is written, is shorter.
#[derive(Debug)]
pub struct Blocks(Vec<u8>);

impl Default for Blocks {
    fn default() -> Self {
        Self(Vec::with_capacity(BLOCK))
    }
}

impl Blocks {
    /// Takes the beginning of `bytes`: how much was taken, and a block if one is full now.
    pub fn write(&mut self, bytes: &[u8]) -> (usize, Option<Block>) {
        let taken = bytes.len().min(BLOCK - self.0.len());
        self.0.extend_from_slice(&bytes[..taken]);
        let full = if self.0.len() == BLOCK { self.rest() } else { None };
        (taken, full)
    }

    /// What is left, if anything is.
    pub fn rest(&mut self) -> Option<Block> {
        if self.0.is_empty() {
            return None;
        }
        Some(Arc::new(std::mem::replace(&mut self.0, Vec::with_capacity(BLOCK))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_do_not_depend_on_how_they_were_written() {
        let bytes: Vec<u8> = (0..BLOCK * 2 + 7).map(|place| (place % 251) as u8).collect();
        for step in [1000, BLOCK - 1, BLOCK, BLOCK + 1, bytes.len()] {
            let (mut blocks, mut found) = (Blocks::default(), Vec::new());
            for piece in bytes.chunks(step) {
                let mut left = piece;
                while !left.is_empty() {
                    let (taken, full) = blocks.write(left);
                    found.extend(full);
                    left = &left[taken..];
                }
            }
            found.extend(blocks.rest());
            let sizes: Vec<usize> = found.iter().map(|block| block.len()).collect();
            assert_eq!((sizes, blocks.rest()), (vec![BLOCK, BLOCK, 7], None), "{step}");
            assert!(found.iter().flat_map(|block| block.iter()).eq(&bytes), "{step}");
        }
    }
}
