//! An app's side: asks the service over HTTP, one request a connection.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{FLAVOR, Route};

/// Longest answer that is read: a manifest of the largest size and its head.
const MAX_ANSWER: u64 = appc::MAX_MANIFEST_BYTES as u64 + 64 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// Not `http://ADDRESS:PORT/TOKEN` with a numeric address. The text holds a token and is not repeated.
    #[error("the metadata service's URL is not of the form http://ADDRESS[:PORT]/TOKEN")]
    BadUrl,
    /// The service cannot be reached, or is too slow.
    #[error("ask {peer}")]
    Io {
        /// Who was asked.
        peer: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// Not an HTTP answer of a length that is told.
    #[error("{peer} answers no HTTP that is understood")]
    NotHttp {
        /// Who answered.
        peer: String,
    },
}

/// An answer of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The `Content-Type`; empty if there is none.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
}

/// A way to the service.
#[derive(Debug, Clone)]
pub struct Service {
    peer: Peer,
    /// What stands before every route.
    prefix: String,
    /// How long connecting, and each wait for the answer, may take.
    time_limit: Duration,
}

#[derive(Debug, Clone)]
enum Peer {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Service {
    /// The service at the URL in `AC_METADATA_URL`.
    ///
    /// # Errors
    /// [`AskError::BadUrl`].
    pub fn at(url: &str, time_limit: Duration) -> Result<Self, AskError> {
        let (authority, token) =
            url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).ok_or(AskError::BadUrl)?;
        let address = authority.parse().or_else(|_| authority.parse().map(|ip| SocketAddr::new(ip, 80)));
        let is_plain = |c: char| c.is_ascii_graphic();
        if token.is_empty() || !token.chars().all(is_plain) {
            return Err(AskError::BadUrl);
        }
        let peer = Peer::Tcp(address.map_err(|_| AskError::BadUrl)?);
        Ok(Self { peer, prefix: format!("/{}", token.trim_end_matches('/')), time_limit })
    }

    /// The service at a Unix socket.
    #[must_use]
    pub fn at_socket(path: &Path, time_limit: Duration) -> Self {
        Self { peer: Peer::Unix(path.into()), prefix: String::new(), time_limit }
    }

    /// Gets what a route names.
    ///
    /// # Errors
    /// [`AskError`]; an answer that is no success is an answer.
    pub fn get(&self, route: &Route) -> Result<Answer, AskError> {
        self.get_path(&route.to_string())
    }

    /// Gets a path below the service's URL.
    ///
    /// # Errors
    /// As [`Service::get`].
    pub fn get_path(&self, path: &str) -> Result<Answer, AskError> {
        self.ask("GET", path, "")
    }

    /// Posts a form to what a route names.
    ///
    /// # Errors
    /// As [`Service::get`].
    pub fn post(&self, route: &Route, fields: &[(&str, &[u8])]) -> Result<Answer, AskError> {
        self.ask("POST", &route.to_string(), &form(fields))
    }

    fn ask(&self, method: &str, path: &str, form: &str) -> Result<Answer, AskError> {
        let host = match &self.peer {
            Peer::Tcp(address) => address.to_string(),
            Peer::Unix(_) => "localhost".to_owned(),
        };
        let (name, value) = FLAVOR;
        let mut request = format!(
            "{method} {}{path} HTTP/1.1\r\nHost: {host}\r\n{name}: {value}\r\nConnection: close\r\n",
            self.prefix
        );
        if method == "POST" {
            let kind = "application/x-www-form-urlencoded";
            let _ = write!(request, "Content-Type: {kind}\r\nContent-Length: {}\r\n", form.len());
        }
        request += "\r\n";
        request += form;
        let failed = |source| AskError::Io { peer: self.to_string(), source };
        let answer = match &self.peer {
            Peer::Tcp(address) => TcpStream::connect_timeout(address, self.time_limit).and_then(|stream| {
                stream.set_read_timeout(Some(self.time_limit))?;
                exchange(stream, &request)
            }),
            Peer::Unix(path) => UnixStream::connect(path).and_then(|stream| {
                stream.set_read_timeout(Some(self.time_limit))?;
                exchange(stream, &request)
            }),
        };
        parse(&answer.map_err(failed)?).ok_or_else(|| AskError::NotHttp { peer: self.to_string() })
    }
}

/// Without the token.
impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.peer {
            Peer::Tcp(address) => write!(f, "the metadata service at {address}"),
            Peer::Unix(path) => write!(f, "the metadata service at {}", path.display()),
        }
    }
}

fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    match stream.take(MAX_ANSWER).read_to_end(&mut answer) {
        // A service that refuses a request without reading all of it resets the connection after its answer.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset && !answer.is_empty() => {}
        read => drop(read?),
    }
    Ok(answer)
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let body = &answer[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let mut content_type = String::new();
    let mut length = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-type") {
            value.trim().clone_into(&mut content_type);
        } else if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().ok();
        }
    }
    // What is cut short is no answer.
    (body.len() == length?).then(|| Answer { status, content_type, body: body.to_vec() })
}

/// A form as browsers write it (WHATWG URL, application/x-www-form-urlencoded).
#[must_use]
pub fn form(fields: &[(&str, &[u8])]) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        if !text.is_empty() {
            text.push('&');
        }
        escape(name.as_bytes(), &mut text);
        text.push('=');
        escape(value, &mut text);
    }
    text
}

fn escape(bytes: &[u8], to: &mut String) {
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => to.push(byte.into()),
            b' ' => to.push('+'),
            byte => {
                let _ = write!(to, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let service = |url| Service::at(url, Duration::from_secs(1));
        let found = service("http://169.254.169.254:18112/abc").unwrap();
        assert_eq!(found.to_string(), "the metadata service at 169.254.169.254:18112");
        assert_eq!(found.prefix, "/abc");
        assert_eq!(service("http://127.0.0.1/abc/").unwrap().to_string(), "the metadata service at 127.0.0.1:80");
        for url in [
            "",
            "http://",
            "http://1.2.3.4",
            "http://1.2.3.4/",
            "https://1.2.3.4/x",
            "http://host/x",
            "http://1.2.3.4/a b",
        ] {
            assert!(matches!(service(url), Err(AskError::BadUrl)), "{url}");
        }
    }

    #[test]
    fn answers() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=us-ascii\r\nContent-Length: 2\r\n\r\nhi";
        let answer = parse(text).unwrap();
        assert_eq!((answer.status, answer.content_type.as_str()), (200, "text/plain; charset=us-ascii"));
        assert_eq!(answer.body, b"hi");
        for end in 0..text.len() {
            assert_eq!(parse(&text[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn forms() {
        assert_eq!(form(&[]), "");
        assert_eq!(
            form(&[("content", b"Old MacDonald & co"), ("b", b"\0\xff=%")]),
            "content=Old+MacDonald+%26+co&b=%00%FF%3D%25"
        );
    }
}
