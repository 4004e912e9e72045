//! What a server answers.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::HeaderName;
use reqwest::{StatusCode, Url};
use tokio::time::timeout;

use super::error::HttpError;
use super::reach::Reach;
use super::shown_url::ShownUrl;
use crate::quote::Quoted;

/// What of an answer that means failure is read to find its reason.
const MESSAGE: usize = 16 << 10;

/// An answer whose body is still to be read.
#[derive(Debug)]
pub struct Response {
    pub(super) inner: reqwest::Response,
    pub(super) url: Url,
    pub(super) reach: Reach,
    pub(super) silence: Duration,
    pub(super) slowest: u64,
    pub(super) document_time: Duration,
    pub(super) received: u64,
    /// When the period began over which the rate is measured, and what had been received by then.
    pub(super) period: Option<(Instant, u64)>,
}

impl Response {
    /// The status code.
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// A header's value, if it is there and is text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.inner.headers().get(name)?.to_str().ok()
    }

    /// The values of a header that may come more than once.
    pub fn headers(&self, name: HeaderName) -> impl Iterator<Item = &str> {
        self.inner.headers().get_all(name).into_iter().filter_map(|value| value.to_str().ok())
    }

    /// Where the answer came from, after all redirects.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// How far inside the server of the first URL is. What is found in the answer may be followed that far:
    /// [`Request::discovered`](super::Request::discovered).
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// How many bytes the server says there are.
    pub fn content_length(&self) -> Option<u64> {
        self.header(reqwest::header::CONTENT_LENGTH)?.parse().ok()
    }

    /// The next piece of the body, `None` at its end.
    ///
    /// # Errors
    /// [`HttpError::Silent`], [`HttpError::Slow`], [`HttpError::Cut`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        let shown = || ShownUrl::new(&self.url);
        let next = match timeout(self.silence, self.inner.chunk()).await {
            Ok(Ok(next)) => next,
            Ok(Err(_)) => return Err(HttpError::Cut { url: shown(), received: self.received }),
            Err(_) => return Err(HttpError::Silent { url: shown(), what: "reading", after: self.silence }),
        };
        self.received += next.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let (since, before) = *self.period.get_or_insert_with(|| (Instant::now(), 0));
        let over = since.elapsed();
        if over >= self.silence {
            let too_slow = (self.received - before) as f64 / over.as_secs_f64() < self.slowest as f64;
            if too_slow && next.is_some() {
                return Err(HttpError::Slow { url: shown(), slowest: self.slowest, over, received: self.received });
            }
            self.period = Some((Instant::now(), self.received));
        }
        Ok(next)
    }

    /// The whole body, if it has at most `limit` bytes.
    ///
    /// # Errors
    /// [`HttpError::TooLarge`], before anything is read if the server says so; [`HttpError::Silent`] if it takes longer
    /// than documents may; those of [`Response::chunk`].
    pub async fn document(mut self, limit: usize) -> Result<Vec<u8>, HttpError> {
        let too_large = |url: &Url| HttpError::TooLarge { url: ShownUrl::new(url), limit: limit as u64 };
        if self.content_length().is_some_and(|length| length > limit as u64) {
            return Err(too_large(&self.url));
        }
        let (url, after) = (self.url.clone(), self.document_time);
        let read = async {
            let mut body = Vec::new();
            while let Some(chunk) = self.chunk().await? {
                if body.len() + chunk.len() > limit {
                    return Err(too_large(&self.url));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body)
        };
        let late = || HttpError::Silent { url: ShownUrl::new(&url), what: "reading a document", after };
        timeout(after, read).await.map_err(|_| late())?
    }

    /// The answer itself, if it is one of success.
    ///
    /// # Errors
    /// [`HttpError::Status`] with the reason that the server gives.
    pub async fn success(self) -> Result<Self, HttpError> {
        if self.status().is_success() { Ok(self) } else { Err(self.into_error().await) }
    }

    /// The error that this answer is.
    pub async fn into_error(self) -> HttpError {
        let (url, status) = (ShownUrl::new(&self.url), self.status());
        let body = self.document(MESSAGE).await.unwrap_or_default();
        HttpError::Status { url, status, detail: message(&body) }
    }
}

/// The message in an error answer of a registry (distribution-spec, Error Codes) or of a token service.
fn message(body: &[u8]) -> Option<Quoted> {
    #[derive(serde::Deserialize)]
    struct Errors {
        errors: Option<Vec<Entry>>,
        details: Option<String>,
        error_description: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        code: Option<String>,
        message: Option<String>,
    }
    let parsed: Errors = serde_json::from_slice(body).ok()?;
    let first = parsed.errors.and_then(|errors| errors.into_iter().next());
    let text = first.and_then(|entry| entry.message.or(entry.code)).or(parsed.details).or(parsed.error_description)?;
    (!text.is_empty()).then(|| Quoted::new(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_registries_are_found() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"x":1}}]}"#;
        assert_eq!(message(body), Some(Quoted::new("manifest unknown")));
        assert_eq!(message(br#"{"errors":[{"code":"DENIED"}]}"#), Some(Quoted::new("DENIED")));
        assert_eq!(
            message(br#"{"details":"incorrect username or password"}"#).map(|it| it.to_string()).as_deref(),
            Some("\"incorrect username or password\"")
        );
        assert_eq!(message(b"<html>"), None);
        assert_eq!(message(br#"{"errors":[]}"#), None);
    }
}
