//! Garbage: unfinished work of dead processes, and trees and blobs that no image names.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use appc::ImageId;
use rustix::fs::{AtFlags, FileType, renameat, statat, unlinkat};
use rustix::io::Errno;

use crate::digest::{Algorithm, Digest};
use crate::error::{StoreError, failed};
use crate::layer::LayerKey;
use crate::layout::Store;
use crate::lock::{Guard, IndexLock};
use crate::record::ImageRecord;
use crate::removal::{TreeRemover, for_each_entry};
use crate::removed::{References, Removed};
use crate::work::{WorkDir, remove_dead};

/// What [`Store::gc`] did.
#[derive(Debug, Default)]
pub struct GcReport {
    /// Trees that were removed, by name.
    pub trees: Vec<String>,
    /// Blobs that were removed.
    pub blobs: Vec<Digest>,
    /// Bytes of those blobs.
    pub blob_bytes: u64,
    /// Unfinished work that was removed: number of directories.
    pub unfinished: usize,
    /// Garbage that is still in use and was left.
    pub in_use: usize,
    /// What went wrong. The rest was done nevertheless.
    pub failures: Vec<StoreError>,
}

/// How many trees are locked at once: less than any limit of open files.
const BATCH: usize = 128;

/// A tree that no image names.
struct Candidate {
    name: String,
    layer: String,
    /// Its `tree.json`, below the store.
    record: String,
    /// Whether that is gone.
    dead: bool,
}

/// What decides whether a tree is garbage.
struct Choice<'a> {
    /// The images there are.
    images: BTreeSet<ImageId>,
    /// Their layers.
    named: BTreeSet<String>,
    removed: Vec<Removed>,
    references: References<'a>,
    /// The removed images that pods were made of, and their layers.
    needed: BTreeSet<ImageId>,
    referenced: BTreeSet<String>,
    /// Layers of trees that somebody holds.
    busy: BTreeSet<String>,
}

impl<'a> Choice<'a> {
    fn new(images: &[ImageRecord], removed: Vec<Removed>, references: References<'a>) -> Self {
        let named = images.iter().flat_map(|image| &image.layers).map(ToString::to_string).collect();
        let images = images.iter().map(|image| image.id).collect();
        let (needed, referenced, busy) = Default::default();
        Self { images, named, removed, references, needed, referenced, busy }
    }

    /// Asks which removed images pods were made of.
    fn ask(&mut self) -> Result<(), StoreError> {
        if self.removed.is_empty() {
            return Ok(());
        }
        let needed = (self.references)().map_err(|source| StoreError::References { source })?;
        for removed in &self.removed {
            match &removed.record {
                Ok(record) if needed.contains(&removed.id) => {
                    self.referenced.extend(record.layers.iter().map(ToString::to_string));
                }
                Err(_) if needed.contains(&removed.id) => {
                    return Err(StoreError::RemovedUnreadable { id: removed.id });
                }
                _ => {}
            }
        }
        self.needed = needed;
        Ok(())
    }

    /// Whether a removed image is still needed: by a pod, or by a process that may be making one.
    fn needs(&self, removed: &Removed) -> bool {
        let busy = |record: &ImageRecord| record.layers.iter().any(|layer| self.busy.contains(&layer.to_string()));
        self.needed.contains(&removed.id) || removed.record.as_ref().is_ok_and(busy)
    }
}

impl Store {
    /// Removes everything that nobody can use: trees and blobs that no image names, and what dead processes left.
    ///
    /// Trees in use and imports under way are left alone, whatever the clock says: only locks decide. So are the trees
    /// of removed images that pods were made of, which `references` knows. While a record cannot be read it is unknown
    /// what it names, so then no tree and no blob is removed, and the report says why.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`], [`StoreError::Busy`], [`StoreError::System`] if there is nothing it could do.
    pub fn gc(&self, remover: &dyn TreeRemover, references: References<'_>) -> Result<GcReport, StoreError> {
        self.check_writable()?;
        let mut report = GcReport::default();
        let work = WorkDir::create(self)?;
        // Under the lock garbage is only taken away; removing it, which takes long, comes after.
        self.choose(&work, references, &mut report)?;
        // What cannot be removed now is unfinished work like any other, and reported as such.
        let _ = work.remove(remover);
        drop(work);
        self.remove_unfinished(remover, &mut report)?;
        Ok(report)
    }

    fn choose(&self, work: &WorkDir, references: References<'_>, report: &mut GcReport) -> Result<(), StoreError> {
        let _lock = IndexLock::take(self.dir())?;
        let listing = self.list()?;
        if !listing.bad.is_empty() {
            report.failures.extend(listing.bad);
            return Ok(());
        }
        let blobs: BTreeSet<Digest> =
            listing.images.iter().flat_map(|image| &image.blobs).map(|blob| blob.digest).collect();
        let mut choice = Choice::new(&listing.images, self.removed()?, references);
        if let Err(error) = self.choose_trees(&mut choice, work, report) {
            report.failures.push(error);
        } else {
            self.forget(&choice, report);
        }
        Algorithm::ALL.into_iter().try_for_each(|algorithm| self.remove_blobs(algorithm, &blobs, report))?;
        self.forget_remotes(&|id| choice.images.contains(id))
    }

    /// Takes the trees away that nothing needs, a batch at a time.
    fn choose_trees(&self, choice: &mut Choice<'_>, work: &WorkDir, report: &mut GcReport) -> Result<(), StoreError> {
        let mut candidates = Vec::new();
        for name in names(&self.subdirectory("trees")?, "trees")? {
            let Some(layer) = LayerKey::of_tree(&name) else { continue };
            let record = format!("trees/{name}/tree.json");
            let dead = matches!(statat(self.dir(), record.as_str(), AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT));
            if dead || !choice.named.contains(&layer.to_string()) {
                candidates.push(Candidate { name, layer: layer.to_string(), record, dead });
            }
        }
        for batch in candidates.chunks(BATCH) {
            let mut locked = Vec::new();
            for candidate in batch {
                match Guard::take_exclusive(self.dir(), &candidate.record) {
                    Ok(None) if !candidate.dead => {
                        choice.busy.insert(candidate.layer.clone());
                        report.in_use += 1;
                    }
                    Ok(lock) => locked.push((candidate, lock)),
                    Err(errno) => report.failures.push(failed("lock", candidate.record.as_str())(errno)),
                }
            }
            // Now that they are locked no pod can begin to use them: what no pod needs at this moment none will.
            choice.ask()?;
            for (candidate, lock) in locked {
                if !candidate.dead && choice.referenced.contains(&candidate.layer) {
                    continue;
                }
                match self.take_tree_away(candidate, lock, work) {
                    Ok(()) => report.trees.push(candidate.name.clone()),
                    Err(errno) => {
                        report.failures.push(failed("remove", format!("trees/{}", candidate.name))(errno));
                    }
                }
            }
        }
        // Of an image without garbage nothing was asked so far.
        choice.ask()
    }

    /// Forgets removed images that nothing needs any more, and those that came back.
    fn forget(&self, choice: &Choice<'_>, report: &mut GcReport) {
        for removed in &choice.removed {
            if !choice.images.contains(&removed.id) && choice.needs(removed) {
                continue;
            }
            if let Err(error) = self.forget_removed(&removed.id) {
                report.failures.push(error);
            }
        }
    }

    /// Moves a tree into our work directory. Its record dies first: from then on nobody can begin to use it. The lock
    /// is held until the tree has left its place.
    fn take_tree_away(&self, candidate: &Candidate, lock: Option<Guard>, work: &WorkDir) -> rustix::io::Result<()> {
        if lock.is_some() {
            unlinkat(self.dir(), candidate.record.as_str(), AtFlags::empty())?;
        }
        let name = candidate.name.as_str();
        renameat(self.dir(), format!("trees/{name}"), work.dir(), name)
    }

    fn remove_blobs(
        &self,
        algorithm: Algorithm,
        named: &BTreeSet<Digest>,
        report: &mut GcReport,
    ) -> Result<(), StoreError> {
        let directory = format!("blobs/{}", algorithm.name());
        let dir = self.subdirectory(&directory)?;
        for name in names(&dir, &directory)? {
            let Ok(digest) = format!("{}:{name}", algorithm.name()).parse::<Digest>() else { continue };
            if named.contains(&digest) {
                continue;
            }
            match remove_blob(&dir, &name) {
                Ok(Some(bytes)) => {
                    report.blobs.push(digest);
                    report.blob_bytes += bytes;
                }
                Ok(None) => report.in_use += 1,
                Err(errno) => report.failures.push(failed("unlink", format!("{directory}/{name}"))(errno)),
            }
        }
        Ok(())
    }

    fn remove_unfinished(&self, remover: &dyn TreeRemover, report: &mut GcReport) -> Result<(), StoreError> {
        let tmp = self.subdirectory("tmp")?;
        for name in names(&tmp, "tmp")? {
            match remove_dead(&tmp, name.as_bytes(), remover) {
                Ok(true) => report.unfinished += 1,
                Ok(false) => {}
                Err(error) => report.failures.push(failed("remove", format!("tmp/{name}"))(error)),
            }
        }
        Ok(())
    }
}

/// Removes a blob that nobody holds. Returns its size.
fn remove_blob(dir: &OwnedFd, name: &str) -> rustix::io::Result<Option<u64>> {
    let Some(guard) = Guard::take_exclusive(dir.as_fd(), name)? else { return Ok(None) };
    let size = rustix::fs::fstat(guard.as_fd())?.st_size.cast_unsigned();
    unlinkat(dir, name, AtFlags::empty())?;
    Ok(Some(size))
}

/// The names in a directory of the store. What we never made (a name that is not UTF-8) is not ours to touch.
fn names(dir: &OwnedFd, shown: &str) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    let read: io::Result<()> = for_each_entry(dir, |name, _: FileType| {
        names.extend(String::from_utf8(name.to_vec()));
        Ok(())
    });
    read.map_err(|error| failed("read", shown)(error))?;
    Ok(names)
}
