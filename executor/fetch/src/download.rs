//! Files by URL: ACIs and their signatures, whole or from where an earlier attempt ended.
//!
//! Nothing is known of such a file beforehand, neither its digest nor its size. What its server says about it (`ETag`,
//! `Last-Modified`) tells whether the rest of it is still the rest of the same file.

use bytes::Bytes;
use reqwest::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_RANGE, ETAG, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
};
use reqwest::{StatusCode, Url};

use crate::authorize::HostCredentials;
use crate::http::{Client, HttpError, Reach, Request, Response, ShownUrl};

/// A file larger than this many bytes is no image, but a server that does not end.
const MAX_FILE: u64 = 64 << 30;

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// No answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// An answer that is no file; the words are rkt's.
    #[error("{url}: bad HTTP status code: {status}")]
    Status {
        /// What was asked for.
        url: ShownUrl,
        /// The status code.
        status: u16,
    },
    /// The server will have the file later (202), and that is not now.
    #[error("{0}: the server wants to be asked later")]
    Deferred(ShownUrl),
    /// The server sends another part than was asked for.
    #[error("{0}: the server sends another part than was asked for")]
    Part(ShownUrl),
    /// More bytes than the server said, or than any image has.
    #[error("{url}: more than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: ShownUrl,
        /// The size that the server gave, or the largest of any image.
        limit: u64,
    },
    /// Fewer bytes than the server said.
    #[error("{url}: {received} bytes, the server said {expected}")]
    Short {
        /// What was asked for.
        url: ShownUrl,
        /// Bytes that came.
        received: u64,
        /// Bytes that the server had promised.
        expected: u64,
    },
    /// What came could not be kept.
    #[error("write what was downloaded")]
    Write(#[source] std::io::Error),
}

impl DownloadError {
    /// Whether another server with the same file is worth a try.
    pub fn is_of_server(&self) -> bool {
        match self {
            Self::Http(error) => error.is_of_server(),
            Self::Write(_) => false,
            _ => true,
        }
    }

    /// Whether the server wants to know who asks.
    pub fn needs_credentials(&self) -> bool {
        matches!(self, Self::Status { status: 401 | 403, .. })
    }
}

/// What a server says about a file that tells it from another one at the same URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
    /// All bytes of the file, where the server says how many.
    pub size: Option<u64>,
}

impl Validators {
    /// What a request for the rest of the file is tied to. A weak tag says nothing about bytes (RFC 9110, 13.1.5).
    fn strong(&self) -> Option<&str> {
        let etag = self.etag.as_deref().filter(|etag| !etag.starts_with("W/"));
        etag.or(self.last_modified.as_deref())
    }
}

/// A file of a server.
#[derive(Debug)]
pub struct RemoteFile<'a> {
    client: &'a Client,
    credentials: &'a HostCredentials,
    url: Url,
    reach: Option<Reach>,
}

/// What a server answers to the request for a file.
#[derive(Debug)]
pub enum Opened {
    /// It is the one that is known already.
    Unchanged {
        /// For how many seconds it need not be asked again.
        max_age: u64,
    },
    /// The whole file.
    Whole(Body),
    /// The file from where the earlier attempt ended.
    Rest(Body),
}

/// A file under way.
#[derive(Debug)]
pub struct Body {
    response: Response,
    /// What the server says about the whole file.
    pub validators: Validators,
    /// For how many seconds it need not be asked again.
    pub max_age: u64,
    received: u64,
}

impl<'a> RemoteFile<'a> {
    /// The file at a URL that the user gave, or, with a reach, a server.
    pub fn new(client: &'a Client, credentials: &'a HostCredentials, url: Url, reach: Option<Reach>) -> Self {
        Self { client, credentials, url, reach }
    }

    /// The URL, without what may be secret in it.
    pub fn shown(&self) -> ShownUrl {
        ShownUrl::new(&self.url)
    }

    /// The client that it is asked for with.
    pub fn client(&self) -> &'a Client {
        self.client
    }

    fn request(&self) -> Request {
        // What a server would compress is another file than the one that was signed.
        let request = Request::get(self.url.clone()).header(ACCEPT_ENCODING, "identity");
        let request = self.credentials.authorize(request);
        match self.reach {
            Some(reach) => request.discovered(reach),
            None => request,
        }
    }

    /// Asks for the file: for the rest, if `have` bytes of a file with these validators are there; not at all, if it still
    /// has the tag `known`.
    ///
    /// # Errors
    /// [`DownloadError`].
    pub async fn open(&self, have: Option<(&Validators, u64)>, known: Option<&str>) -> Result<Opened, DownloadError> {
        let have = have.filter(|(_, received)| *received > 0);
        let have = have.and_then(|(validators, received)| Some((validators, received, validators.strong()?)));
        let mut request = self.request();
        if let Some((_, received, tag)) = have {
            request = request.header(RANGE, &format!("bytes={received}-")).header(IF_RANGE, tag);
        } else if let Some(tag) = known {
            request = request.header(IF_NONE_MATCH, tag);
        }
        let answer = self.client.send(&request).await?;
        let validators = validators(&answer);
        let max_age = answer.header(CACHE_CONTROL).map_or(0, max_age);
        let body = |response, validators, received| Body { response, validators, max_age, received };
        match (answer.status(), have) {
            (StatusCode::OK, _) => {
                check_size(&answer, validators.size)?;
                Ok(Opened::Whole(body(answer, validators, 0)))
            }
            (StatusCode::NOT_MODIFIED, None) if known.is_some() => Ok(Opened::Unchanged { max_age }),
            (StatusCode::PARTIAL_CONTENT, Some((before, received, _))) => {
                let (start, total) = answer
                    .header(CONTENT_RANGE)
                    .and_then(content_range)
                    .ok_or_else(|| DownloadError::Part(self.shown()))?;
                let same = start == received && (total.is_none() || before.size.is_none() || total == before.size);
                if !same {
                    return Err(DownloadError::Part(self.shown()));
                }
                let validators = Validators { size: total.or(before.size), ..before.clone() };
                check_size(&answer, validators.size)?;
                Ok(Opened::Rest(body(answer, validators, received)))
            }
            (StatusCode::ACCEPTED, _) => Err(DownloadError::Deferred(self.shown())),
            (status, _) => Err(DownloadError::Status { url: self.shown(), status: status.as_u16() }),
        }
    }

    /// The whole of a small file.
    ///
    /// # Errors
    /// [`DownloadError`].
    pub fn document(&self, limit: usize) -> Result<Vec<u8>, DownloadError> {
        self.client.block_on(async {
            let answer = self.client.send(&self.request()).await?;
            match answer.status() {
                StatusCode::OK => Ok(answer.document(limit).await?),
                StatusCode::ACCEPTED => Err(DownloadError::Deferred(self.shown())),
                status => Err(DownloadError::Status { url: self.shown(), status: status.as_u16() }),
            }
        })
    }
}

impl Body {
    /// Bytes of the file that are there: those that came, and those of an earlier attempt.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The next bytes, `None` when all are there.
    ///
    /// # Errors
    /// [`DownloadError::Http`] for a body that ends early, so that the rest may be asked for, if
    /// [`HttpError::is_interruption`]; [`DownloadError::TooLarge`], [`DownloadError::Short`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, DownloadError> {
        let next = self.response.chunk().await?;
        let url = || ShownUrl::new(self.response.url());
        let Some(bytes) = next else {
            return match self.validators.size {
                Some(expected) if expected != self.received => {
                    Err(DownloadError::Short { url: url(), received: self.received, expected })
                }
                _ => Ok(None),
            };
        };
        self.received += bytes.len() as u64;
        let limit = self.validators.size.unwrap_or(MAX_FILE);
        if self.received > limit {
            return Err(DownloadError::TooLarge { url: url(), limit });
        }
        Ok(Some(bytes))
    }
}

fn check_size(answer: &Response, size: Option<u64>) -> Result<(), DownloadError> {
    match size {
        Some(size) if size > MAX_FILE => {
            Err(DownloadError::TooLarge { url: ShownUrl::new(answer.url()), limit: MAX_FILE })
        }
        _ => Ok(()),
    }
}

fn validators(answer: &Response) -> Validators {
    let text = |value: Option<&str>| value.map(str::to_owned);
    Validators {
        etag: text(answer.header(ETAG)),
        last_modified: text(answer.header(LAST_MODIFIED)),
        size: answer.content_length(),
    }
}

/// The start and the total of `bytes START-END/TOTAL` (RFC 9110, 14.4).
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-')?.0.trim().parse().ok()?;
    Some((start, if total == "*" { None } else { Some(total.trim().parse().ok()?) }))
}

/// For how many seconds an answer may be used without asking (RFC 9111, 5.2.2).
fn max_age(cache_control: &str) -> u64 {
    let mut directives = cache_control.split(',').map(|directive| directive.trim().to_ascii_lowercase());
    let mut age = 0;
    if directives.clone().any(|directive| matches!(directive.as_str(), "no-cache" | "no-store")) {
        return 0;
    }
    if let Some(found) = directives.find_map(|directive| directive.strip_prefix("max-age=")?.parse().ok()) {
        age = found;
    }
    age
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_control() {
        for (value, age) in [
            ("max-age=10", 10),
            ("public, Max-Age=10", 10),
            ("max-age=10, no-store", 0),
            ("no-cache", 0),
            ("max-age=ten", 0),
            ("max-age=-1", 0),
            ("", 0),
        ] {
            assert_eq!(max_age(value), age, "{value}");
        }
    }

    #[test]
    fn only_strong_validators_tie_parts_together() {
        let validators = |etag: Option<&str>, modified: Option<&str>| Validators {
            etag: etag.map(str::to_owned),
            last_modified: modified.map(str::to_owned),
            size: None,
        };
        assert_eq!(validators(Some("\"x\""), None).strong(), Some("\"x\""));
        assert_eq!(validators(Some("W/\"x\""), Some("day")).strong(), Some("day"));
        assert_eq!(validators(Some("W/\"x\""), None).strong(), None);
    }

    #[test]
    fn ranges() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for bad in ["bytes */10", "5-9/10", "bytes 5-9", "bytes x-9/10", "bytes 5-9/x"] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
