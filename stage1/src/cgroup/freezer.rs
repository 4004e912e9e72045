//! The freezer: every process of a pod stands still and does not notice (Documentation/admin-guide/cgroup-v2.rst,
//! `cgroup.freeze`). The supervisor goes on: it is in a group beside the pod's.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{CgroupError, PodCgroup, read, write};

/// How long processes may take to stand still; one that waits for a disk takes as long as the disk.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often they are looked at.
const PAUSE: Duration = Duration::from_millis(1);

/// Where the kernel tells of it.
const FILE: &str = "cgroup.events";

/// What stands there when every process has stopped.
const STILL: &str = "frozen 1";

impl PodCgroup {
    /// Has the pod's processes stand still, and returns when they do.
    ///
    /// # Errors
    /// [`CgroupError`]; they go on then.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        write(&self.pod, "cgroup.freeze", "1")?;
        let deadline = Instant::now() + PATIENCE;
        while !self.stands_still()? {
            if Instant::now() > deadline {
                self.thaw()?;
                let source = io::Error::new(io::ErrorKind::TimedOut, "a process does not stand still");
                return Err(CgroupError { call: "wait for the freezer".to_owned(), source });
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// [`CgroupError`].
    pub fn thaw(&self) -> Result<(), CgroupError> {
        write(&self.pod, "cgroup.freeze", "0")
    }

    /// Whether they are to stand still.
    ///
    /// # Errors
    /// [`CgroupError`].
    pub fn is_frozen(&self) -> Result<bool, CgroupError> {
        Ok(read(&self.pod, "cgroup.freeze")?.trim() == "1")
    }

    /// Whether they do stand still.
    ///
    /// # Errors
    /// [`CgroupError`].
    pub fn stands_still(&self) -> Result<bool, CgroupError> {
        Ok(read(&self.pod, FILE)?.lines().any(|line| line == STILL))
    }

    /// The file in which the kernel writes that, and tells whoever watches it so.
    #[must_use]
    pub fn events_file(&self) -> PathBuf {
        self.path.join("pod").join(FILE)
    }
}
