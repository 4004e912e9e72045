//! What was left out of a tree, for the one who fetches the image.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::shown::Shown;

/// Names kept for each reason; the rest is only counted.
const NAMED: usize = 4;

/// Things in an archive that the tree does not have, grouped by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warnings {
    reasons: BTreeMap<String, Affected>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Affected {
    count: u64,
    names: Vec<Shown>,
}

impl Warnings {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.reasons.is_empty()
    }

    /// One line for each reason, lower case and without a full stop:
    /// `device nodes are skipped: "dev/null", "dev/zero" and 12 more`.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.reasons.iter().map(|(reason, affected)| {
            let names: Vec<String> = affected.names.iter().map(ToString::to_string).collect();
            let more = affected.count - affected.names.len() as u64;
            let tail = if more == 0 { String::new() } else { format!(" and {more} more") };
            format!("{reason}: {}{tail}", names.join(", "))
        })
    }

    /// Adds something that was left out. Reasons are literals, so their number is small.
    pub fn add(&mut self, reason: &'static str, entry: &[u8]) {
        let affected = self.reasons.entry(reason.to_owned()).or_default();
        affected.count += 1;
        if affected.names.len() < NAMED {
            affected.names.push(Shown::new(entry));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_reason() {
        let mut warnings = Warnings::default();
        assert!(warnings.is_empty());
        for n in 0..6 {
            warnings.add("device nodes are skipped", format!("dev/{n}").as_bytes());
        }
        warnings.add("another", b"x\n");
        let lines: Vec<String> = warnings.lines().collect();
        assert_eq!(
            lines,
            [r#"another: "x\x0a""#, r#"device nodes are skipped: "dev/0", "dev/1", "dev/2", "dev/3" and 2 more"#]
        );
    }
}
