//! Has the disk write what extractors have made while they make more.
//!
//! A fetch ends with syncfs. Left alone, the kernel begins to write half a minute after the first byte, so that the end
//! would wait for all of an image while the processors idle. A child process calls syncfs whenever [`STRETCH`] more bytes
//! were extracted. What makes an image durable is the call at its commit, as before: an error here is met again there,
//! because each descriptor of a file system hears of all errors since it was opened.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::syncfs;
use stage1::idmap::IdMapping;
use stage1::userns::Running;
use store::ingest::Milestones;
use tracing::debug;

use crate::error::{CommandError, Explain};
use crate::idmap;

/// Extracted bytes between two calls. Each may wait for the file system's journal: fewer bytes, more waiting.
const STRETCH: u64 = 48 << 20;

/// Packed bytes from which on a process for it costs less than it saves.
const LARGE: u64 = 24 << 20;

/// The child process. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Writeback {
    event: Arc<OwnedFd>,
    _running: Running<()>,
}

impl Writeback {
    /// Begins for the file system that `directory` is on, where `packed` bytes are worth it; where there can be no further
    /// process it is done without. To be called before there are pipes to extractors: the child would keep them open.
    pub(super) fn start(mapping: &IdMapping, directory: BorrowedFd<'_>, packed: u64) -> Option<Self> {
        if packed < LARGE {
            return None;
        }
        let started = Self::start_child(mapping, directory);
        started.inspect_err(|error| debug!(error = error.chain(), "nothing is written ahead")).ok()
    }

    fn start_child(mapping: &IdMapping, directory: BorrowedFd<'_>) -> Result<Self, CommandError> {
        let open =
            || -> io::Result<_> { Ok((Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?), directory.try_clone_to_owned()?)) };
        let (event, directory) = open().during(|| "write ahead".into())?;
        let told = Arc::clone(&event);
        let write = move || {
            // However often it was told meanwhile.
            while matches!(rustix::io::read(told.as_fd(), &mut [0; 8]), Ok(8)) {
                let _ = syncfs(&directory);
            }
        };
        Ok(Self { event, _running: idmap::start_in(mapping, write)? })
    }

    /// What an extractor is to say.
    pub(super) fn milestones(&self) -> Milestones {
        Milestones { every: STRETCH, event: Arc::clone(&self.event) }
    }
}
