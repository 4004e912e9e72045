//! The report of a JSON syntax error: line, column, and the line itself with a caret under the culprit.

use super::quote::{Quoted, QuotedChar};

/// How much of a line is shown before the caret; the rest of an overlong line is cut off at its start.
const MAX_SHOWN: usize = 160;

/// What is wrong with a text that should be JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyntaxProblem {
    /// A character that cannot stand where it stands.
    #[error("invalid character {} {context}", QuotedChar(*.found))]
    InvalidCharacter {
        /// The character.
        found: char,
        /// What was being read, for example `looking for beginning of value`.
        context: String,
    },
    /// The text ends inside a value, or holds none.
    #[error("unexpected end of JSON input")]
    UnexpectedEnd,
    /// An object holds the same key twice; which one counts would be a guess.
    #[error("duplicate key {}", Quoted(.key))]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// Arrays and objects are nested more deeply than [`MAX_DEPTH`](crate::MAX_DEPTH).
    #[error("nested more than {limit} levels deep")]
    TooDeep {
        /// The deepest level allowed.
        limit: usize,
    },
    /// A string escapes half of a surrogate pair, which is no character.
    #[error("lone surrogate \\u{unit:04x} in string literal")]
    LoneSurrogate {
        /// The UTF-16 unit that was escaped.
        unit: u16,
    },
    /// A string holds the character NUL, which no name, path, argument or environment variable can carry.
    #[error("NUL character in string literal")]
    Nul,
    /// The text is not UTF-8.
    #[error("invalid UTF-8")]
    InvalidUtf8,
}

/// A text that is not the JSON a manifest is written in.
///
/// Displays as the Go implementation does: position, the line before, the line up to the error, a caret, the problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\nError at line {line}, column {column}\n{highlight}{problem}")]
pub struct SyntaxError {
    /// What is wrong.
    pub problem: SyntaxProblem,
    /// How many bytes of the text were read, the offending one included.
    pub offset: usize,
    /// The line, counted from 1.
    pub line: usize,
    /// The column, counted in bytes as Go's tools count it: the offending byte's number on the first line, one more
    /// on later lines.
    pub column: usize,
    highlight: String,
}

impl SyntaxError {
    /// The line before, the line up to the error, and a caret under the place: two or three lines, safe to print.
    pub fn highlight(&self) -> &str {
        &self.highlight
    }

    /// Locates `problem`, which was found after reading `offset` bytes of `text`.
    pub(crate) fn locate(text: &[u8], offset: usize, problem: SyntaxProblem) -> Self {
        let read = &text[..offset.min(text.len())];
        let mut lines = read.rsplit(|&b| b == b'\n');
        let current = lines.next().unwrap_or_default();
        let previous = lines.next();
        let line = 1 + read.iter().filter(|&&b| b == b'\n').count();
        let column = current.len() + usize::from(line > 1);

        let mut highlight = String::new();
        if let Some(previous) = previous {
            highlight.push_str(&format!("{:5}: {}\n", line - 1, shown(previous).0));
        }
        let (current, cut) = shown(current);
        highlight.push_str(&format!("{line:5}: {current}\n"));
        highlight.push_str(&format!("{}^\n", " ".repeat(column - cut + 5)));
        Self { problem, offset, line, column, highlight }
    }
}

/// The end of a line, made safe to print, with the number of bytes by which it became shorter.
///
/// Control characters could move the cursor or recolour the terminal of whoever validates a foreign manifest.
fn shown(line: &[u8]) -> (String, usize) {
    let tail = &line[line.len().saturating_sub(MAX_SHOWN)..];
    let harmless = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    (String::from_utf8_lossy(tail).chars().map(harmless).collect(), line.len() - tail.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str, offset: usize) -> String {
        SyntaxError::locate(text.as_bytes(), offset, SyntaxProblem::UnexpectedEnd).to_string()
    }

    #[test]
    fn first_line_has_no_line_before() {
        assert_eq!(report("{]", 2), "\nError at line 1, column 2\n    1: {]\n       ^\nunexpected end of JSON input");
    }

    #[test]
    fn later_lines_show_the_line_before_with_the_caret_under_the_byte() {
        let text = "{\n  \"a\": 1,\n  }\n";
        assert_eq!(
            report(text, 15),
            "\nError at line 3, column 4\n    2:   \"a\": 1,\n    3:   }\n         ^\nunexpected end of JSON input"
        );
    }

    #[test]
    fn overlong_and_unprintable_lines_stay_short_and_harmless() {
        let mut text = vec![b' '; 5000];
        text.extend_from_slice(b"\x1b[2J\xff!");
        let report = SyntaxError::locate(&text, text.len(), SyntaxProblem::Nul).to_string();
        assert!(report.len() < 700, "{report}");
        assert!(!report.contains('\u{1b}'));
        assert!(report.contains("Error at line 1, column 5006"));
    }
}
