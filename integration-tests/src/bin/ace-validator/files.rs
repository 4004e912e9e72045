//! Files that tell which of the pod's processes have run.

use std::fs::OpenOptions;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Errors, check};

/// How long the other app may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn present(path: &str) -> Errors {
    check(Path::new(path).exists(), || format!("file {path:?} does not exist as expected"))
}

pub(crate) fn absent(path: &str) -> Errors {
    check(!Path::new(path).exists(), || format!("file {path:?} exists unexpectedly"))
}

/// It must not be there yet, and is from now on.
pub(crate) fn touch_new(path: &str) -> Errors {
    let mut errors = absent(path);
    if let Err(error) = OpenOptions::new().create(true).append(true).open(path) {
        errors.push(format!("error touching file {path:?}: {error}"));
    }
    errors
}

pub(crate) fn wait_for(path: &str) -> Errors {
    let deadline = Instant::now() + PATIENCE;
    while !Path::new(path).exists() {
        if Instant::now() >= deadline {
            return vec![format!("timed out waiting for {path}")];
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Errors::new()
}
