//! `--tmpfs`: file systems in memory, which are empty whenever the container starts.

use std::fmt;

use stage1::plan::tmpfs::Tmpfs;

use super::{Source, Wanted};
use crate::diagnostics::warn;
use crate::error::CommandError;
use crate::named_volumes::Labels;

/// What can be said.
const KNOWN: &str = "there are size=64m, nr_inodes=, nr_blocks=, mode=1777, uid=, gid=, exec, noexec, ro and rw";

/// How one is made.
#[derive(PartialEq, Eq)]
pub(super) struct Scratch {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) tmpfs: Tmpfs,
}

impl Default for Scratch {
    /// docker's: nothing in it can be executed, and everybody may write to it.
    fn default() -> Self {
        Self { mode: 0o1777, uid: 0, gid: 0, tmpfs: "noexec".parse().expect("an option") }
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:o} {}:{} {}", self.mode, self.uid, self.gid, self.tmpfs)
    }
}

impl Scratch {
    /// Bounds it to so many bytes; 0 is no bound but the kernel's own.
    pub(super) fn bound(&mut self, bytes: i64) {
        if bytes > 0 {
            self.tmpfs.put(&format!("size={bytes}")).expect("it is a number");
        }
    }
}

/// `TARGET[:OPTIONS]`, with options of mount(8) for a tmpfs.
///
/// # Errors
///
/// An option is none.
pub(super) fn parse(text: &str) -> Result<Wanted, CommandError> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let (mut scratch, mut read_only) = (Scratch::default(), false);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let invalid = || CommandError::usage(format!("--tmpfs {text}: invalid tmpfs option [{option:?}]: {KNOWN}"));
        let id = |text: &str| text.parse().ok().filter(|id| *id != u32::MAX).ok_or_else(invalid);
        match option.split_once('=').unwrap_or((option, "")) {
            ("ro", "") => read_only = true,
            ("rw", "") => read_only = false,
            ("mode", digits) => scratch.mode = octal(digits).ok_or_else(invalid)?,
            ("uid", text) => scratch.uid = id(text)?,
            ("gid", text) => scratch.gid = id(text)?,
            // What every volume has anyway, or what changes nothing in memory.
            ("nosuid" | "nodev" | "noatime" | "relatime" | "nodiratime" | "async" | "sync" | "dirsync", "") => {}
            ("suid" | "dev" | "strictatime" | "atime" | "diratime", "") => {
                warn(&format!("--tmpfs {text}: {option} is not held"));
            }
            _ => scratch.tmpfs.put(option).map_err(|_| invalid())?,
        }
    }
    Ok(Wanted {
        source: Source::Scratch(scratch),
        target: target.to_owned(),
        read_only,
        copies: false,
        labels: Labels::new(),
    })
}

/// A mode, in octal digits.
pub(super) fn octal(digits: &str) -> Option<u32> {
    u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_tmpfs() {
        for (text, expected) in [
            ("/b", "Scratch(1777 0:0 noexec) /b false"),
            ("/b:rw,nosuid,mode=0750", "Scratch(750 0:0 noexec) /b false"),
            ("/b:ro", "Scratch(1777 0:0 noexec) /b true"),
            ("/b:ro,rw,exec", "Scratch(1777 0:0 exec) /b false"),
            ("/b:noexec,size=64k,nr_inodes=9,uid=5,gid=6", "Scratch(1777 5:6 noexec,nr_inodes=9,size=64k) /b false"),
        ] {
            let Wanted { source, target, read_only, .. } = parse(text).unwrap();
            assert_eq!(format!("{source:?} {target} {read_only}"), expected);
        }
        for bad in
            ["mode=9", "mode=", "size=x", "size=", "size=5kb", "uid=root", "uid=4294967295", "gid=-1", "bogus", "ro=1"]
        {
            let error = parse(&format!("/b:{bad}")).unwrap_err().chain();
            assert_eq!(error, format!("--tmpfs /b:{bad}: invalid tmpfs option [{bad:?}]: {KNOWN}"));
        }
    }
}
