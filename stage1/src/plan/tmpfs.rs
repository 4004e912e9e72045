//! Empty volumes in memory: file systems that begin empty whenever the pod is run, and may be bounded.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use appc::RuntimeApp;

use crate::isolators::choices::BadChoice;

/// Annotation of a pod's app: which of its mounts of empty volumes are file systems in memory, as a JSON object of paths and
/// what [`Tmpfs`] reads.
pub const TMPFS: &str = "proa.local/tmpfs";

/// The options with a number.
const NUMBERS: [&str; 3] = ["size", "nr_inodes", "nr_blocks"];

/// How a file system in memory is made: options of mount(8) with commas between them. Its mode and owner are those of the
/// volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tmpfs {
    /// What it may hold. Where nothing is said the kernel has its own bound, half of the machine's memory.
    bounds: BTreeMap<&'static str, String>,
    /// Whether nothing in it can be executed.
    pub noexec: bool,
}

/// An option that is none, or not one of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of size=, nr_inodes= and nr_blocks= with a number, exec and noexec")]
pub struct NotTmpfs(String);

impl Tmpfs {
    /// Takes one more option; of those that contradict each other the last one counts.
    ///
    /// # Errors
    /// It is not one of these.
    pub fn put(&mut self, option: &str) -> Result<(), NotTmpfs> {
        let bad = || NotTmpfs(option.to_owned());
        match option {
            "exec" => self.noexec = false,
            "noexec" => self.noexec = true,
            _ => {
                let (key, number) = option.split_once('=').ok_or_else(bad)?;
                let key = NUMBERS.into_iter().find(|known| *known == key).ok_or_else(bad)?;
                let is_one = is_number(number) || key == "size" && number.strip_suffix('%').is_some_and(is_share);
                self.bounds.insert(key, is_one.then(|| number.to_owned()).ok_or_else(bad)?);
            }
        }
        Ok(())
    }

    /// The options of the file system.
    pub(super) fn options(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.bounds.iter().map(|(key, number)| (*key, number.clone()))
    }
}

/// A number as the kernel reads it, with a binary unit or without: memparse() takes what is too large for something else.
fn is_number(text: &str) -> bool {
    let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return false,
    };
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_plain && digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift)).is_some()
}

/// So many hundredths of the machine's memory.
fn is_share(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u8>().is_ok_and(|share| (1..=100).contains(&share))
}

impl FromStr for Tmpfs {
    type Err = NotTmpfs;

    fn from_str(text: &str) -> Result<Self, NotTmpfs> {
        let mut tmpfs = Self::default();
        text.split(',').filter(|option| !option.is_empty()).try_for_each(|option| tmpfs.put(option))?;
        Ok(tmpfs)
    }
}

impl fmt::Display for Tmpfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.noexec { "noexec" } else { "exec" })?;
        self.bounds.iter().try_for_each(|(key, number)| write!(f, ",{key}={number}"))
    }
}

/// Those of an app, by their paths.
///
/// # Errors
/// [`BadChoice`].
pub fn of(app: &RuntimeApp) -> Result<BTreeMap<String, Tmpfs>, BadChoice> {
    let Some(text) = app.annotations.get(TMPFS) else { return Ok(BTreeMap::new()) };
    let wanted = "a JSON object of paths and options of tmpfs";
    let bad = || BadChoice { name: TMPFS, value: text.to_owned(), wanted };
    let all: BTreeMap<String, String> = serde_json::from_str(text).map_err(|_| bad())?;
    all.into_iter().map(|(path, options)| Ok((path, options.parse().map_err(|_: NotTmpfs| bad())?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_written() {
        for (text, written) in [
            ("", "exec"),
            ("noexec,size=64k", "noexec,size=64k"),
            ("size=1,size=50%,nr_inodes=4K", "exec,nr_inodes=4K,size=50%"),
            ("noexec,exec,nr_blocks=0", "exec,nr_blocks=0"),
            ("size=16777215t", "exec,size=16777215t"),
        ] {
            assert_eq!(text.parse::<Tmpfs>().unwrap().to_string(), written, "{text}");
        }
        for bad in [
            "size",
            "size=",
            "size=k",
            "size=1x",
            "size=1kb",
            "size=-1",
            "size=+1",
            "size=0%",
            "size=101%",
            "size=+5%",
            "size=1.5m",
            "size=16777216t",
            "nr_inodes=5%",
            "mode=700",
            "bogus",
            "size=1 ",
        ] {
            assert_eq!(bad.parse::<Tmpfs>(), Err(NotTmpfs(bad.to_owned())));
        }
    }
}
