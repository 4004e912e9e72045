//! A line of a log in the format of Kubernetes' CRI: `TIME STREAM P|F TEXT`.

/// Which stream a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogLine {
    /// RFC 3339, UTC, nine digits after the point: compares as it counts.
    pub(crate) time: String,
    pub(crate) stream: Stream,
    /// Whether the line ends here; a longer one goes on in the next.
    pub(crate) complete: bool,
    pub(crate) text: Vec<u8>,
}

impl LogLine {
    /// Takes a line apart; `None` if it has another form.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let time = std::str::from_utf8(parts.next()?).ok()?.to_owned();
        let stream = match parts.next()? {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        let complete = match parts.next()?.split(|byte| *byte == b':').next()? {
            b"F" => true,
            b"P" => false,
            _ => return None,
        };
        Some(Self { time, stream, complete, text: parts.next()?.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let line = LogLine::parse(b"2026-01-02T03:04:05.000000006Z stderr P some text ").unwrap();
        assert_eq!((line.stream, line.complete, line.text.as_slice()), (Stream::Stderr, false, &b"some text "[..]));
        assert_eq!(LogLine::parse(b"t stdout F ").unwrap().text, b"");
        for wrong in [&b""[..], b"t", b"t stdin F x", b"t stdout X x", b"t stdout F"] {
            assert_eq!(LogLine::parse(wrong), None, "{wrong:?}");
        }
    }
}
