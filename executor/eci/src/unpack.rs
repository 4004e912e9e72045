//! Files out of an image: streamed, checked, and in their places only when they are right.

use std::collections::BTreeSet;
use std::io;

use crate::contents::{Contents, Item, Place};
use crate::descriptor::Descriptor;
use crate::digest::{Digest, Hasher};
use crate::document::Image;
use crate::file::Partial;
use crate::title::Title;
use crate::transfer::{Progress, Source, TransferError};
use crate::untar::{Compression, Member, Members, Untar};

pub use crate::file::Folder;

/// How often the way to a file may lead over symbolic links, and layers be read again for it.
const MAX_ROUNDS: usize = 8;

/// Where a file of the image is to be.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Which one.
    pub item: &'a Item,
    /// The folder.
    pub folder: &'a Folder,
    /// The name in it.
    pub title: Title,
}

/// Why files cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// A blob does not come, or not as it should be.
    #[error("layer {digest}")]
    Blob {
        /// Its digest.
        digest: Digest,
        /// Why.
        source: TransferError,
    },
    /// A file cannot be written.
    #[error("write {title}")]
    Write {
        /// Its title.
        title: Title,
        /// Why.
        source: io::Error,
    },
    /// The bytes are not those that the manifest promises.
    #[error("layer {expected} has {found}")]
    Mismatch {
        /// Its digest.
        expected: Digest,
        /// The digest or size that it has.
        found: String,
    },
    /// The layer is no archive we know.
    #[error("layer {digest} has the unknown type {media_type:?}")]
    Type {
        /// Its digest.
        digest: Digest,
        /// Its media type.
        media_type: String,
    },
    /// The file is not where the image says.
    #[error("the image says that there is a file {path:?}, and it has none")]
    Missing {
        /// Where.
        path: String,
    },
}

/// Writes files. `mode` is theirs.
///
/// # Errors
/// [`UnpackError`]. Files that were complete before stay; of others nothing is left under their names.
pub fn unpack(
    source: &dyn Source,
    image: &Image,
    wanted: &[Wanted<'_>],
    mode: u32,
    progress: &mut dyn Progress,
) -> Result<(), UnpackError> {
    let mut paths = Vec::new();
    for wanted in wanted {
        match &wanted.item.place {
            Place::Blob(blob) => whole(source, wanted, blob, mode, progress)?,
            Place::Layer(layer) => archived(source, wanted, layer, mode, progress)?,
            Place::Path(path) => paths.push((wanted, path.clone())),
        }
    }
    if paths.is_empty() { Ok(()) } else { by_path(source, image, paths, mode, progress) }
}

/// All files of an image by their own titles.
#[must_use]
pub fn everything<'a>(contents: &'a Contents, folder: &'a Folder) -> Vec<Wanted<'a>> {
    contents.items.iter().map(|item| Wanted { item, folder, title: item.title.clone() }).collect()
}

fn open(wanted: &Wanted<'_>, blob: &Descriptor) -> Result<Partial, UnpackError> {
    Partial::open(wanted.folder, &wanted.title, &blob.digest)
        .map_err(|source| UnpackError::Write { title: wanted.title.clone(), source })
}

/// A layer that is the file.
fn whole(
    source: &dyn Source,
    wanted: &Wanted<'_>,
    blob: &Descriptor,
    mode: u32,
    progress: &mut dyn Progress,
) -> Result<(), UnpackError> {
    let written = |source| UnpackError::Write { title: wanted.title.clone(), source };
    let mut partial = open(wanted, blob)?;
    let mut hasher = blob.digest.hasher();
    let received = partial.resume(&mut hasher, blob.size).map_err(written)?;
    let mut own_error = None;
    progress.begin(blob, Some(&wanted.title), received);
    let result = source.blob(blob, received, &mut |bytes| {
        hasher.update(bytes);
        progress.advance(bytes.len() as u64);
        if partial.position() + bytes.len() as u64 > blob.size {
            return Err("there are more bytes than the manifest says".into());
        }
        partial.write(bytes).map_err(|error| {
            own_error = Some(error);
            "it cannot be written".into()
        })
    });
    if let Some(error) = own_error {
        return Err(written(error));
    }
    if let Err(source) = result {
        // The connection, not the content: the next pull goes on from here.
        if partial.position() <= blob.size {
            partial.keep();
        }
        return Err(UnpackError::Blob { digest: blob.digest.clone(), source });
    }
    check(blob, hasher, partial.position())?;
    progress.end();
    partial.publish(mode).map_err(written)
}

/// Compares what came with what was promised.
fn check(blob: &Descriptor, hasher: Hasher, size: u64) -> Result<(), UnpackError> {
    let found = hasher.finish();
    let found = match (size == blob.size, found == blob.digest) {
        (true, true) => return Ok(()),
        (false, _) => format!("{size} bytes, not {}", blob.size),
        (true, false) => format!("the digest {found}"),
    };
    Err(UnpackError::Mismatch { expected: blob.digest.clone(), found })
}

/// Streams a layer through `members`.
fn layer<M: Members>(
    source: &dyn Source,
    blob: &Descriptor,
    title: Option<&Title>,
    members: M,
    progress: &mut dyn Progress,
) -> Result<M, UnpackError> {
    let digest = || blob.digest.clone();
    let Some(compression) = Compression::of_media_type(&blob.media_type) else {
        return Err(UnpackError::Type { digest: digest(), media_type: blob.media_type.clone() });
    };
    let content = |source: io::Error| UnpackError::Blob { digest: digest(), source: source.into() };
    let mut untar = Untar::new(compression, members).map_err(content)?;
    let (mut hasher, mut size, mut own_error) = (blob.digest.hasher(), 0, None);
    progress.begin(blob, title, 0);
    let result = source.blob(blob, 0, &mut |bytes| {
        hasher.update(bytes);
        size += bytes.len() as u64;
        progress.advance(bytes.len() as u64);
        if size > blob.size {
            return Err("there are more bytes than the manifest says".into());
        }
        // A layer that is no archive may not be the layer that was promised either; the digest tells.
        if own_error.is_none() {
            own_error = untar.push(bytes).err();
        }
        Ok(())
    });
    result.map_err(|source| UnpackError::Blob { digest: digest(), source })?;
    check(blob, hasher, size)?;
    progress.end();
    match own_error {
        Some(error) => Err(content(error)),
        None => untar.finish().map_err(content),
    }
}

/// A file in an archive that is being written.
struct Writing {
    partial: Partial,
    /// Where it has data, if it has holes; and its size.
    map: Option<(std::vec::IntoIter<(u64, u64)>, u64)>,
    /// Bytes left of the region of data.
    left: u64,
}

impl Writing {
    fn begin(&mut self, member: &Member) -> io::Result<()> {
        self.partial.restart()?;
        let Member::File { holes } = member else { return Ok(()) };
        self.map = holes.clone().map(|(map, size)| (map.into_iter(), size));
        self.left = 0;
        Ok(())
    }

    fn data(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "the map of a sparse file is wrong");
        let Some((map, _)) = &mut self.map else { return self.partial.write(bytes) };
        while !bytes.is_empty() {
            while self.left == 0 {
                let (offset, length) = map.next().ok_or_else(wrong)?;
                let hole = offset.checked_sub(self.partial.position()).ok_or_else(wrong)?;
                self.partial.skip(hole)?;
                self.left = length;
            }
            let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.partial.write(&bytes[..count])?;
            self.left -= count as u64;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        if let Some((_, size)) = self.map.take() {
            let wrong = || io::Error::new(io::ErrorKind::InvalidData, "the map of a sparse file is wrong");
            let hole = size.checked_sub(self.partial.position()).ok_or_else(wrong)?;
            self.partial.skip(hole)?;
        }
        Ok(())
    }
}

/// A layer that is an archive of the file.
fn archived(
    source: &dyn Source,
    wanted: &Wanted<'_>,
    blob: &Descriptor,
    mode: u32,
    progress: &mut dyn Progress,
) -> Result<(), UnpackError> {
    let mut partial = open(wanted, blob)?;
    let written = |source| UnpackError::Write { title: wanted.title.clone(), source };
    partial.restart().map_err(written)?;
    let only =
        Only { name: wanted.item.title.as_str(), writing: Writing { partial, map: None, left: 0 }, found: false };
    let only = layer(source, blob, Some(&wanted.title), only, progress)?;
    if !only.found {
        return Err(UnpackError::Missing { path: wanted.item.title.to_string() });
    }
    only.writing.partial.publish(mode).map_err(written)
}

/// Takes the one file of an archive, which is called as its title.
struct Only<'n> {
    name: &'n str,
    writing: Writing,
    found: bool,
}

impl Members for Only<'_> {
    fn member(&mut self, name: &str, member: &Member) -> io::Result<bool> {
        let wanted = plain(name).as_deref() == Some(self.name) && matches!(member, Member::File { .. });
        if wanted {
            self.writing.begin(member)?;
            self.found = true;
        }
        Ok(wanted)
    }

    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writing.data(bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        self.writing.end()
    }
}

/// A member's name without `./` and slashes at its ends; `None` if it leads upwards.
fn plain(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('/').filter(|it| !matches!(*it, "" | ".")).collect();
    (!parts.contains(&"..")).then(|| parts.join("/"))
}

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
fn by_path(
    source: &dyn Source,
    image: &Image,
    paths: Vec<(&Wanted<'_>, String)>,
    mode: u32,
    progress: &mut dyn Progress,
) -> Result<(), UnpackError> {
    let mut searches = Vec::new();
    for (wanted, path) in paths {
        let partial = open(wanted, &image.manifest)?;
        let writing = Writing { partial, map: None, left: 0 };
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
        search.writing.partial.publish(mode).map_err(|source| UnpackError::Write { title, source })?;
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
