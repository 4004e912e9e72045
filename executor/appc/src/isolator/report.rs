//! What an executor says it made of an isolator.
//!
//! The specification lets an executor ignore what it does not know or cannot do, but it must tell (appc ace.md,
//! Isolators).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::AcIdentifier;

/// What became of one isolator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "outcome", content = "why")]
pub enum Outcome {
    /// It is in force as written.
    Enforced,
    /// Something else is in force, and why.
    Modified(String),
    /// Nothing of it is in force, and why.
    Ignored(String),
}

/// One row of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportEntry {
    /// The isolator's name.
    pub isolator: AcIdentifier,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl fmt::Display for ReportEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Enforced => write!(f, "{}: enforced", self.isolator),
            Outcome::Modified(why) => write!(f, "{}: modified: {why}", self.isolator),
            Outcome::Ignored(why) => write!(f, "{}: ignored: {why}", self.isolator),
        }
    }
}
