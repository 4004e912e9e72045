//! gzip with every processor: blocks are deflated side by side and joined into one ordinary member.
//!
//! The result depends on the input alone, not on the number of threads: blocks have a fixed size, and each is deflated
//! with the 32 KiB before it as dictionary, so that nothing of the compression is lost at the seams.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use super::blocks::Block;

/// How far back deflate can refer (RFC 1951, 2).
const WINDOW: usize = 32 << 10;

/// No name, no time, unknown system: nothing that differs from one build to the next (RFC 1952, 2.3).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// What gzip, zlib and Go use if not told otherwise.
const LEVEL: u32 = 6;

/// More threads than this have never made an image sooner: the disk and the hash are the limit then.
const MOST_THREADS: usize = 8;

/// One block to deflate, and where the result goes.
struct Job {
    block: Block,
    before: Option<Block>,
    last: bool,
    result: SyncSender<io::Result<Piece>>,
}

/// A deflated block.
struct Piece {
    deflated: Vec<u8>,
    crc: Crc,
}

/// A gzip stream being written.
pub struct Gzip<W> {
    out: W,
    written: u64,
    /// The newest block: whether it is the last one shows only when another comes or none.
    held: Option<Block>,
    before: Option<Block>,
    pending: VecDeque<Receiver<io::Result<Piece>>>,
    crc: Crc,
    threads: Threads,
}

impl<W> fmt::Debug for Gzip<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gzip").field("written", &self.written).finish_non_exhaustive()
    }
}

/// The threads that deflate, and the queue they take work from.
struct Threads {
    jobs: Option<SyncSender<Job>>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// One for each processor; none where there is one only, or none may be started.
    fn start() -> Self {
        let count = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        let (jobs, queue) = sync_channel::<Job>(count);
        let queue = Arc::new(Mutex::new(queue));
        let spawn = |_| {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name("deflate".to_owned()).spawn(move || work(&queue)).ok()
        };
        let handles: Vec<_> = if count > 1 { (0..count).filter_map(spawn).collect() } else { Vec::new() };
        Self { jobs: (!handles.is_empty()).then_some(jobs), handles }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Without the queue's other end they finish what they have and leave.
        self.jobs = None;
        for handle in self.handles.drain(..) {
            let _ = handle.join();
        }
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let piece = deflate(&job.block, job.before.as_deref(), job.last);
        // Whoever waits for it may have failed meanwhile.
        let _ = job.result.send(piece);
    }
}

/// Deflates one block so that it ends on a whole byte, and the stream with it if it is the last.
fn deflate(block: &[u8], before: Option<&Vec<u8>>, last: bool) -> io::Result<Piece> {
    // One that was used before and reset does not always make the same of the same bytes.
    let mut compress = Compress::new(Compression::new(LEVEL), false);
    if let Some(before) = before {
        compress.set_dictionary(&before[before.len().saturating_sub(WINDOW)..])?;
    }
    let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut deflated = Vec::with_capacity(block.len() / 2 + 1024);
    loop {
        let taken = usize::try_from(compress.total_in()).map_err(io::Error::other)?;
        let status = compress.compress_vec(&block[taken..], &mut deflated, flush)?;
        let finished = match status {
            Status::StreamEnd => true,
            // Room to spare is how zlib says that all is flushed.
            _ => !last && compress.total_in() == block.len() as u64 && deflated.len() < deflated.capacity(),
        };
        if finished {
            let mut crc = Crc::new();
            crc.update(block);
            return Ok(Piece { deflated, crc });
        }
        deflated.reserve(deflated.capacity() / 2 + 64);
    }
}

impl<W: Write> Gzip<W> {
    /// Begins a stream.
    ///
    /// # Errors
    /// Those of writing.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&HEADER)?;
        Ok(Self {
            out,
            written: HEADER.len() as u64,
            held: None,
            before: None,
            pending: VecDeque::new(),
            crc: Crc::new(),
            threads: Threads::start(),
        })
    }

    /// Adds a block. All but the last must have the same size for the result to depend on the input alone.
    ///
    /// # Errors
    /// Those of writing.
    pub fn push(&mut self, block: Block) -> io::Result<()> {
        match self.held.replace(block) {
            Some(held) => self.submit(held, false),
            None => Ok(()),
        }
    }

    /// Ends the stream; returns what it was written to and the number of bytes.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        let last = self.held.take().unwrap_or_default();
        self.submit(last, true)?;
        while self.collect()? {}
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        self.out.write_all(&self.crc.amount().to_le_bytes())?;
        Ok((self.out, self.written + 8))
    }

    fn submit(&mut self, block: Block, last: bool) -> io::Result<()> {
        let before = self.before.replace(Arc::clone(&block));
        let Some(jobs) = &self.threads.jobs else {
            let piece = deflate(&block, before.as_deref(), last)?;
            return self.write(&piece);
        };
        let (result, receive) = sync_channel(1);
        jobs.send(Job { block, before, last, result }).map_err(|_| gone())?;
        self.pending.push_back(receive);
        // Enough to keep everybody busy, few enough to keep memory small.
        while self.pending.len() > 2 * self.threads.handles.len() {
            self.collect()?;
        }
        Ok(())
    }

    /// Waits for the oldest block and writes it; whether there was one.
    fn collect(&mut self) -> io::Result<bool> {
        let Some(oldest) = self.pending.pop_front() else { return Ok(false) };
        let piece = oldest.recv().map_err(|_| gone())??;
        self.write(&piece).map(|()| true)
    }

    fn write(&mut self, piece: &Piece) -> io::Result<()> {
        self.crc.combine(&piece.crc);
        self.written += piece.deflated.len() as u64;
        self.out.write_all(&piece.deflated)
    }
}

fn gone() -> io::Error {
    io::Error::other("a thread that compresses ended early")
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn pack(input: &[u8], block: usize, threads: bool) -> Vec<u8> {
        let mut gzip = Gzip::new(Vec::new()).unwrap();
        if !threads {
            gzip.threads.jobs = None;
        }
        for piece in input.chunks(block) {
            gzip.push(Arc::new(piece.to_vec())).unwrap();
        }
        let (packed, written) = gzip.finish().unwrap();
        assert_eq!(packed.len() as u64, written);
        packed
    }

    fn unpack(packed: &[u8]) -> Vec<u8> {
        let mut decoder = flate2::read::GzDecoder::new(packed);
        let mut unpacked = Vec::new();
        decoder.read_to_end(&mut unpacked).unwrap();
        unpacked
    }

    /// Text that compresses, with matches across every seam.
    fn text(length: usize) -> Vec<u8> {
        (0..).flat_map(|n: u32| format!("{} the quick brown fox {}\n", n, n % 97).into_bytes()).take(length).collect()
    }

    #[test]
    fn one_member_whatever_the_threads() {
        for length in [0, 1, 99_999, 100_000, 100_001, 1_234_567] {
            let input = text(length);
            let packed = pack(&input, 100_000, true);
            assert!(unpack(&packed) == input, "{length}");
            assert!(packed == pack(&input, 100_000, false), "{length}");
        }
    }

    #[test]
    fn the_seams_cost_next_to_nothing() {
        let input = text(2_000_000);
        let (whole, blocks) = (pack(&input, input.len(), true).len(), pack(&input, 1 << 17, true).len());
        assert!(blocks < whole + whole / 100, "{blocks} against {whole}");
    }

    #[test]
    fn noise_is_stored() {
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(500_000)
        .collect();
        let packed = pack(&noise, 1 << 17, true);
        assert!(packed.len() < noise.len() + 1000);
        assert!(unpack(&packed) == noise);
    }

    #[test]
    fn a_full_disk_is_an_error() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if bytes.len() == HEADER.len() { Ok(bytes.len()) } else { Err(io::ErrorKind::StorageFull.into()) }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut gzip = Gzip::new(Full).unwrap();
        let block = Arc::new(vec![7; 1 << 16]);
        let failed = (0..100).find_map(|_| gzip.push(Arc::clone(&block)).err());
        assert_eq!(failed.expect("it must show").kind(), io::ErrorKind::StorageFull);
    }
}
