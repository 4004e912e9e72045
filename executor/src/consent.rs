//! Whether a person really wants what cannot be undone.

use std::io::{self, BufRead as _};

use crate::error::{CommandError, Explain as _};
use crate::output;

/// Shows the warning and asks; only `y` and `yes` are consent.
///
/// # Errors
///
/// The question cannot be asked or the answer read.
pub(crate) fn given(warning: &str) -> Result<bool, CommandError> {
    output::write(&format!("{warning}\nAre you sure you want to continue? [y/N] "))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).during(|| "read the answer".into())?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
