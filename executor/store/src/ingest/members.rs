//! A gzip stream of one member or several, told apart from what follows it.
//!
//! flate2's own reader of several members takes whatever comes after one for the next: a few bytes too many are then a stream
//! that is cut off, and more of them a damaged one.

use std::io::{BufRead, Read};
use std::mem;

use flate2::bufread::GzDecoder;

/// The first byte of every member (RFC 1952, 2.3.1).
const MAGIC: u8 = 0x1f;

/// Reads the members one after the other, and stops before bytes that begin none.
#[derive(Debug)]
pub(super) struct Members<R> {
    state: State<R>,
}

#[derive(Debug)]
enum State<R> {
    In(Box<GzDecoder<R>>),
    After(R),
    /// Between two others.
    Moved,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(source: R) -> Self {
        Self { state: State::In(Box::new(GzDecoder::new(source))) }
    }

    pub(super) fn get_mut(&mut self) -> &mut R {
        match &mut self.state {
            State::In(decoder) => decoder.get_mut(),
            State::After(source) => source,
            State::Moved => unreachable!("it is put back at once"),
        }
    }

    pub(super) fn into_inner(self) -> R {
        match self.state {
            State::In(decoder) => decoder.into_inner(),
            State::After(source) => source,
            State::Moved => unreachable!("it is put back at once"),
        }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        while let State::In(decoder) = &mut self.state {
            let read = decoder.read(into)?;
            if read > 0 {
                return Ok(read);
            }
            let another = decoder.get_mut().fill_buf()?.first() == Some(&MAGIC);
            if let State::In(decoder) = mem::replace(&mut self.state, State::Moved) {
                let source = decoder.into_inner();
                self.state = if another { Self::new(source).state } else { State::After(source) };
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn member(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// What is read, and how many bytes are left; or that it fails.
    fn read(bytes: &[u8]) -> Result<(Vec<u8>, usize), std::io::ErrorKind> {
        let mut members = Members::new(bytes);
        let mut text = Vec::new();
        members.read_to_end(&mut text).map_err(|error| error.kind())?;
        Ok((text, members.into_inner().len()))
    }

    #[test]
    fn members_end_where_they_end() {
        let (one, two) = (member(b"one "), member(b"two"));
        let empty = member(b"");
        let cases: [(&[&[u8]], _); 6] = [
            (&[&one], Ok((b"one ".to_vec(), 0))),
            (&[&one, &empty, &two], Ok((b"one two".to_vec(), 0))),
            (&[&one, &[0; 512]], Ok((b"one ".to_vec(), 512))),
            (&[&one, b"x"], Ok((b"one ".to_vec(), 1))),
            (&[&one, &two[..9]], Err(std::io::ErrorKind::UnexpectedEof)),
            (&[&one[..12]], Err(std::io::ErrorKind::UnexpectedEof)),
        ];
        for (parts, expected) in cases {
            assert_eq!(read(&parts.concat()), expected, "{parts:?}");
        }
    }
}
