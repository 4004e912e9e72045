//! One pass over an archive: inflate, hash, and hand the bytes to whoever wants them.

use std::fs::{File, Metadata};
use std::io::{self, BufRead};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::chunks::Chunks;
use super::error::IngestError;
use super::pump::Pump;
use super::source::Source;
use crate::digest::{Algorithm, Digest};

/// Inputs up to this size are taken in by one thread: starting another takes longer than it saves.
const SMALL: u64 = 1 << 20;

/// Chunks between inflating and visiting. Each is 256 KiB; a burst of small files must not stall the inflater.
const CHUNKS: usize = 16;

/// What the visitor made of the bytes, the digest of all of them, and their number.
pub(super) type Outcome<T, E> = Result<(T, Digest, u64), E>;

/// Whether one thread is enough for this input.
pub(super) fn is_small(input: &File, length: Option<u64>) -> bool {
    let of_file = || input.metadata().ok().filter(Metadata::is_file).map(|metadata| metadata.len());
    length.or_else(of_file).is_some_and(|length| length <= SMALL)
}

/// Lets `visit` read the uncompressed bytes, then reads what it left, for the digest.
///
/// An error of the stream counts more than what the visitor made of it; a visitor that stops for a reason of its own
/// ends the pass with that.
pub(super) fn pass<T, E: From<IngestError>>(
    pump: Pump,
    small: bool,
    algorithm: Algorithm,
    visit: impl FnOnce(&mut dyn BufRead) -> Result<T, E>,
) -> (Source, Outcome<T, E>) {
    if small { alone(pump, algorithm, visit) } else { beside(pump, algorithm, visit) }
}

/// Everything in this thread.
fn alone<T, E: From<IngestError>>(
    mut pump: Pump,
    algorithm: Algorithm,
    visit: impl FnOnce(&mut dyn BufRead) -> Result<T, E>,
) -> (Source, Outcome<T, E>) {
    let mut fault = None;
    let outcome = consume(algorithm, visit, |chunk| {
        pump.next(chunk).map_err(|error| {
            fault = Some(error);
            stopped()
        })
    });
    let outcome = fault.map_or(outcome, |fault| Err(fault.into()));
    (pump.into_source(), outcome)
}

/// Reading and inflating in a thread of their own.
fn beside<T, E: From<IngestError>>(
    pump: Pump,
    algorithm: Algorithm,
    visit: impl FnOnce(&mut dyn BufRead) -> Result<T, E>,
) -> (Source, Outcome<T, E>) {
    // The pump waits here until it is known whether there is a thread for it.
    let (hand_over, pick_up) = sync_channel::<Pump>(1);
    let (full, chunks) = sync_channel(CHUNKS);
    let (used, empty) = sync_channel(CHUNKS + 1);
    thread::scope(|scope| {
        let inflate = move || pick_up.recv().ok().map(|pump| inflate(pump, &full, &empty));
        let Ok(inflater) = thread::Builder::new().name("inflate".to_owned()).spawn_scoped(scope, inflate) else {
            // At the limit of processes: slower, but it works.
            return alone(pump, algorithm, visit);
        };
        hand_over.send(pump).expect("the thread waits for exactly this");
        let mut starved = false;
        let outcome = consume(algorithm, visit, |chunk| {
            // Errors of the other thread are reported by it; here its end without a word is enough.
            let next = chunks.recv().map_err(|_| {
                starved = true;
                stopped()
            })?;
            // A full return channel only means that a chunk is allocated anew.
            let _ = used.try_send(std::mem::replace(chunk, next));
            Ok(())
        });
        // Where the visitor stopped the inflater must not wait for room.
        drop(chunks);
        let (source, inflated) =
            inflater.join().expect("the inflater does not panic").expect("the pump was handed over");
        // What the inflater met further on does not matter to a visitor that had stopped before.
        let outcome = match inflated {
            Err(fault) if starved || outcome.is_ok() => Err(fault.into()),
            _ => outcome,
        };
        (source, outcome)
    })
}

/// The inflater's thread: ends at the end of the stream, at an error, or when nobody takes the chunks any more.
fn inflate(mut pump: Pump, full: &SyncSender<Vec<u8>>, empty: &Receiver<Vec<u8>>) -> (Source, Result<(), IngestError>) {
    loop {
        let mut chunk = empty.try_recv().unwrap_or_default();
        if let Err(error) = pump.next(&mut chunk) {
            return (pump.into_source(), Err(error));
        }
        let last = chunk.is_empty();
        if full.send(chunk).is_err() || last {
            return (pump.into_source(), Ok(()));
        }
    }
}

fn consume<T, E: From<IngestError>>(
    algorithm: Algorithm,
    visit: impl FnOnce(&mut dyn BufRead) -> Result<T, E>,
    next: impl FnMut(&mut Vec<u8>) -> io::Result<()>,
) -> Outcome<T, E> {
    let mut chunks = Chunks::new(algorithm, next);
    let seen = visit(&mut chunks)?;
    let (digest, size) = chunks.finish().map_err(|error| IngestError::Read((&error).into()))?;
    Ok((seen, digest, size))
}

fn stopped() -> io::Error {
    io::Error::other("the stream stopped")
}
