//! What a walk has still to visit: the names in the directories that it is in, each before what is in it.

use std::vec;

use super::Memory;

/// The way of a walk. `T` is what is known of a name beforehand.
#[derive(Debug)]
pub struct Itinerary<T> {
    /// Where the walk is.
    path: Vec<u8>,
    levels: Vec<Level<T>>,
}

/// The names in a directory that are still to be visited.
#[derive(Debug)]
struct Level<T> {
    /// The length of the directory's path.
    length: usize,
    names: vec::IntoIter<(Vec<u8>, T)>,
}

impl<T> Default for Itinerary<T> {
    fn default() -> Self {
        Self { path: Vec::new(), levels: Vec::new() }
    }
}

impl<T> Itinerary<T> {
    /// Where the walk is: a path from its top, empty for that itself.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// How many directories it is in.
    pub fn depth(&self) -> usize {
        self.levels.len()
    }

    /// What is in the directory where the walk is, in the order in which it is to be visited: before all else. The memory of
    /// the names was taken when they were read; the walk gives it back.
    pub fn enter(&mut self, names: Vec<(Vec<u8>, T)>) {
        self.levels.push(Level { length: self.path.len(), names: names.into_iter() });
    }

    /// Goes on to the next name.
    pub fn next(&mut self, memory: &mut Memory) -> Option<T> {
        loop {
            let level = self.levels.last_mut()?;
            self.path.truncate(level.length);
            if let Some((name, it)) = level.names.next() {
                memory.give(&name);
                if level.length > 0 {
                    self.path.push(b'/');
                }
                self.path.extend_from_slice(&name);
                return Some(it);
            }
            self.levels.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str], memory: &mut Memory) -> Vec<(Vec<u8>, ())> {
        names.iter().for_each(|name| memory.take(name.as_bytes()).unwrap());
        names.iter().map(|name| (name.as_bytes().to_vec(), ())).collect()
    }

    #[test]
    fn a_directory_comes_before_what_is_in_it_and_that_before_its_siblings() {
        let (mut walk, mut memory) = (Itinerary::default(), Memory::default());
        let before = memory.left;
        let mut seen = Vec::new();
        walk.enter(names(&["a", "b", "c"], &mut memory));
        while let Some(()) = walk.next(&mut memory) {
            seen.push(String::from_utf8(walk.path().to_vec()).unwrap());
            match walk.path() {
                b"a" => walk.enter(Vec::new()),
                b"b" => walk.enter(names(&["x", "y"], &mut memory)),
                b"b/x" => walk.enter(names(&["z"], &mut memory)),
                _ => {}
            }
        }
        assert_eq!(seen, ["a", "b", "b/x", "b/x/z", "b/y", "c"]);
        assert_eq!(memory.left, before);
    }
}
