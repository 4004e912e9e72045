//! A part of a file as the body of a request.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::request::Sent;

/// Read at once. Reading blocks the event loop; files are local, and so large a piece keeps one connection busy.
const PIECE: usize = 128 << 10;

/// What a hole has. Not a part of the program, which has enough to load.
static ZEROS: LazyLock<Bytes> = LazyLock::new(|| vec![0; PIECE].into());

/// Reads a part of a file. Its holes are sent without being read.
#[derive(Debug)]
pub(super) struct FileBody {
    file: Arc<File>,
    /// Where the next piece begins.
    at: u64,
    /// How many bytes are left.
    left: u64,
    /// How many bytes there are.
    length: u64,
    /// Up to here it is known whether there is data or a hole.
    known: u64,
    hole: bool,
    sent: Option<Sent>,
}

impl FileBody {
    /// The `length` bytes of `file` from `start`.
    pub(super) fn new(file: Arc<File>, start: u64, length: u64, sent: Option<Sent>) -> Self {
        Self { file, at: start, left: length, length, known: start, hole: false, sent }
    }

    fn piece(&mut self) -> io::Result<Bytes> {
        if self.at == self.known {
            self.look();
        }
        let most = self.left.min(self.known - self.at);
        let size = usize::try_from(most).unwrap_or(PIECE).min(PIECE);
        let bytes = if self.hole {
            ZEROS.slice(..size)
        } else {
            let mut buffer = vec![0; size];
            self.file.read_exact_at(&mut buffer, self.at)?;
            buffer.into()
        };
        self.at += size as u64;
        self.left -= size as u64;
        if let Some(sent) = &self.sent {
            sent.set(self.length - self.left);
        }
        Ok(bytes)
    }

    /// Finds out what follows. Where the file system does not tell, and behind the end, it is data.
    fn look(&mut self) {
        let end = self.at + self.left;
        (self.known, self.hole) = match seek(&self.file, SeekFrom::Data(self.at)) {
            Ok(data) if data > self.at => (data.min(end), true),
            Ok(_) => match seek(&self.file, SeekFrom::Hole(self.at)) {
                Ok(hole) if hole > self.at => (hole.min(end), false),
                _ => (end, false),
            },
            // Nothing but a hole up to the end of the file, which may be before the end of the part.
            Err(Errno::NXIO) => match self.file.metadata() {
                Ok(meta) if meta.len() > self.at => (meta.len().min(end), true),
                _ => (end, false),
            },
            Err(_) => (end, false),
        };
    }
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(self.piece().map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of the body, and how many bytes of it were taken for holes.
    fn all(body: &mut FileBody) -> io::Result<(Vec<u8>, u64)> {
        let (mut bytes, mut holes) = (Vec::new(), 0);
        while body.left > 0 {
            let piece = body.piece()?;
            holes += if body.hole { piece.len() as u64 } else { 0 };
            bytes.extend_from_slice(&piece);
        }
        Ok((bytes, holes))
    }

    #[test]
    fn holes_are_sent_unread() {
        let file = tempfile::tempfile_in("/var/tmp").expect("a file");
        file.set_len(9_000_000).expect("it is ours");
        for (at, bytes) in [(0, 10), (3_000_000, 300_000), (8_999_999, 1)] {
            file.write_all_at(&vec![7; bytes], at).expect("it is ours");
        }
        let content = std::fs::read(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file)));
        let content = content.expect("it is ours");
        let file = Arc::new(file);
        for (start, end) in [(0, 9_000_000), (5, 3_000_001), (4_000_000, 8_000_000), (7, 7)] {
            let sent = Sent::default();
            let mut body = FileBody::new(Arc::clone(&file), start as u64, (end - start) as u64, Some(sent.clone()));
            let (bytes, holes) = all(&mut body).expect("it is all there");
            assert!(bytes == content[start..end], "{start}-{end}");
            assert_eq!(sent.bytes(), (end - start) as u64);
            assert!(end < 8_000_000 || holes >= 3_900_000, "{holes} of {start}-{end}");
        }
        // A file that ends early is an error, not zeros.
        assert!(all(&mut FileBody::new(file, 8_000_000, 2_000_000, None)).is_err());
    }
}
