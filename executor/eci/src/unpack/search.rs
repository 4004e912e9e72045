//! Files by their paths, in the file system that the layers of an image make.

use std::collections::BTreeSet;
use std::io;

use super::archived::plain;
use super::writing::Writing;
use super::{UnpackError, Wanted, layer, open};
use crate::document::Image;
use crate::transfer::{Progress, Source};
use crate::untar::{Member, Members};

/// How often the way to a file may lead over symbolic links, and layers be read again for it.
const MAX_ROUNDS: usize = 8;

/// What the layers so far say of a path.
enum Seen {
    Nothing,
    File,
    /// The path leads on to another one; of a hard link, in the layers up to this one.
    Link(String, Option<usize>),
}

struct Search<'w> {
    /// The path as it is looked for in this round.
    path: String,
    /// Layers after this one do not count.
    last: usize,
    seen: Seen,
    writing: Writing,
    wanted: &'w Wanted<'w>,
}

/// Files that the labels of an image tell the paths of, in the file system that its layers make.
pub(super) fn by_path(
    source: &dyn Source,
    image: &Image,
    paths: Vec<(&Wanted<'_>, String)>,
    mode: u32,
    progress: &mut dyn Progress,
) -> Result<(), UnpackError> {
    let mut searches = Vec::new();
    for (wanted, path) in paths {
        let partial = open(wanted, &image.manifest)?;
        let writing = Writing::new(partial);
        searches.push(Search { path, last: usize::MAX, seen: Seen::Nothing, writing, wanted });
    }
    for _ in 0..MAX_ROUNDS {
        let mut searching: Vec<&mut Search<'_>> =
            searches.iter_mut().filter(|it| !matches!(it.seen, Seen::File)).collect();
        for search in &mut searching {
            if let Seen::Link(target, last) = std::mem::replace(&mut search.seen, Seen::Nothing) {
                search.path = target;
                search.last = last.unwrap_or(search.last);
            }
        }
        // From the lowest layer up: what comes later counts.
        for (number, blob) in image.layers.iter().enumerate() {
            if searching.iter().all(|it| number > it.last) {
                continue;
            }
            let tree = Tree { number, searches: searching, current: Vec::new(), in_this_layer: BTreeSet::new() };
            searching = layer(source, blob, None, tree, progress)?.searches;
        }
        if let Some(search) = searching.iter().find(|it| matches!(it.seen, Seen::Nothing)) {
            return Err(UnpackError::Missing { path: format!("/{}", search.path) });
        }
        if searching.iter().all(|it| matches!(it.seen, Seen::File)) {
            break;
        }
    }
    if let Some(search) = searches.iter().find(|it| !matches!(it.seen, Seen::File)) {
        return Err(UnpackError::Missing { path: format!("/{} (through too many links)", search.path) });
    }
    for search in searches {
        let title = search.wanted.title.clone();
        search.writing.publish(mode).map_err(|source| UnpackError::Write { title, source })?;
    }
    Ok(())
}

/// Follows what the members of a layer say of the paths that are looked for.
struct Tree<'s, 'w> {
    /// The layer's number.
    number: usize,
    searches: Vec<&'s mut Search<'w>>,
    /// The searches whose file comes.
    current: Vec<usize>,
    /// Searches that this layer itself said something of: its whiteouts are for the layers below.
    in_this_layer: BTreeSet<usize>,
}

impl Tree<'_, '_> {
    /// What a whiteout removes: a path, or all that is in a folder.
    fn whiteout(&mut self, gone: &str, opaque: bool) {
        for (index, search) in self.searches.iter_mut().enumerate() {
            let hit = below(&search.path, gone).is_some() || (!opaque && search.path == gone);
            if hit && !self.in_this_layer.contains(&index) {
                search.seen = Seen::Nothing;
            }
        }
    }
}

impl Members for Tree<'_, '_> {
    fn member(&mut self, name: &str, member: &Member) -> io::Result<bool> {
        self.current.clear();
        let Some(name) = plain(name) else { return Ok(false) };
        let (folder, base) = name.rsplit_once('/').unwrap_or(("", &name));
        if base == ".wh..wh..opq" {
            self.whiteout(folder, true);
            return Ok(false);
        }
        if let Some(gone) = base.strip_prefix(".wh.") {
            let gone = if folder.is_empty() { gone.to_owned() } else { format!("{folder}/{gone}") };
            self.whiteout(&gone, false);
            return Ok(false);
        }
        for (index, search) in self.searches.iter_mut().enumerate().filter(|(_, it)| self.number <= it.last) {
            if let Some(rest) = below(&search.path, &name) {
                match member {
                    Member::Symlink(target) => search.seen = link(folder, target, Some(rest)),
                    // A folder that was there stays as it is.
                    Member::Directory => continue,
                    _ => search.seen = Seen::Nothing,
                }
            } else if search.path == name {
                search.seen = match member {
                    Member::File { .. } => {
                        search.writing.begin(member)?;
                        self.current.push(index);
                        Seen::File
                    }
                    Member::Symlink(target) => link(folder, target, None),
                    Member::HardLink(target) => {
                        plain(target).map_or(Seen::Nothing, |it| Seen::Link(it, Some(self.number)))
                    }
                    Member::Directory | Member::Special => Seen::Nothing,
                };
            } else {
                continue;
            }
            self.in_this_layer.insert(index);
        }
        Ok(!self.current.is_empty())
    }

    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.current.iter().try_for_each(|it| self.searches[*it].writing.data(bytes))
    }

    fn end(&mut self) -> io::Result<()> {
        self.current.iter().try_for_each(|it| self.searches[*it].writing.end())
    }
}

/// What of `path` is below `folder`.
fn below<'p>(path: &'p str, folder: &str) -> Option<&'p str> {
    if folder.is_empty() { Some(path) } else { path.strip_prefix(folder)?.strip_prefix('/') }
}

/// Where a symbolic link in `folder` leads, within the image.
fn link(folder: &str, target: &str, rest: Option<&str>) -> Seen {
    let base = if target.starts_with('/') { "" } else { folder };
    let mut parts: Vec<&str> = Vec::new();
    for part in [base, target, rest.unwrap_or_default()].into_iter().flat_map(|it| it.split('/')) {
        match part {
            "" | "." => {}
            // Upwards of the root is the root.
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    if parts.is_empty() { Seen::Nothing } else { Seen::Link(parts.join("/"), None) }
}
