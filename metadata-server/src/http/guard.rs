//! A stream that is watched while hyper reads and writes it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::Framing;
use super::watch::Watch;

/// How much is read at once: requests are small, and a hundred pipelined ones fit.
const CHUNK: usize = 4096;

/// The stream of a connection.
#[derive(Debug)]
pub(crate) struct Guard<S> {
    stream: S,
    framing: Framing,
    watch: Arc<Watch>,
}

impl<S> Guard<S> {
    pub(crate) fn new(stream: S, watch: Arc<Watch>) -> Self {
        Self { stream, framing: Framing::new(), watch }
    }

    /// The stream itself.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> Read for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // By way of a buffer of our own: hyper's can only be appended to without unsafe code.
        let mut space = [0; CHUNK];
        let room = cursor.remaining().min(CHUNK);
        let mut buffer = ReadBuf::new(&mut space[..room]);
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buffer))?;
        let whole = this.framing.read(buffer.filled_mut());
        this.watch.read(whole, this.framing.is_amid());
        cursor.put_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Guard<S> {
    fn wrote<T>(&self, result: Poll<T>) -> Poll<T> {
        self.watch.wrote(result.is_ready());
        result
    }
}

impl<S: AsyncWrite + Unpin> Write for Guard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
