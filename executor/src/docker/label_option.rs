//! `--label`, `--label-file` and `--annotation` of `docker run`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::{CommandError, Explain as _};
use crate::small_file;

/// The lines of files of labels; those that begin with `#` are comments.
pub(super) fn labels_of_files(files: &[PathBuf]) -> Result<Vec<String>, CommandError> {
    /// Larger than all labels of anything real.
    const MAX_FILE: u64 = 1 << 20;
    let mut lines = Vec::new();
    for path in files {
        let text = small_file::read_text(path, MAX_FILE).during(|| format!("--label-file={}", path.display()))?;
        let labels = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.extend(labels.map(str::to_owned));
    }
    Ok(lines)
}

/// `NAME=VALUE`, or a name alone.
pub(crate) fn labels(labels: &[String]) -> BTreeMap<String, String> {
    let split = |label: &String| {
        let (name, value) = label.split_once('=').unwrap_or((label, ""));
        (name.to_owned(), value.to_owned())
    };
    labels.iter().map(split).collect()
}
