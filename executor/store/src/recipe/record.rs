//! Writes a recipe while the archive is extracted.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};

use super::{END, FILE, LITERAL, PIECE, REPLACED, VERSION, push_number};

use crate::buffered;

/// Headers compress to a twentieth at any level; the fastest costs the least beside an extraction.
const LEVEL: i32 = 1;

/// Takes down what passes. The reader of the archive and the extractor both hold it: the one reports bytes, the other
/// says whose content they are.
pub(crate) struct Recorder {
    state: RefCell<State>,
}

struct State {
    out: zstd::stream::write::Encoder<'static, Counted>,
    literal: Vec<u8>,
    /// The file whose content passes, where that begins in it, and how much of it has passed.
    content: Option<(Vec<u8>, u64, u64)>,
    total: u64,
    fault: Option<io::Error>,
}

impl Recorder {
    /// A recorder that writes to the empty file `out`.
    pub(crate) fn new(out: File) -> io::Result<Self> {
        let mut out = zstd::stream::write::Encoder::new(Counted { file: out, bytes: 0 }, LEVEL)?;
        out.include_checksum(true)?;
        out.write_all(&[VERSION])?;
        let state = State { out, literal: Vec::with_capacity(PIECE), content: None, total: 0, fault: None };
        Ok(Self { state: RefCell::new(state) })
    }

    /// What passes from now on is the content of the file `path`, from `offset` on.
    pub(crate) fn begin(&self, path: &[u8], offset: u64) {
        let mut state = self.state.borrow_mut();
        state.flush();
        state.content = Some((path.to_vec(), offset, 0));
    }

    /// The content has passed.
    pub(crate) fn end(&self) {
        let mut state = self.state.borrow_mut();
        if let Some((path, offset, length)) = state.content.take()
            && length > 0
        {
            let mut step = vec![FILE];
            push_number(&mut step, path.len() as u64);
            step.extend_from_slice(&path);
            push_number(&mut step, offset);
            push_number(&mut step, length);
            state.write(&step);
        }
    }

    /// The file `path` is about to be replaced: its content is kept here.
    pub(crate) fn replaced(&self, path: &[u8], file: &mut File) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        state.flush();
        let length = file.metadata()?.len();
        if length == 0 {
            return Ok(());
        }
        let mut step = vec![REPLACED];
        push_number(&mut step, path.len() as u64);
        step.extend_from_slice(path);
        push_number(&mut step, length);
        state.write(&step);
        let copied = io::copy(&mut file.take(length), &mut state.out)?;
        if copied == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Completes the recipe; returns its size in bytes.
    pub(crate) fn finish(self) -> io::Result<u64> {
        let mut state = self.state.into_inner();
        state.flush();
        let mut step = vec![END];
        push_number(&mut step, state.total);
        state.write(&step);
        match state.fault {
            Some(fault) => Err(fault),
            None => Ok(state.out.finish()?.bytes),
        }
    }

    fn passed(&self, bytes: &[u8]) {
        let mut state = self.state.borrow_mut();
        state.total += bytes.len() as u64;
        if let Some((_, _, length)) = &mut state.content {
            *length += bytes.len() as u64;
            return;
        }
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let taken = bytes.len().min(PIECE - state.literal.len());
            state.literal.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if state.literal.len() == PIECE {
                state.flush();
            }
        }
    }
}

impl State {
    fn flush(&mut self) {
        if self.literal.is_empty() {
            return;
        }
        let mut step = vec![LITERAL];
        push_number(&mut step, self.literal.len() as u64);
        self.write(&step);
        let literal = std::mem::take(&mut self.literal);
        self.write(&literal);
        self.literal = literal;
        self.literal.clear();
    }

    /// The first error is remembered: bytes pass where none can be returned.
    fn write(&mut self, bytes: &[u8]) {
        if self.fault.is_none() {
            self.fault = self.out.write_all(bytes).err();
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("passed", &self.state.borrow().total).finish_non_exhaustive()
    }
}

/// A file, and how much was written to it.
struct Counted {
    file: File,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The archive on its way to the extractor: reports what is consumed, if there is a recorder.
#[derive(Debug)]
pub(crate) struct Recorded<'r, R> {
    inner: R,
    recorder: Option<&'r Recorder>,
}

impl<'r, R: BufRead> Recorded<'r, R> {
    pub(crate) fn new(inner: R, recorder: Option<&'r Recorder>) -> Self {
        Self { inner, recorder }
    }

    /// Reads what is left, for the recipe.
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        loop {
            let length = match self.fill_buf() {
                Ok(bytes) => bytes.len(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if length == 0 {
                return Ok(());
            }
            self.consume(length);
        }
    }
}

impl<R: BufRead> BufRead for Recorded<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if let Some(recorder) = self.recorder
            && let Ok(bytes) = self.inner.fill_buf()
        {
            recorder.passed(&bytes[..amount]);
        }
        self.inner.consume(amount);
    }
}

impl<R: BufRead> Read for Recorded<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        buffered::read(self, into)
    }
}
