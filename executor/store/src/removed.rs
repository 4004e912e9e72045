//! Images that were removed while something still needs their trees.
//!
//! A removed image's record moves from `images` to `removed`. There nothing finds it by name, but a pod that was made
//! of it still finds its layers, and gc knows that they are not garbage as long as such a pod exists.

use std::collections::BTreeSet;
use std::error::Error;

use appc::ImageId;
use rustix::fs::{Mode, mkdirat, renameat};
use rustix::io::Errno;

use crate::error::{StoreError, failed};
use crate::layout::Store;
use crate::lock::IndexLock;
use crate::record::{ImageRecord, file_of};
use crate::removal;

/// Asks which images pods were made of. Called at a moment when no new pod can come to need what gc is looking at.
pub type References<'a> = &'a dyn Fn() -> Result<BTreeSet<ImageId>, Box<dyn Error + Send + Sync>>;

/// The directory of records of removed images.
pub(crate) const DIRECTORY: &str = "removed";

/// A removed image.
#[derive(Debug)]
pub(crate) struct Removed {
    pub(crate) id: ImageId,
    pub(crate) record: Result<ImageRecord, StoreError>,
}

impl Store {
    /// Removes an image from the index. Its trees stay until [`Store::gc`] finds that nothing uses them.
    ///
    /// # Errors
    /// [`StoreError::NoImage`], [`StoreError::NewerFormat`], [`StoreError::System`].
    pub fn remove(&self, id: &ImageId) -> Result<(), StoreError> {
        self.check_writable()?;
        let _lock = IndexLock::take(self.dir())?;
        let (file, target) = (file_of(id), removed_file_of(id));
        let mut renamed = renameat(self.dir(), file.as_str(), self.dir(), target.as_str());
        if renamed == Err(Errno::NOENT) {
            // Stores made by earlier versions have no such directory.
            match mkdirat(self.dir(), DIRECTORY, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed("mkdir", DIRECTORY)(errno)),
            }
            renamed = renameat(self.dir(), file.as_str(), self.dir(), target.as_str());
        }
        match renamed {
            Ok(()) => self.sync_directory(DIRECTORY).and_then(|()| self.sync_directory("images")),
            Err(Errno::NOENT) => Err(StoreError::NoImage { id: *id }),
            Err(errno) => Err(failed("rename", file)(errno)),
        }
    }

    /// The record of an image for a pod that was made of it: that of a removed one too.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::System`].
    pub fn record_for_pod(&self, id: &ImageId) -> Result<Option<ImageRecord>, StoreError> {
        match self.record(id)? {
            Some(record) => Ok(Some(record)),
            None => self.read_record(id, removed_file_of(id)),
        }
    }

    /// The removed images that are not forgotten yet, and their records as far as they can be read.
    pub(crate) fn removed(&self) -> Result<Vec<Removed>, StoreError> {
        let ids = match self.ids(DIRECTORY) {
            Err(error) if error.is(Errno::NOENT) => return Ok(Vec::new()),
            ids => ids?,
        };
        let read = |id: ImageId| match self.read_record(&id, removed_file_of(&id)) {
            Ok(None) => None, // forgotten meanwhile
            Ok(Some(record)) => Some(Removed { id, record: Ok(record) }),
            Err(error) => Some(Removed { id, record: Err(error) }),
        };
        Ok(ids.into_iter().filter_map(read).collect())
    }

    /// Forgets a removed image for good.
    pub(crate) fn forget_removed(&self, id: &ImageId) -> Result<(), StoreError> {
        let file = removed_file_of(id);
        // Whatever somebody may have put there in its place.
        removal::remove(self.dir(), file.as_bytes()).map_err(|error| failed("remove", file)(error))
    }
}

fn removed_file_of(id: &ImageId) -> String {
    file_of(id).replacen("images", DIRECTORY, 1)
}
