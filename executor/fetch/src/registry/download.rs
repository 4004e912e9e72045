//! The bytes of a blob: in one piece or several, until all of them are there.

use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, RANGE};
use tracing::debug;

use super::error::RegistryError;
use super::repository::Repository;
use crate::digest::Digest;
use crate::http::{HttpError, Request, Response, ShownUrl};

/// How often in a row a download may end without a new byte before it is given up.
const FRUITLESS: u32 = 3;

/// A blob under way. Its content is not checked: whoever takes it computes the digest.
#[derive(Debug)]
pub struct Download<'r, 'a> {
    repository: &'r Repository<'a>,
    digest: Digest,
    size: u64,
    /// Where what is wanted of it ends.
    end: u64,
    received: u64,
    body: Option<Response>,
    /// Bytes at the beginning of the body that are there already.
    skip: u64,
    fruitless: u32,
}

impl<'r, 'a> Download<'r, 'a> {
    /// The blob `digest` of `size` bytes, of which the first `received` are there already.
    pub(super) fn new(repository: &'r Repository<'a>, digest: Digest, size: u64, received: u64) -> Self {
        Self { repository, digest, size, end: size, received, body: None, skip: 0, fruitless: 0 }
    }

    /// Only what is before `end`.
    pub(super) fn until(self, end: u64) -> Self {
        Self { end: end.min(self.size), ..self }
    }

    /// The next bytes, `None` when all are there. After a cut connection it asks for the rest.
    ///
    /// # Errors
    /// [`RegistryError::Size`] as soon as it is known that there are more or fewer bytes than the descriptor says;
    /// [`RegistryError::Http`] when the server does not give them.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            if self.received == self.end && self.body.is_none() {
                return Ok(None);
            }
            let body = match &mut self.body {
                Some(body) => body,
                None => {
                    let opened = self.open().await;
                    match opened {
                        Ok(body) => self.body.insert(body),
                        Err(RegistryError::Http(error)) if error.is_interruption() && self.received > 0 => {
                            self.interrupted(error)?;
                            continue;
                        }
                        Err(error) => return Err(error),
                    }
                }
            };
            match body.chunk().await {
                Ok(Some(bytes)) => {
                    if let Some(fresh) = self.take(bytes)? {
                        return Ok(Some(fresh));
                    }
                }
                Ok(None) if self.received == self.end => {
                    self.body = None;
                    return Ok(None);
                }
                Ok(None) => return Err(self.size_error(self.received)),
                Err(error) if error.is_interruption() => self.interrupted(error)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What of `bytes` is new.
    fn take(&mut self, mut bytes: Bytes) -> Result<Option<Bytes>, RegistryError> {
        let old = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= old as u64;
        let fresh = bytes.split_off(old);
        if fresh.is_empty() {
            return Ok(None);
        }
        self.fruitless = 0;
        self.received += fresh.len() as u64;
        if self.received > self.end {
            return Err(self.size_error(self.received));
        }
        Ok(Some(fresh))
    }

    fn interrupted(&mut self, error: HttpError) -> Result<(), RegistryError> {
        self.body = None;
        self.fruitless += 1;
        if self.fruitless >= FRUITLESS {
            return Err(error.into());
        }
        debug!(digest = %self.digest, received = self.received, %error, "asking for the rest");
        Ok(())
    }

    async fn open(&mut self) -> Result<Response, RegistryError> {
        let path = format!("blobs/{}", self.digest);
        let (from, end) = (self.received, self.end);
        let is_part = end < self.size;
        let answer = self
            .repository
            .send(&path, |url| {
                // Some servers compress what they think is text; the digest is of the bytes as they are.
                let request = Request::get(url).header(ACCEPT_ENCODING, "identity");
                match (from, is_part) {
                    (_, true) => request.header(RANGE, &format!("bytes={from}-{}", end - 1)),
                    (0, false) => request,
                    (_, false) => request.header(RANGE, &format!("bytes={from}-")),
                }
            })
            .await?;
        match answer.status().as_u16() {
            200 if is_part => Err(RegistryError::Protocol {
                url: ShownUrl::new(answer.url()),
                reason: "the server does not know ranges".to_owned(),
            }),
            200 => {
                if let Some(found) = answer.content_length().filter(|length| *length != self.size) {
                    return Err(self.size_error(found));
                }
                // The server does not know ranges: what we have comes again.
                self.skip = from;
                Ok(answer)
            }
            206 => match answer.header(CONTENT_RANGE).and_then(content_range) {
                Some((start, total)) if start == from && total.is_none_or(|total| total == self.size) => {
                    self.skip = 0;
                    Ok(answer)
                }
                Some((start, Some(total))) if start == from => Err(self.size_error(total)),
                _ => Err(RegistryError::Protocol {
                    url: ShownUrl::new(answer.url()),
                    reason: "the server sends another part than was asked for".to_owned(),
                }),
            },
            _ => Err(self.repository.refusal(answer, &format!("@{}", self.digest)).await),
        }
    }

    fn size_error(&self, found: u64) -> RegistryError {
        RegistryError::Size {
            url: ShownUrl::new(&self.repository.url(&format!("blobs/{}", self.digest))),
            digest: self.digest.clone(),
            expected: self.size,
            found,
        }
    }
}

/// The start and the total of `bytes START-END/TOTAL` (RFC 9110, 14.4).
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-')?.0.trim().parse().ok()?;
    Some((start, if total == "*" { None } else { Some(total.trim().parse().ok()?) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for bad in ["", "bytes */10", "bytes 5-9", "bytes 5-9/x", "items 5-9/10", "bytes -5-9/10"] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
