//! One connection, from accept to close.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::debug;

use super::answer;
use super::guard::Guard;
use super::request::Visit;
use super::watch::{Progress, Watch};

/// How often a connection is looked at. Whoever stands still from one look to the next, but one, has had at least this
/// long and at most twice as long to send the rest of a request or to take an answer.
const LOOK: Duration = Duration::from_millis(2500);

/// Looks without any progress after which the client is given up.
const SLOW_LOOKS: u32 = 2;

/// Looks after which a connection that nobody uses is closed: a minute.
const IDLE_LOOKS: u32 = 24;

/// Largest head: request line and fields. hyper answers 431 to larger ones.
const MAX_HEAD: usize = 16 * 1024;

/// Fields of a request. hyper answers 431 to more.
const MAX_FIELDS: usize = 64;

/// How long a client may go on sending after the last answer, and how many bytes, until the connection is closed under it.
const LINGER: Duration = Duration::from_secs(1);
const MAX_WASTE: usize = 2 * 1024 * 1024;

/// How a look at a connection turned out.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    GoOn,
    /// Closed without a word.
    Idle,
    /// A request or an answer takes too long.
    Slow,
}

/// Looks at a connection from time to time.
#[derive(Debug, Default)]
struct Patience {
    last: Progress,
    looks: u32,
}

impl Patience {
    fn look(&mut self, watch: &Watch) -> Verdict {
        let now = watch.progress();
        if now != std::mem::replace(&mut self.last, now) {
            self.looks = 0;
        }
        self.looks += 1;
        match watch.is_idle() {
            true if self.looks >= IDLE_LOOKS => Verdict::Idle,
            false if self.looks > SLOW_LOOKS => Verdict::Slow,
            _ => Verdict::GoOn,
        }
    }
}

/// Serves a stream until either side has enough of it.
pub(crate) async fn serve<S>(stream: S, visit: Visit, watch: Arc<Watch>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut http = http1::Builder::new();
    http.max_buf_size(MAX_HEAD).max_headers(MAX_FIELDS).half_close(true);
    let mut connection = http.serve_connection(Guard::new(stream, watch.clone()), visit);
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut patience = Patience::default();
    let verdict = poll_fn(|cx| {
        if let Poll::Ready(end) = connection.poll_without_shutdown(cx) {
            if let Err(error) = end {
                debug!(%error, "connection ended");
            }
            return Poll::Ready(None);
        }
        while looks.poll_tick(cx).is_ready() {
            match patience.look(&watch) {
                Verdict::GoOn => {}
                verdict => return Poll::Ready(Some(verdict)),
            }
        }
        Poll::Pending
    })
    .await;
    let mut stream = connection.into_parts().io.into_inner();
    if verdict == Some(Verdict::Slow) && watch.is_amid_request() {
        let farewell = answer::TIMEOUT.raw();
        // At once or not at all: a client that does not read is not waited for.
        let written = poll_fn(|cx| Poll::Ready(Pin::new(&mut stream).poll_write(cx, farewell.as_bytes()))).await;
        debug!(?written, "gave up a slow client");
    }
    if verdict != Some(Verdict::Idle) {
        let _ = timeout(LINGER, linger(stream)).await;
    }
}

/// Closes a connection in such a way that the client gets the last answer: the kernel resets a connection that is
/// closed with something unread in it, and a reset takes away what the client has not read yet.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    if poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx)).await.is_err() {
        return;
    }
    let mut waste = [0; 4096];
    for _ in 0..MAX_WASTE / waste.len() {
        let mut buffer = ReadBuf::new(&mut waste);
        match poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut buffer)).await {
            Ok(()) if !buffer.filled().is_empty() => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(watch: &Watch, patience: &mut Patience, mut before: impl FnMut(u32)) -> (u32, Verdict) {
        for n in 1.. {
            before(n);
            match patience.look(watch) {
                Verdict::GoOn => {}
                verdict => return (n, verdict),
            }
        }
        unreachable!("the loop has no end")
    }

    #[test]
    fn a_slow_request_is_given_up_however_many_of_its_bytes_trickle_in() {
        let watch = Watch::default();
        assert_eq!(looks(&watch, &mut Patience::default(), |_| watch.read(0, true)), (3, Verdict::Slow));
    }

    #[test]
    fn an_idle_connection_is_closed_after_a_minute() {
        assert_eq!(looks(&Watch::default(), &mut Patience::default(), |_| ()), (IDLE_LOOKS, Verdict::Idle));
    }

    #[test]
    fn each_request_starts_the_time_anew() {
        let watch = Watch::default();
        let end = looks(&watch, &mut Patience::default(), |n| match n {
            ..=100 => {
                watch.read(1, n % 2 == 0);
                watch.answered();
            }
            _ => watch.read(0, true),
        });
        assert_eq!(end, (102, Verdict::Slow));
    }

    #[test]
    fn an_answer_that_nobody_reads_is_given_up() {
        let watch = Watch::default();
        watch.read(1, false);
        watch.answered();
        watch.wrote(false);
        let (n, verdict) = looks(&watch, &mut Patience::default(), |_| ());
        assert_eq!((n, verdict), (3, Verdict::Slow));
    }
}
