//! Garbage: unfinished work of dead processes, and trees and blobs that no image names.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, renameat, statat, unlinkat};
use rustix::io::Errno;

use crate::dependencies;
use crate::digest::{Algorithm, Digest};
use crate::error::{StoreError, failed};
use crate::layer::LayerKey;
use crate::layout::Store;
use crate::lock::{Guard, IndexLock};
use crate::removal::{TreeRemover, for_each_entry};
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
    /// Unfinished work and downloads that were removed: their number.
    pub unfinished: usize,
    /// Garbage that is still in use and was left.
    pub in_use: usize,
    /// What went wrong. The rest was done nevertheless.
    pub failures: Vec<StoreError>,
}

/// Asks which trees pods need that hold no lock on them, because they are not running. Called at moments when no pod can
/// come to need what gc is looking at.
pub type References<'a> = &'a dyn Fn() -> Result<BTreeSet<LayerKey>, Box<dyn Error + Send + Sync>>;

/// How many trees are locked at once: less than any limit of open files.
const BATCH: usize = 128;

/// A tree that no image names.
struct Candidate {
    name: String,
    layer: LayerKey,
    /// Its `tree.json`, below the store.
    record: String,
    /// Whether that is gone.
    dead: bool,
}

impl Store {
    /// Removes everything that nobody can use: trees and blobs that no image names, and what dead processes left.
    ///
    /// Trees in use and imports under way are left alone, whatever the clock says: only locks decide, and `references`.
    /// While a record cannot be read it is unknown what it names, so then no tree and no blob is removed, and the report
    /// says why.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`], [`StoreError::Busy`], [`StoreError::System`] if there is nothing it could do.
    pub fn gc(&self, remover: &dyn TreeRemover, references: References<'_>) -> Result<GcReport, StoreError> {
        let mut report = GcReport::default();
        if !self.exists() {
            return Ok(report);
        }
        self.check_writable()?;
        let work = WorkDir::create(self)?;
        // Under the lock garbage is only taken away; removing it, which takes long, comes after.
        self.choose(&work, references, &mut report)?;
        // What cannot be removed now is unfinished work like any other, and reported as such.
        let _ = work.remove(remover);
        drop(work);
        self.remove_unfinished(remover, &mut report)?;
        report.unfinished += self.collect_downloads()?;
        Ok(report)
    }

    fn choose(&self, work: &WorkDir, references: References<'_>, report: &mut GcReport) -> Result<(), StoreError> {
        let _lock = IndexLock::take(self.dir())?;
        let listing = self.own_records()?;
        if !listing.bad.is_empty() {
            report.failures.extend(listing.bad);
            return Ok(());
        }
        let images = &listing.images;
        let blobs: BTreeSet<Digest> = images.iter().flat_map(|image| &image.blobs).map(|blob| blob.digest).collect();
        let mut named: BTreeSet<LayerKey> = images.iter().flat_map(|image| &image.layers).copied().collect();
        // What an image and its dependencies were merged into; of an image whose dependencies are missing there is none.
        // Its dependencies may be in stores behind this one.
        let all = self.list()?.images;
        named.extend(images.iter().filter_map(|image| dependencies::merged(image, &all).ok().flatten()));
        if let Err(error) = self.choose_trees(&named, references, work, report) {
            report.failures.push(error);
        }
        Algorithm::ALL.into_iter().try_for_each(|algorithm| self.remove_blobs(algorithm, &blobs, report))?;
        let known: BTreeSet<_> = all.iter().map(|image| image.id).collect();
        self.forget_remotes(&|id| known.contains(id))
    }

    /// Takes the trees away that nothing needs, a batch at a time.
    fn choose_trees(
        &self,
        named: &BTreeSet<LayerKey>,
        references: References<'_>,
        work: &WorkDir,
        report: &mut GcReport,
    ) -> Result<(), StoreError> {
        let mut candidates = Vec::new();
        for name in names(&self.subdirectory("trees")?, "trees")? {
            let Some(layer) = LayerKey::of_tree(&name) else { continue };
            let record = format!("trees/{name}/tree.json");
            let dead = matches!(statat(self.dir(), record.as_str(), AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT));
            if dead || !named.contains(&layer) {
                candidates.push(Candidate { name, layer, record, dead });
            }
        }
        for batch in candidates.chunks(BATCH) {
            let mut locked = Vec::new();
            for candidate in batch {
                match Guard::take_exclusive(self.dir(), &candidate.record) {
                    Ok(None) if !candidate.dead => report.in_use += 1,
                    Ok(lock) => locked.push((candidate, lock)),
                    Err(errno) => report.failures.push(failed("lock", candidate.record.as_str())(errno)),
                }
            }
            // Now that they are locked no pod can begin to use them: what no pod needs at this moment none will.
            let needed = references().map_err(|source| StoreError::References { source })?;
            for (candidate, lock) in locked {
                if !candidate.dead && needed.contains(&candidate.layer) {
                    report.in_use += 1;
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
        Ok(())
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
