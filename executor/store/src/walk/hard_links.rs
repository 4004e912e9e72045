//! Files of several names that a walk has met, until it has met all their names.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use super::{Memory, TooManyNames};

/// The first name of each, and how many it has not met yet. `I` tells files apart.
#[derive(Debug)]
pub struct HardLinks<I> {
    met: HashMap<I, (Vec<u8>, u64)>,
}

impl<I> Default for HardLinks<I> {
    fn default() -> Self {
        Self { met: HashMap::new() }
    }
}

impl<I: Eq + Hash> HardLinks<I> {
    /// Meets a file of `names` names at `path`. Returns the path where it was met first, if that was before.
    ///
    /// # Errors
    /// There is no memory left for its name.
    pub fn meet(
        &mut self,
        file: I,
        names: u64,
        path: &[u8],
        memory: &mut Memory,
    ) -> Result<Option<Vec<u8>>, TooManyNames> {
        if names < 2 {
            return Ok(None);
        }
        match self.met.entry(file) {
            Entry::Vacant(place) => {
                memory.take(path)?;
                place.insert((path.to_vec(), names - 1));
                Ok(None)
            }
            Entry::Occupied(mut met) => {
                let (first, left) = met.get_mut();
                *left -= 1;
                if *left > 0 {
                    return Ok(Some(first.clone()));
                }
                let (first, _) = met.remove();
                memory.give(&first);
                Ok(Some(first))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_forgotten_with_its_last_name() {
        let (mut links, mut memory) = (HardLinks::default(), Memory::default());
        let before = memory.left;
        let mut meet = |path: &str, memory: &mut Memory| links.meet(7, 3, path.as_bytes(), memory);
        assert_eq!(meet("a", &mut memory), Ok(None));
        assert!(memory.left < before);
        assert_eq!(meet("b", &mut memory), Ok(Some(b"a".to_vec())));
        assert_eq!(meet("c", &mut memory), Ok(Some(b"a".to_vec())));
        assert_eq!(memory.left, before);
        // A name that was made while others were met: a file of its own.
        assert_eq!(meet("d", &mut memory), Ok(None));
    }

    #[test]
    fn they_take_no_more_than_there_is() {
        let (mut links, mut memory) = (HardLinks::default(), Memory { left: 100 });
        assert_eq!(links.meet(1, 1, b"only", &mut memory), Ok(None));
        assert_eq!(links.meet(2, 2, b"first", &mut memory), Ok(None));
        assert_eq!(links.meet(3, 2, b"second", &mut memory), Err(TooManyNames));
    }
}
