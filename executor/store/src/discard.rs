//! Takes damaged parts out of the store, so that they can be brought in again.

use appc::ImageId;
use rustix::fs::{AtFlags, renameat, unlinkat};
use rustix::io::Errno;

use crate::digest::Digest;
use crate::error::{StoreError, failed};
use crate::import::blob_path;
use crate::layer::{IdMap, LayerKey};
use crate::layout::Store;
use crate::lock::{Guard, IndexLock};
use crate::record::file_of;
use crate::removal::TreeRemover;
use crate::work::WorkDir;

impl Store {
    /// Removes the tree of a layer. `false` if somebody uses it: then it stays. That there is none is a success.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`], [`StoreError::System`].
    pub fn discard_tree(&self, layer: &LayerKey, map: &IdMap, remover: &dyn TreeRemover) -> Result<bool, StoreError> {
        self.check_writable()?;
        let name = layer.tree_name(map);
        let record = format!("trees/{name}/tree.json");
        let work = WorkDir::create(self)?;
        let Some(lock) = Guard::take_exclusive(self.dir(), &record).map_err(failed("lock", record.as_str()))? else {
            return self.is_absent(&record);
        };
        // From here on nobody can begin to use it.
        unlinkat(self.dir(), record.as_str(), AtFlags::empty()).map_err(failed("unlink", record))?;
        let tree = format!("trees/{name}");
        renameat(self.dir(), tree.as_str(), work.dir(), name.as_str()).map_err(failed("rename", tree))?;
        drop(lock);
        work.remove(remover)?;
        Ok(true)
    }

    /// Removes a blob. `false` if somebody uses it: then it stays. That there is none is a success.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`], [`StoreError::System`].
    pub fn discard_blob(&self, digest: &Digest) -> Result<bool, StoreError> {
        self.check_writable()?;
        let path = blob_path(digest);
        let Some(_lock) = Guard::take_exclusive(self.dir(), &path).map_err(failed("lock", path.as_str()))? else {
            return self.is_absent(&path);
        };
        unlinkat(self.dir(), path.as_str(), AtFlags::empty()).map_err(failed("unlink", path))?;
        Ok(true)
    }

    /// Sets a record aside that cannot be read: `images/ID.json` becomes `images/ID.json.damaged`, which nothing reads.
    /// What it named is garbage then, unless another image names it.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`], [`StoreError::System`].
    pub fn set_record_aside(&self, id: &ImageId) -> Result<(), StoreError> {
        self.check_writable()?;
        let _lock = IndexLock::take(self.dir())?;
        let file = file_of(id);
        match renameat(self.dir(), file.as_str(), self.dir(), format!("{file}.damaged")) {
            Ok(()) => self.sync_directory("images"),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed("rename", file)(errno)),
        }
    }

    /// Whether a file that could not be locked is simply not there.
    fn is_absent(&self, path: &str) -> Result<bool, StoreError> {
        match rustix::fs::statat(self.dir(), path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(false),
            Err(Errno::NOENT) => Ok(true),
            Err(errno) => Err(failed("stat", path)(errno)),
        }
    }
}
