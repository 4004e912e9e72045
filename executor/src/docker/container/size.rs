//! How large a container is.

use std::fmt;

use pod::Pods;
use rustix::fs::{Mode, OFlags, openat};
use stage1::idmap::IdMapping;
use store::Store;

use super::Container;
use crate::disk_usage;
use crate::docker::size;

/// Bytes of files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// What it has written over its image.
    pub(crate) written: u64,
    /// That, and its image.
    pub(crate) whole: u64,
}

impl Size {
    /// Reads it; what cannot be read counts nothing.
    pub(crate) fn of(container: &Container, pods: &Pods, store: &Store, mapping: &IdMapping) -> Self {
        let image = container.image_id().and_then(|id| store.record(&id).ok().flatten()).map_or(0, |image| image.size);
        let written = || {
            let pod = pods.open(&container.entry).ok()?;
            let upper = format!("upper.{}", container.first()?.0.name);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let upper = openat(pod.dir(), upper, flags, Mode::empty()).ok()?;
            Some(disk_usage::below(std::os::fd::AsFd::as_fd(&upper), mapping))
        };
        let written = written().unwrap_or(0);
        Self { written, whole: image + written }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (virtual {})", size(self.written), size(self.whole))
    }
}
