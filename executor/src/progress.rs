//! How far downloads are: bars on a terminal, a line for each elsewhere, JSON on request. All of it on stderr.

use std::cell::Cell;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use store::Digest;

use crate::size;

/// `--progress`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ProgressForm {
    /// Bars on a terminal, else lines
    #[default]
    Auto,
    /// A bar for each layer
    Bar,
    /// A line for each layer, when it is there
    Plain,
    /// A JSON object for each event
    Json,
    /// Nothing
    None,
}

/// How often bytes are told of in JSON.
const INTERVAL: Duration = Duration::from_millis(200);

/// The progress of one image.
#[derive(Debug)]
pub(crate) struct Progress {
    form: ProgressForm,
    bars: MultiProgress,
}

/// The progress of one layer.
#[derive(Debug)]
pub(crate) struct LayerProgress {
    form: ProgressForm,
    layer: String,
    size: u64,
    received: Cell<u64>,
    begin: Instant,
    told: Cell<Instant>,
    bar: Option<ProgressBar>,
}

/// One line of JSON.
#[derive(Serialize)]
struct Event<'a> {
    event: &'static str,
    layer: &'a str,
    received: u64,
    size: u64,
}

impl Progress {
    /// Progress in this form.
    pub(crate) fn new(form: ProgressForm) -> Self {
        let form = match form {
            ProgressForm::Auto if io::stderr().is_terminal() => ProgressForm::Bar,
            ProgressForm::Auto => ProgressForm::Plain,
            given => given,
        };
        Self { form, bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()) }
    }

    /// A layer of `size` bytes. One that is on this machine already is not worth telling of.
    pub(crate) fn layer(&self, digest: &Digest, size: u64, downloaded: bool) -> LayerProgress {
        let form = if downloaded { self.form } else { ProgressForm::None };
        let bar = (form == ProgressForm::Bar).then(|| {
            let bar = self.bars.add(ProgressBar::new(size).with_style(style()));
            bar.set_message(format!("{}:{}", digest.algorithm().name(), &digest.hex()[..12]));
            bar
        });
        let (received, begin) = (Cell::new(0), Instant::now());
        let it = LayerProgress { form, layer: digest.to_string(), size, received, begin, told: Cell::new(begin), bar };
        it.tell("begin");
        it
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // What is said next begins on a line of its own; an error to write it will show there.
        let _ = self.bars.clear();
    }
}

impl LayerProgress {
    /// So many more bytes are there.
    pub(crate) fn received(&self, bytes: u64) {
        self.received.set(self.received.get() + bytes);
        if let Some(bar) = &self.bar {
            bar.set_position(self.received.get());
        }
        if self.told.get().elapsed() >= INTERVAL {
            self.told.set(Instant::now());
            self.tell("progress");
        }
    }

    /// The layer is there and unpacked.
    pub(crate) fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
        self.tell("done");
        if self.form == ProgressForm::Plain {
            let seconds = self.begin.elapsed().as_secs_f64();
            let line = format!("proa: layer {}: {} in {seconds:.1} s\n", short(&self.layer), size::binary(self.size));
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }

    fn tell(&self, event: &'static str) {
        if self.form != ProgressForm::Json {
            return;
        }
        let event = Event { event, layer: &self.layer, received: self.received.get(), size: self.size };
        let mut line = serde_json::to_vec(&event).expect("it has no map");
        line.push(b'\n');
        let _ = io::stderr().write_all(&line);
    }
}

/// A digest as people compare them.
fn short(digest: &str) -> &str {
    digest.get(..digest.find(':').map_or(12, |colon| colon + 13)).unwrap_or(digest)
}

fn style() -> ProgressStyle {
    let template = "{msg} [{bar:30}] {bytes:>11}/{total_bytes:<11} {binary_bytes_per_sec}";
    ProgressStyle::with_template(template).expect("the template is good").progress_chars("=> ")
}
