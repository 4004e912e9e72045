//! A side of a copy as it is typed: `POD:PATH`, a path of the host, or `-`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

/// Where to copy from or to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PlaceName {
    /// A path of an app.
    App {
        /// The pod.
        pod: String,
        /// Absolute, or from the app's root.
        path: Vec<u8>,
    },
    /// A path of the host.
    Host(PathBuf),
    /// An archive on a standard stream.
    Stream,
}

impl PlaceName {
    /// As docker has it: what begins with `/` or `.` is a path of the host, and of the rest what has a colon is a pod's.
    pub(crate) fn parse(word: &OsStr) -> Self {
        let bytes = word.as_bytes();
        let colon = bytes.iter().position(|&byte| byte == b':').filter(|_| !matches!(bytes[0], b'/' | b'.'));
        match colon.map(|at| (std::str::from_utf8(&bytes[..at]), &bytes[at + 1..])) {
            _ if bytes == b"-" => Self::Stream,
            Some((Ok(pod), path)) => Self::App { pod: pod.to_owned(), path: path.to_vec() },
            _ => Self::Host(PathBuf::from(OsString::from_vec(bytes.to_vec()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colons_and_slashes_tell() {
        let parse = |word: &str| PlaceName::parse(OsStr::new(word));
        let app = |pod: &str, path: &[u8]| PlaceName::App { pod: pod.into(), path: path.to_vec() };
        assert_eq!(parse("web:/etc/x"), app("web", b"/etc/x"));
        assert_eq!(parse("web:a:b"), app("web", b"a:b"));
        assert_eq!(parse("web:"), app("web", b""));
        for host in ["./web:x", "/web:x", "web", "", "..:x"] {
            assert_eq!(parse(host), PlaceName::Host(host.into()), "{host}");
        }
        assert_eq!(parse("-"), PlaceName::Stream);
    }
}
