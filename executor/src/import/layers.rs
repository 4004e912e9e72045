//! Takes the layers of an image in, side by side: downloads in this process, an extractor for each in a child.
//!
//! ```text
//! registry ─► download ─► pipe ─► ┌ child: hash ─► inflate ─► hash ─► files, recipe ┐ ─► report
//!              (async)            └ container root of the id map, two threads       ┘
//! ```
//!
//! Of a layer with a table of contents only what is missing is downloaded ([`chunked`](super::chunked)).
//!
//! What is downloaded is on no disk unless that takes long ([`spool`](super::spool)). The pipe is all there is between
//! the two, so memory is bounded whatever the image. A layer that implies directories waits at its end for those below.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::pin::pin;
use std::sync::Arc;
use std::thread::available_parallelism;

use fetch::registry::{Found, Puller, RegistryError};
use fetch::{LayerBytes, OciImage, OciLayer};
use futures_util::future::{Either, select, try_join_all};
use rustix::event::{EventfdFlags, eventfd};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use stage1::userns::Running;
use store::ingest::{IngestError, IngestReport, InputFormat};
use store::{Digest, Import, Keep, LayerKey, PendingLayer};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Sender;
use tokio::sync::Semaphore;
use tracing::debug;

use super::Images;
use super::chunked::{Piece, Plan, Shelf};
use super::intake::{compression, digest, extract};
use super::spool::Spool;
use super::writeback::Writeback;
use crate::diagnostics::warn;
use crate::error::{CommandError, Explain};
use crate::idmap;
use crate::progress::{LayerProgress, Progress};

/// The most extractors at a time: each takes up to two processors and some 10 MiB.
const MOST_EXTRACTORS: usize = 4;

/// The size of a pipe. The largest that an ordinary user may ask for (fs.pipe-max-size): few wake-ups.
const PIPE: usize = 1 << 20;

/// Read at once of what was kept.
const PIECE: usize = 256 << 10;

/// Said of a layer that was put together from the store and the registry, and is not what it should be.
const WRONG_TABLE: &str = "some of it was in the store, as its table of contents says; tell who made the image that the table is \
                           wrong";

/// Where layers that are not on this machine come from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remote<'a> {
    pub(super) puller: &'a Puller<'a>,
    pub(super) found: &'a Found,
}

/// A layer that is not stored yet.
struct Task<'i> {
    layer: &'i OciLayer,
    compressed: Digest,
    uncompressed: Digest,
    pending: PendingLayer,
    progress: LayerProgress,
}

/// Which layers are complete, and who waits for that.
struct Completion {
    done: RefCell<Vec<bool>>,
    /// For each layer what can be read when all below it are complete.
    events: Vec<Arc<OwnedFd>>,
}

impl Images {
    /// Takes in those layers of `image` that are not stored yet.
    ///
    /// # Errors
    ///
    /// The first that happens; the other extractors are ended.
    pub(super) fn take_in_layers(
        &self,
        import: &mut Import<'_>,
        image: &OciImage,
        remote: Option<Remote<'_>>,
    ) -> Result<(), CommandError> {
        let progress = Progress::new(self.progress);
        let mut tasks = Vec::new();
        for (layer, diff_id) in image.layers.iter().zip(&image.diff_ids) {
            let (compressed, uncompressed) = (digest(&layer.digest)?, digest(diff_id)?);
            let packed = Some((compressed, layer.size));
            if import.reuse_layer(&LayerKey::oci(uncompressed), &self.map, packed, self.keep_of_layers)? {
                debug!(layer = %uncompressed, "layer is already stored");
                continue;
            }
            let pending = import.new_layer(&self.map, self.owner(), self.keep_of_layers)?;
            let progress = progress.layer(&compressed, layer.size, remote.is_some());
            tasks.push(Task { layer, compressed, uncompressed, pending, progress });
        }
        let Some(first) = tasks.first() else { return Ok(()) };
        let packed = tasks.iter().fold(0, |sum: u64, task| sum.saturating_add(task.layer.size));
        let writeback = Writeback::start(&self.mapping, first.pending.root(), packed);
        let help = Help { writeback, shelf: self.shelf(&tasks, remote) };
        let work = self.take_in_all(&tasks, remote, &help);
        let reports = match remote {
            Some(remote) => remote.puller.client().block_on(work)?,
            None => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
                runtime.during(|| "start an event loop".into())?.block_on(work)?
            }
        };
        drop((progress, help));
        for (task, report) in tasks.into_iter().zip(&reports) {
            report.extracted.warnings.lines().for_each(|line| warn(&line));
            import.add_layer(task.pending, report)?;
        }
        Ok(())
    }

    /// The trees in the store, if there is a layer that may have files in common with them.
    fn shelf(&self, tasks: &[Task<'_>], remote: Option<Remote<'_>>) -> Option<Shelf> {
        // An archive that is to be kept has to come as it is.
        let useful = remote.is_some() && self.keep_of_layers == Keep::Recipe;
        (useful && tasks.iter().any(|task| task.layer.contents.is_some())).then(|| Shelf::open(&self.store, &self.map))
    }

    async fn take_in_all(
        &self,
        tasks: &[Task<'_>],
        remote: Option<Remote<'_>>,
        help: &Help,
    ) -> Result<Vec<IngestReport>, CommandError> {
        let processors = available_parallelism().map_or(2, |it| it.get().max(2));
        // One more than processors, each of which now and then waits for the disk or the registry, and the last of which
        // would work alone. They are given out in the order of the layers: one that waits for those below never keeps
        // them from beginning.
        let slots = Semaphore::new((processors + 1).min(MOST_EXTRACTORS));
        let completion = Completion::new(tasks.len())?;
        let one = async |index: usize, task: &Task<'_>| {
            let _slot = slots.acquire().await.expect("nobody closes it");
            let taken = self.take_in_one(task, &completion.events[index], remote, help).await;
            let report = taken.during(|| format!("layer {}", task.compressed))?;
            task.progress.done();
            task.pending.tell(&report).during(|| "pass owners on".into())?;
            completion.done(index)?;
            Ok(report)
        };
        try_join_all(tasks.iter().enumerate().map(|(index, task)| one(index, task))).await
    }

    async fn take_in_one(
        &self,
        task: &Task<'_>,
        below: &Arc<OwnedFd>,
        remote: Option<Remote<'_>>,
        help: &Help,
    ) -> Result<IngestReport, CommandError> {
        let plan = match (remote, &help.shelf) {
            (Some(remote), Some(shelf)) => Plan::make(remote, task.layer, shelf).await,
            _ => None,
        };
        let (input, sender) = match (&task.layer.bytes, remote) {
            (LayerBytes::File { file, start }, _) => (at(file, *start).during(|| "open the layer".into())?, None),
            (_, Some(remote)) => {
                let (input, sender) = make_pipe().during(|| "make a pipe".into())?;
                (input, Some((sender, remote)))
            }
            _ => return Err(CommandError::failed("the layer is nowhere")),
        };
        let format = InputFormat::OciLayer(compression(task.layer.media_type));
        let job = task.pending.job(input, format, self.single_id());
        let mut job = job.during(|| "copy descriptors".into())?;
        job.length = Some(plan.as_ref().map_or(task.layer.size, |plan| plan.length));
        // What is put together here is proved by the digest of the archive in it.
        job.expect_compressed = plan.is_none().then_some(task.compressed);
        job.expect_uncompressed = Some(task.uncompressed);
        job.below = job.below.until(Arc::clone(below));
        job.milestones = help.writeback.as_ref().map(Writeback::milestones);
        let running = idmap::start_in(&self.mapping, || extract(job))?;
        let Some((sender, remote)) = sender else { return answer(running).await };
        if let Some(plan) = plan {
            let answered = beside(feed_pieces(sender, remote, task, plan), running).await?;
            let report = answered.hint(|| WRONG_TABLE.into())?;
            return Ok(IngestReport { compressed: task.compressed, compressed_size: task.layer.size, ..report });
        }
        let mut spool = Spool::open(&self.store, &task.compressed, task.layer.size)?;
        // After an error of the download what there is of it stays.
        let answered = beside(feed(sender, remote, task, &mut spool), running).await?;
        // It has become a tree, or what was kept is not what it should be.
        spool.discard();
        answered
    }
}

/// What helps with all layers.
struct Help {
    writeback: Option<Writeback>,
    /// Where to look for what need not be downloaded.
    shelf: Option<Shelf>,
}

impl Completion {
    fn new(layers: usize) -> Result<Self, CommandError> {
        let event = |index| eventfd(u32::from(index == 0), EventfdFlags::CLOEXEC).map(Arc::new);
        let events = (0..layers).map(event).collect::<Result<_, _>>();
        Ok(Self { done: RefCell::new(vec![false; layers]), events: events.during(|| "make an event".into())? })
    }

    /// Tells the layers above that wait for no other.
    fn done(&self, index: usize) -> Result<(), CommandError> {
        let mut done = self.done.borrow_mut();
        done[index] = true;
        let first_missing = done.iter().position(|done| !done).unwrap_or(done.len());
        // Told twice is as good.
        for event in self.events.iter().take(first_missing + 1) {
            rustix::io::write(event, &1_u64.to_ne_bytes()).during(|| "tell of a layer's end".into())?;
        }
        Ok(())
    }
}

/// Writes what was kept of the layer into the pipe, and then what is downloaded. An extractor that is gone is no error of
/// ours: it says itself why.
async fn feed(sender: Sender, remote: Remote<'_>, task: &Task<'_>, spool: &mut Spool<'_>) -> Result<(), RegistryError> {
    let mut offset = 0;
    let mut piece = vec![0; PIECE];
    while offset < spool.resumed() {
        let length = spool.read_at(&mut piece, offset).map_err(RegistryError::Write)?;
        if length == 0 {
            break;
        }
        if !send(&sender, &piece[..length]).await.map_err(RegistryError::Write)? {
            return Ok(());
        }
        offset += length as u64;
        task.progress.received(length as u64);
    }
    drop(piece);
    let mut download = remote.puller.download(remote.found, task.layer, offset);
    while let Some(bytes) = download.chunk().await? {
        if !send(&sender, &bytes).await.map_err(RegistryError::Write)? {
            return Ok(());
        }
        spool.keep(&bytes);
        task.progress.received(bytes.len() as u64);
    }
    Ok(())
}

/// Writes the pieces of a layer into the pipe, as [`feed`] does.
async fn feed_pieces(sender: Sender, remote: Remote<'_>, task: &Task<'_>, plan: Plan) -> Result<(), RegistryError> {
    let mut bytes = Vec::new();
    for piece in plan.pieces {
        match piece {
            Piece::Missing(part) => {
                let mut download = remote.puller.download_part(remote.found, task.layer, part);
                while let Some(bytes) = download.chunk().await? {
                    if !send(&sender, &bytes).await.map_err(RegistryError::Write)? {
                        return Ok(());
                    }
                    task.progress.received(bytes.len() as u64);
                }
            }
            Piece::Stored { mut frame, packed } => {
                while frame.next(&mut bytes).map_err(RegistryError::Write)? {
                    if !send(&sender, &bytes).await.map_err(RegistryError::Write)? {
                        return Ok(());
                    }
                }
                task.progress.received(packed);
            }
        }
    }
    Ok(())
}

/// Feeds an extractor until it answers; what it says is the inner result. After an error of the feeder it is ended.
async fn beside(
    feed: impl Future<Output = Result<(), RegistryError>>,
    running: Running<Result<IngestReport, IngestError>>,
) -> Result<Result<IngestReport, CommandError>, RegistryError> {
    match select(pin!(feed), pin!(answer(running))).await {
        Either::Left((fed, answer)) => {
            fed?;
            Ok(answer.await)
        }
        Either::Right((answered, _)) => Ok(answered),
    }
}

/// Writes all of `bytes`; false if nobody reads any more.
async fn send(sender: &Sender, mut bytes: &[u8]) -> io::Result<bool> {
    while !bytes.is_empty() {
        match sender.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sender.writable().await?,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// What the child says in the end.
async fn answer(mut running: Running<Result<IngestReport, IngestError>>) -> Result<IngestReport, CommandError> {
    let watch = || -> io::Result<UnixStream> {
        let socket = std::os::unix::net::UnixStream::from(running.socket().try_clone_to_owned()?);
        socket.set_nonblocking(true)?;
        UnixStream::from_std(socket)
    };
    let socket = watch().during(|| "watch an extractor".into())?;
    loop {
        socket.readable().await.during(|| "watch an extractor".into())?;
        let read = socket.try_io(Interest::READABLE, || match running.read() {
            Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
            other => Ok(other),
        });
        match read {
            Ok(Ok(_)) => break,
            Ok(Err(error)) => return Err(error.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).during(|| "watch an extractor".into()),
        }
    }
    Ok(running.wait()??)
}

/// A pipe: the extractor's end, and ours, which does not block.
fn make_pipe() -> io::Result<(File, Sender)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    // It is as good with a smaller one, should the user have too many.
    let _ = fcntl_setpipe_size(&writer, PIPE);
    Ok((File::from(reader), Sender::from_owned_fd(writer)?))
}

/// The file at this position, with a position of its own: others read it at the same time.
fn at(file: &File, start: u64) -> io::Result<File> {
    let mut own = File::open(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))?;
    own.seek(SeekFrom::Start(start))?;
    Ok(own)
}
