//! What walks of trees have in common: what is still to be visited, and files of several names, in bounded memory.
//!
//! A tree may be an app's, which makes as many files, and as deep, as it likes.

mod hard_links;
mod itinerary;

pub use hard_links::HardLinks;
pub use itinerary::Itinerary;

/// The most memory that a walk takes for names, in bytes.
const MOST: usize = 128 << 20;

/// What a name takes beside its bytes.
const EACH: usize = 64;

/// The memory that a walk may still take.
#[derive(Debug)]
pub struct Memory {
    left: usize,
}

/// There are more names than a walk remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the names in it, and those of files with several, are more than {} MiB", MOST >> 20)]
pub struct TooManyNames;

impl Default for Memory {
    fn default() -> Self {
        Self { left: MOST }
    }
}

impl Memory {
    /// Takes the memory of one name.
    ///
    /// # Errors
    /// There is none left.
    pub fn take(&mut self, name: &[u8]) -> Result<(), TooManyNames> {
        self.left = self.left.checked_sub(name.len() + EACH).ok_or(TooManyNames)?;
        Ok(())
    }

    /// Gives it back.
    pub fn give(&mut self, name: &[u8]) {
        self.left += name.len() + EACH;
    }
}
