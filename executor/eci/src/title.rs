//! Names of files that an image brings: relative, and never out of the folder they are for.

use std::fmt;

/// The most bytes of a name, as the kernel has it.
const MAX_NAME: usize = 255;
/// The most bytes of a title.
const MAX_TITLE: usize = 4096;

/// A relative path of plain names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Title(String);

/// A title that files must not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("path_traversal_disallowed: the title {0:?} is no path below the folder it is for")]
pub struct TitleError(pub(crate) String);

impl Title {
    /// Takes a title out of an image.
    ///
    /// # Errors
    /// It is empty, absolute, too long, has a part that is empty, `.`, `..` or no file name, or control characters,
    /// which would be orders to the terminal that the name is printed on.
    pub fn new(text: &str) -> Result<Self, TitleError> {
        let plain = |it: &str| !matches!(it, "" | "." | "..") && it.len() <= MAX_NAME && !it.contains(char::is_control);
        if text.len() <= MAX_TITLE && text.split('/').all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(TitleError(text.chars().take(200).collect()))
        }
    }

    /// The title.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folders that lead to it, and its name.
    pub(crate) fn parts(&self) -> (impl Iterator<Item = &str>, &str) {
        let (folders, name) = self.0.rsplit_once('/').unwrap_or(("", &self.0));
        (folders.split('/').filter(|it| !it.is_empty()), name)
    }
}

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_stay_below_their_folder() {
        for good in ["kernel", "disk-0-a.qcow2", "a/b", "...", ".hidden", "a b"] {
            assert_eq!(Title::new(good).map(|it| it.as_str().to_owned()).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "../x",
            "a/../x",
            "a/..",
            ".",
            "a//b",
            "a/",
            "./a",
            "a\0b",
            "a\nb",
            "\u{1b}[2J",
            "\u{9b}2J",
            &"x".repeat(256),
            &"x/".repeat(3000),
        ] {
            let error = Title::new(bad).expect_err(bad).to_string();
            assert!(error.starts_with("path_traversal_disallowed"), "{error}");
        }
    }
}
