//! What is told while blobs are on their way: a line that moves on a terminal, and the original's lines with `--verbose`.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use eci::{Descriptor, Progress, Title};

use crate::escape::printable;
use crate::output;

/// How often the line on a terminal moves.
const PERIOD: Duration = Duration::from_millis(100);

/// The blob under way, and whom it is told.
#[derive(Debug)]
pub(crate) struct Told {
    verbose: bool,
    terminal: bool,
    blob: Option<Blob>,
    received: u64,
    shown: Option<Instant>,
}

/// A blob under way.
#[derive(Debug)]
struct Blob {
    /// Its title; of a layer without one, which is a part of a file system, the beginning of its digest.
    name: String,
    /// The original's line for a blob that has a title.
    line: Option<String>,
    size: u64,
}

impl Told {
    /// Tells as much as was asked for.
    pub(crate) fn new(verbose: bool) -> Self {
        Self { verbose, terminal: std::io::stderr().is_terminal(), blob: None, received: 0, shown: None }
    }

    fn show(&mut self) {
        let Some(Blob { name, size, .. }) = &self.blob else { return };
        let percent = if *size == 0 { 100 } else { u128::from(self.received) * 100 / u128::from(*size) };
        let megabytes = |bytes: u64| bytes / 1_000_000;
        let text = format!("\r{name}  {percent:>3} %  {} of {} MB\x1b[K", megabytes(self.received), megabytes(*size));
        output::complain(&text);
        self.shown = Some(Instant::now());
    }
}

impl Progress for Told {
    fn begin(&mut self, blob: &Descriptor, title: Option<&Title>, received: u64) {
        let digest = &blob.digest.hex()[..12];
        let title = title.map(|it| printable(it.as_str()).into_owned());
        let line = title.as_ref().map(|it| format!("Downloaded {digest} {it}\n"));
        self.blob = Some(Blob { name: title.unwrap_or_else(|| digest.to_owned()), line, size: blob.size });
        self.received = received;
        self.shown = None;
    }

    fn advance(&mut self, bytes: u64) {
        self.received += bytes;
        if self.terminal && self.shown.is_none_or(|it| it.elapsed() >= PERIOD) {
            self.show();
        }
    }

    fn end(&mut self) {
        if self.terminal {
            self.show();
            output::complain("\n");
        }
        let line = self.blob.take().and_then(|it| it.line);
        if let Some(line) = line.filter(|_| self.verbose) {
            // If standard output takes nothing, what the command says at its end will fail as well.
            let _ = output::write(&line);
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // An error's line begins at the left.
        if self.terminal && self.blob.is_some() && self.shown.is_some() {
            output::complain("\n");
        }
    }
}
