//! A part of a file as the body of a request.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// Read at once. Reading blocks the event loop; files are local, and so large a piece keeps one connection busy.
const PIECE: u64 = 128 << 10;

/// Reads `length` bytes of `file` from `start`.
#[derive(Debug)]
pub(super) struct FileBody {
    pub(super) file: Arc<File>,
    pub(super) start: u64,
    pub(super) length: u64,
}

impl FileBody {
    fn piece(&mut self) -> io::Result<Bytes> {
        let mut buffer = vec![0; usize::try_from(self.length.min(PIECE)).expect("a piece is small")];
        self.file.read_exact_at(&mut buffer, self.start)?;
        self.start += buffer.len() as u64;
        self.length -= buffer.len() as u64;
        Ok(buffer.into())
    }
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.length == 0 {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(self.piece().map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.length == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
