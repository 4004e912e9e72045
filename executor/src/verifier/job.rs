//! What the verifier is asked, and how that is written on the socket.
//!
//! A kind byte, then parts of a length (four bytes, little endian) and that many bytes. It is not JSON because keys and
//! signatures are binary.

use fetch::openpgp::Key;

/// A question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// What keys these bytes are.
    Inspect(Vec<u8>),
    /// Which of the keys have signed what comes on standard input.
    Verify { signature: Vec<u8>, keys: Vec<Key> },
}

impl Job {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Inspect(file) => {
                bytes.push(b'i');
                put(&mut bytes, file);
            }
            Self::Verify { signature, keys } => {
                bytes.push(b'v');
                put(&mut bytes, signature);
                for key in keys {
                    put(&mut bytes, key.fingerprint.as_bytes());
                    put(&mut bytes, &key.bytes);
                }
            }
        }
        bytes
    }

    /// `None` for what no [`Job::to_bytes`] wrote.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, mut rest) = bytes.split_first()?;
        let first = take(&mut rest)?;
        match kind {
            b'i' if rest.is_empty() => Some(Self::Inspect(first)),
            b'v' => {
                let mut keys = Vec::new();
                while !rest.is_empty() {
                    let fingerprint = String::from_utf8(take(&mut rest)?).ok()?;
                    keys.push(Key { fingerprint, bytes: take(&mut rest)? });
                }
                Some(Self::Verify { signature: first, keys })
            }
            _ => None,
        }
    }
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    let length = u32::try_from(part.len()).expect("keys and signatures are bounded far below 4 GiB");
    bytes.extend(length.to_le_bytes());
    bytes.extend(part);
}

fn take(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (part, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(part.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let key = |n: u8| Key { fingerprint: n.to_string(), bytes: vec![n; usize::from(n)] };
        for job in [
            Job::Inspect(Vec::new()),
            Job::Inspect(b"key".to_vec()),
            Job::Verify { signature: b"s".to_vec(), keys: Vec::new() },
            Job::Verify { signature: Vec::new(), keys: vec![key(1), key(0), key(200)] },
        ] {
            let bytes = job.to_bytes();
            assert_eq!(Job::from_bytes(&bytes).as_ref(), Some(&job));
            assert_eq!(Job::from_bytes(&bytes[..bytes.len() - 1]), None, "{job:?} cut short");
        }
        for bytes in [&b""[..], b"x", b"i", b"i\x01\0\0\0ab", b"v\xff\xff\xff\xffx"] {
            assert_eq!(Job::from_bytes(bytes), None, "{bytes:?}");
        }
    }
}
