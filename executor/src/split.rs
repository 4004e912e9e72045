//! Which words of a `run` line belong to which image.
//!
//! rkt's grammar: `IMAGE [app flags] [-- ARGS…] [---] IMAGE2 [app flags] …`. Flags are not interspersed: what stands
//! after an image is that image's. No argument parser has a notion of `---`, so the words are dealt out here and each
//! heap of flags is then parsed by itself.

use std::ffi::{OsStr, OsString};

/// Starts the arguments of an app.
const ARGS_BEGIN: &str = "--";

/// Ends the words of an image.
const IMAGE_ENDS: &str = "---";

/// The words of one image.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ImageWords {
    /// The image as written.
    pub(crate) image: OsString,
    /// The flags after it, with their values.
    pub(crate) flags: Vec<OsString>,
    /// The words between `--` and `---`; `None` without `--`.
    pub(crate) args: Option<Vec<OsString>>,
}

/// A word where an image had to stand.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SplitError {
    #[error("{} follows `---`, where an image belongs", .0.display())]
    FlagBeforeImage(OsString),
    #[error("`---` stands where an image belongs")]
    EmptyImage,
}

/// Deals the words out, the first of which is an image. `takes_value` tells of an app flag (`--user`) whether the next
/// word is its value.
pub(crate) fn split(
    words: impl IntoIterator<Item = OsString>,
    mut takes_value: impl FnMut(&str) -> bool,
) -> Result<Vec<ImageWords>, SplitError> {
    let mut images: Vec<ImageWords> = Vec::new();
    let mut words = words.into_iter();
    let mut open = false;
    while let Some(word) = words.next() {
        let current = if open { images.last_mut() } else { None };
        if word == IMAGE_ENDS {
            if current.is_none() {
                return Err(SplitError::EmptyImage);
            }
            open = false;
        } else if !is_flag(&word) {
            images.push(ImageWords { image: word, ..ImageWords::default() });
            open = true;
        } else if let Some(current) = current {
            if word == ARGS_BEGIN {
                let mut args = Vec::new();
                open = false;
                for arg in words.by_ref() {
                    if arg == IMAGE_ENDS {
                        break;
                    }
                    args.push(arg);
                }
                current.args = Some(args);
            } else {
                let value = word.to_str().is_some_and(|flag| !flag.contains('=') && takes_value(flag));
                current.flags.push(word);
                current.flags.extend(value.then(|| words.next()).flatten());
            }
        } else {
            return Err(SplitError::FlagBeforeImage(word));
        }
    }
    Ok(images)
}

/// Whether a word is a flag; a single dash is not.
fn is_flag(word: &OsStr) -> bool {
    let bytes = word.as_encoded_bytes();
    bytes.len() > 1 && bytes[0] == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits a line at spaces; shows each image as `image|flags|args`, `-` for no `--`.
    fn shown(line: &str) -> String {
        let words = line.split(' ').filter(|word| !word.is_empty()).map(OsString::from);
        let join = |words: &[OsString]| words.iter().map(|w| w.to_str().unwrap()).collect::<Vec<_>>().join(" ");
        match split(words, |flag| ["--user", "--exec", "--name"].contains(&flag)) {
            Ok(images) => images
                .iter()
                .map(|i| {
                    let args = i.args.as_ref().map_or("-".into(), |args| format!("[{}]", join(args)));
                    format!("{}|{}|{args}", i.image.to_str().unwrap(), join(&i.flags))
                })
                .collect::<Vec<_>>()
                .join("  "),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn lines() {
        for (line, expected) in [
            ("", ""),
            ("a.aci", "a.aci||-"),
            ("a b", "a||-  b||-"),
            ("a --- b", "a||-  b||-"),
            ("a ---", "a||-"),
            ("a --user 5 b", "a|--user 5|-  b||-"),
            ("a --user=5 b", "a|--user=5|-  b||-"),
            ("a --unknown b", "a|--unknown|-  b||-"),
            ("a --user", "a|--user|-"),
            ("a --exec /bin/sh -- -c x", "a|--exec /bin/sh|[-c x]"),
            ("a -- x --- b --name n -- y z", "a||[x]  b|--name n|[y z]"),
            ("a -- x -- y", "a||[x -- y]"),
            ("a --", "a||[]"),
            ("a -- ---", "a||[]"),
            ("a -- --- b", "a||[]  b||-"),
            ("a -- x ---- y", "a||[x ---- y]"),
            ("a --user --- --- b", "a|--user ---|-  b||-"),
            ("a -", "a||-  -||-"),
            ("a --- --user 5", "error: --user follows `---`, where an image belongs"),
            ("a -- x --- -- y", "error: -- follows `---`, where an image belongs"),
            ("a --- --- b", "error: `---` stands where an image belongs"),
        ] {
            assert_eq!(shown(line), expected, "{line:?}");
        }
    }

    #[test]
    fn words_that_are_not_utf8_survive() {
        use std::os::unix::ffi::OsStringExt;
        let odd = OsString::from_vec(b"\xff.aci".to_vec());
        let flag = OsString::from_vec(b"--user=\xff".to_vec());
        let images = split([odd.clone(), flag.clone()], |_| false).unwrap();
        assert_eq!(images, [ImageWords { image: odd, flags: vec![flag], args: None }]);
    }
}
