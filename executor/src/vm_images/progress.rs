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
    blob: Option<(String, String, u64)>,
    received: u64,
    shown: Option<Instant>,
}

impl Told {
    /// Tells as much as was asked for.
    pub(crate) fn new(verbose: bool) -> Self {
        Self { verbose, terminal: std::io::stderr().is_terminal(), blob: None, received: 0, shown: None }
    }

    fn show(&mut self) {
        let Some((title, _, size)) = &self.blob else { return };
        let percent = if *size == 0 { 100 } else { u128::from(self.received) * 100 / u128::from(*size) };
        let megabytes = |bytes: u64| bytes / 1_000_000;
        let text = format!("\r{title}  {percent:>3} %  {} of {} MB\x1b[K", megabytes(self.received), megabytes(*size));
        output::complain(&text);
        self.shown = Some(Instant::now());
    }
}

impl Progress for Told {
    fn begin(&mut self, blob: &Descriptor, title: Option<&Title>, received: u64) {
        let title = title.map_or_else(|| blob.digest.hex()[..12].to_owned(), |it| printable(it.as_str()).into_owned());
        self.blob = Some((title, blob.digest.hex()[..12].to_owned(), blob.size));
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
        if let Some((title, digest, _)) = self.blob.take()
            && self.verbose
        {
            let _ = output::write(&format!("Downloaded {digest} {title}\n"));
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
