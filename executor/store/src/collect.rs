//! Garbage: unfinished work of dead processes, and trees and blobs that no image names.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, renameat, statat, unlinkat};
use rustix::io::Errno;

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
    /// Unfinished work that was removed: number of directories.
    pub unfinished: usize,
    /// Garbage that is still in use and was left.
    pub in_use: usize,
    /// What went wrong. The rest was done nevertheless.
    pub failures: Vec<StoreError>,
}

impl Store {
    /// Removes everything that nobody can use: trees and blobs that no image names, and what dead processes left.
    ///
    /// Trees in use and imports under way are left alone, whatever the clock says: only locks decide. While a record
    /// cannot be read it is unknown what it names, so then no tree and no blob is removed, and the report says why.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`], [`StoreError::Busy`], [`StoreError::System`] if there is nothing it could do.
    pub fn gc(&self, remover: &dyn TreeRemover) -> Result<GcReport, StoreError> {
        self.check_writable()?;
        let mut report = GcReport::default();
        let work = WorkDir::create(self)?;
        // Under the lock garbage is only taken away; removing it, which takes long, comes after.
        self.choose(&work, &mut report)?;
        // What cannot be removed now is unfinished work like any other, and reported as such.
        let _ = work.remove(remover);
        drop(work);
        self.remove_unfinished(remover, &mut report)?;
        Ok(report)
    }

    fn choose(&self, work: &WorkDir, report: &mut GcReport) -> Result<(), StoreError> {
        let _lock = IndexLock::take(self.dir())?;
        let listing = self.list()?;
        if !listing.bad.is_empty() {
            report.failures.extend(listing.bad);
            return Ok(());
        }
        let layers: BTreeSet<String> =
            listing.images.iter().flat_map(|image| &image.layers).map(ToString::to_string).collect();
        let blobs: BTreeSet<Digest> =
            listing.images.iter().flat_map(|image| &image.blobs).map(|blob| blob.digest).collect();
        self.choose_trees(&layers, work, report)?;
        Algorithm::ALL.into_iter().try_for_each(|algorithm| self.remove_blobs(algorithm, &blobs, report))
    }

    fn choose_trees(&self, named: &BTreeSet<String>, work: &WorkDir, report: &mut GcReport) -> Result<(), StoreError> {
        for name in names(&self.subdirectory("trees")?, "trees")? {
            let Some(layer) = LayerKey::of_tree(&name) else { continue };
            let record = format!("trees/{name}/tree.json");
            let missing = matches!(statat(self.dir(), record.as_str(), AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT));
            if named.contains(&layer.to_string()) && !missing {
                continue;
            }
            match self.take_tree_away(&name, &record, missing, work) {
                Ok(true) => report.trees.push(name),
                Ok(false) => report.in_use += 1,
                Err(errno) => report.failures.push(failed("remove", format!("trees/{name}"))(errno)),
            }
        }
        Ok(())
    }

    /// Moves a tree into our work directory. Its record dies first: from then on nobody can begin to use it.
    fn take_tree_away(&self, name: &str, record: &str, dead: bool, work: &WorkDir) -> rustix::io::Result<bool> {
        // Held until the tree has left its place.
        let lock = Guard::take_exclusive(self.dir(), record)?;
        if lock.is_none() && !dead {
            return Ok(false);
        }
        if lock.is_some() {
            unlinkat(self.dir(), record, AtFlags::empty())?;
        }
        renameat(self.dir(), format!("trees/{name}"), work.dir(), name)?;
        Ok(true)
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
