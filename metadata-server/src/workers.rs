//! The threads that serve connections: the main one, and more if they were asked for.

use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tracing::warn;

use crate::stream::Stream;

/// Spawns a task on the runtime of the thread that runs it.
type Job = Box<dyn FnOnce() + Send>;

/// Threads that serve connections, in turn. Each has a runtime of its own, so that a connection stays where it is.
#[derive(Debug)]
pub(crate) struct Workers {
    /// Those beside the main thread.
    others: Vec<UnboundedSender<Job>>,
    next: AtomicUsize,
}

/// A runtime for one thread.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_io().enable_time().build()
}

impl Workers {
    /// So many threads, the calling one among them. The others end when this is dropped.
    pub(crate) fn start(threads: NonZeroUsize) -> io::Result<Self> {
        let start = |_| {
            let runtime = runtime()?;
            let (sender, mut jobs) = unbounded_channel::<Job>();
            let work = move || {
                runtime.block_on(async {
                    while let Some(job) = jobs.recv().await {
                        job();
                    }
                });
            };
            std::thread::Builder::new().name("metadata".into()).spawn(work)?;
            Ok(sender)
        };
        let others = (1..threads.get()).map(start).collect::<io::Result<_>>()?;
        Ok(Self { others, next: AtomicUsize::new(0) })
    }

    /// Serves a stream on the thread whose turn it is; `started` is told how to end it.
    pub(crate) fn serve<F: Future<Output = ()> + Send + 'static>(
        &self,
        stream: Stream,
        serve: impl FnOnce(Stream) -> F + Send + 'static,
        started: impl FnOnce(AbortHandle) + Send + 'static,
    ) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % (self.others.len() + 1);
        let Some(other) = turn.checked_sub(1).and_then(|turn| self.others.get(turn)) else {
            started(tokio::spawn(serve(stream)).abort_handle());
            return;
        };
        let stream = match stream.detach() {
            Ok(stream) => stream,
            Err(error) => return warn!(%error, "cannot hand a connection over"),
        };
        let job = move || match stream.attach() {
            Ok(stream) => started(tokio::spawn(serve(stream)).abort_handle()),
            Err(error) => warn!(%error, "cannot take a connection over"),
        };
        // They end after everything else.
        let _ = other.send(Box::new(job));
    }
}
