//! The service's answers.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};

/// A manifest, a list, an error.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A plain value, exactly as the specification writes it (appc ace.md, App Container Metadata Service).
pub(crate) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=us-ascii");

/// An annotation's value that is not ASCII.
pub(crate) const ANY_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// A signed identity (RFC 7519, section 10.3.1).
pub(crate) const JWT: HeaderValue = HeaderValue::from_static("application/jwt");

/// Public keys (RFC 7517, section 8.5.2).
pub(crate) const JWK_SET: HeaderValue = HeaderValue::from_static("application/jwk-set+json");

/// An answer without regard to how it is sent.
#[derive(Debug)]
pub(crate) enum Answer {
    /// What was asked for.
    Found(HeaderValue, Bytes),
    /// Why there is nothing.
    Refused(&'static Refusal),
}

/// Why a request gets nothing. The text says nothing about the pod to somebody without its token.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    body: &'static str,
    allow: Option<&'static str>,
    /// Whether the connection ends: what follows on it may not be a request, or was not meant for this service.
    close: bool,
}

impl Refusal {
    const fn new(status: StatusCode, body: &'static str) -> Self {
        Self { status, body, allow: None, close: false }
    }

    const fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    const fn allow(self, methods: &'static str) -> Self {
        Self { allow: Some(methods), ..self }
    }

    /// The same as bytes of a response, for a connection that hyper does not have or has let go of.
    pub(crate) fn raw(&self) -> String {
        let Self { status, body, .. } = self;
        let kind = "Content-Type: application/json\r\nConnection: close";
        format!("HTTP/1.1 {status}\r\n{kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $number:literal $status:ident $text:literal $(. $more:ident($($with:literal)?))*;)*) => {
        $($(#[$doc])* pub(crate) static $name: Refusal = Refusal::new(
            StatusCode::$status,
            concat!("{\"status\":", $number, ",\"error\":\"", $text, "\"}\n"),
        )$(.$more($($with)?))*;)*

        #[cfg(test)]
        const ALL: &[(u16, &Refusal)] = &[$(($number, &$name)),*];
    };
}

refusals! {
    BAD_TARGET = 400 BAD_REQUEST "the request's target must be a path".closing();
    BAD_HOST = 400 BAD_REQUEST "the request must have one Host field".closing();
    TRANSFER_ENCODING = 400 BAD_REQUEST "Transfer-Encoding is not accepted: send a Content-Length".closing();
    BODY = 400 BAD_REQUEST "a request of this method must not have a body".closing();
    FORWARDED = 400 BAD_REQUEST "the request was forwarded or rewritten by a proxy".closing();
    BODY_CUT = 400 BAD_REQUEST "the body could not be read".closing();
    NO_FORM = 400 BAD_REQUEST "the body must be application/x-www-form-urlencoded";
    BAD_FORM = 400 BAD_REQUEST "the form is malformed, or has a field twice";
    NO_CONTENT = 400 BAD_REQUEST "the form has no field content, or an empty one";
    NO_UUID = 400 BAD_REQUEST "the form has no field uuid that is a UUID";
    NO_SIGNATURE = 400 BAD_REQUEST "the form has no field signature that is base64";
    NO_AUDIENCE = 400 BAD_REQUEST "say once for whom the identity is meant: ?audience=NAME, at most 1024 bytes";
    /// The same for every wrong token, whatever stands after it.
    UNAUTHORIZED = 401 UNAUTHORIZED "the URL does not begin with this pod's token";
    BROWSER = 403 FORBIDDEN "requests from web pages are refused".closing();
    BAD_SIGNATURE = 403 FORBIDDEN "the signature is not that pod's for this content";
    NO_ROUTE = 404 NOT_FOUND "there is nothing at this path";
    NO_APP = 404 NOT_FOUND "no app of this pod has that name";
    NO_ANNOTATION = 404 NOT_FOUND "there is no annotation of that name";
    NO_LOG = 404 NOT_FOUND "there is no log to be found";
    IDENTITY_ELSEWHERE = 404 NOT_FOUND "ask for an identity at the app's own socket, /run/proa/identity.sock";
    NOT_GET = 405 METHOD_NOT_ALLOWED "only GET is allowed here".allow("GET, HEAD");
    NOT_POST = 405 METHOD_NOT_ALLOWED "only POST is allowed here".allow("POST");
    TIMEOUT = 408 REQUEST_TIMEOUT "the request took too long".closing();
    TOO_LARGE = 413 PAYLOAD_TOO_LARGE "the body is larger than 1 MiB".closing();
    NO_KEYS = 500 INTERNAL_SERVER_ERROR "the keys of this user cannot be had";
    WRONG_HOST = 421 MISDIRECTED_REQUEST "the Host field does not name this service".closing();
    TOO_MANY_GUESSES = 429 TOO_MANY_REQUESTS "too many requests without this pod's token".closing();
    TOO_MANY_CONNECTIONS = 429 TOO_MANY_REQUESTS "too many connections from this pod".closing();
}

impl From<&'static Refusal> for Answer {
    fn from(refusal: &'static Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Answer {
    pub(crate) fn into_response(self) -> Response<Full<Bytes>> {
        let (status, kind, body, refusal) = match self {
            Self::Found(kind, body) => (StatusCode::OK, kind, body, None),
            Self::Refused(refusal) => {
                (refusal.status, JSON, Bytes::from_static(refusal.body.as_bytes()), Some(refusal))
            }
        };
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, kind);
        // A browser that was talked into asking must neither guess at the content, nor keep it, nor tell the URL on.
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        if let Some(methods) = refusal.and_then(|it| it.allow) {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        if refusal.is_some_and(|it| it.close) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_json_that_says_their_status() {
        for (number, refusal) in ALL {
            let body: serde_json::Value = serde_json::from_str(refusal.body).unwrap();
            assert_eq!(refusal.status.as_u16(), *number, "{}", refusal.body);
            assert_eq!(body["status"], *number);
            assert!(body["error"].as_str().is_some_and(|text| !text.is_empty()));
            assert_eq!(refusal.allow.is_some(), *number == 405);
            assert!(refusal.raw().ends_with(refusal.body));
        }
    }
}
