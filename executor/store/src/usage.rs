//! When an image was used last: the modification time of its record.
//!
//! Nothing but that time changes when an image is used, so it costs a `run` one system call and no write that anybody
//! waits for. A power cut may lose it, and then an image looks as if it had not been used since.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use appc::ImageId;
use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, statat, utimensat};
use rustix::io::Errno;

use crate::error::{StoreError, failed};
use crate::layout::Store;
use crate::record::file_of;

const NOT_SET: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };

impl Store {
    /// Notes that an image is used now. A store that cannot be written to keeps no such time: that is no error.
    ///
    /// # Errors
    /// [`StoreError::System`] where the record is there and the kernel refuses for another reason.
    pub fn mark_used(&self, id: &ImageId) -> Result<(), StoreError> {
        if self.is_read_only() || !self.exists() {
            return Ok(());
        }
        self.set_used(&file_of(id), Timespec { tv_sec: 0, tv_nsec: UTIME_NOW })
    }

    /// When an image was used last, in nanoseconds since the epoch; `None` if there is no such image. Being fetched
    /// counts as a use.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn last_used(&self, id: &ImageId) -> Result<Option<u64>, StoreError> {
        let file = file_of(id);
        if !self.exists() {
            return Ok(None);
        }
        match statat(self.dir(), file.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
                Ok(Some(seconds.saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec)))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed("stat", file)(errno)),
        }
    }

    /// Gives a record that is about to replace another the time at which that one's image was used.
    pub(crate) fn set_used(&self, file: &str, time: Timespec) -> Result<(), StoreError> {
        let times = Timestamps { last_access: NOT_SET, last_modification: time };
        match utimensat(self.dir(), file, &times, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) | Err(Errno::NOENT | Errno::ROFS | Errno::ACCESS | Errno::PERM) => Ok(()),
            Err(errno) => Err(failed("utimensat", file)(errno)),
        }
    }
}

/// Nanoseconds since the epoch.
pub(crate) fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// A time in nanoseconds since the epoch as the kernel takes it.
pub(crate) fn timespec(nanoseconds: u64) -> Timespec {
    let seconds = i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(i64::MAX);
    Timespec { tv_sec: seconds, tv_nsec: (nanoseconds % 1_000_000_000).cast_signed() }
}
