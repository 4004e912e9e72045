//! `--ulimit`: resource limits of a container's processes.

use stage1::isolators::ulimits::{self, Ulimit};
use stage1::limits;

use super::run::said;
use crate::diagnostics::warn;
use crate::error::CommandError;

/// What these options say, as the annotation of a pod; nothing, where there are none. Warns of what cannot be had.
///
/// # Errors
///
/// One makes no sense.
pub(super) fn list(texts: &[String]) -> Result<Option<String>, CommandError> {
    let mut given = Vec::new();
    for text in texts.iter().cloned().filter_map(said) {
        let ulimit = text.parse().map_err(|why| CommandError::usage(format!("--ulimit {text}: {why}")))?;
        ulimits::put(&mut given, ulimit);
    }
    given.iter().for_each(tell_unheld);
    let words: Vec<String> = given.iter().map(Ulimit::to_string).collect();
    Ok(Some(words.join(",")).filter(|list| !list.is_empty()))
}

/// Says what is less than was asked for.
fn tell_unheld(ulimit: &Ulimit) {
    if let Some(most) =
        limits::most(ulimit.resource).filter(|most| ulimits::lower(ulimit.hard, Some(*most)) != ulimit.hard)
    {
        warn(&format!("--ulimit {ulimit}: no more than {most} can be had here"));
    }
}
