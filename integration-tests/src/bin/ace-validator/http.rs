//! A client that knows as much of HTTP as the checks need.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Time for a whole request. The original gives a tenth of a second (appc ace/validator.go), and fails where other tests
/// keep the processors for as long: here the answers are checked, and `bench/metadata` tells how long they take.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// What a service answers.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

/// Gets a URL, or posts a form to it.
pub(crate) fn request(url: &str, form: Option<&str>) -> Result<Answer, String> {
    let (host, path) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(|| format!("unsupported URL {url:?}"))?;
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let address = address.parse().map_err(|error| format!("{address:?}: {error}"))?;
    let deadline = Instant::now() + TIME_LIMIT;
    let left = || Some(deadline.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1)));
    let mut stream = TcpStream::connect_timeout(&address, TIME_LIMIT).map_err(|error| error.to_string())?;
    let method = if form.is_some() { "POST" } else { "GET" };
    let kind = form.map_or(String::new(), |form| {
        format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n", form.len())
    });
    let head = format!(
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nMetadata-Flavor: AppContainer\r\nConnection: close\r\n{kind}\r\n"
    );
    let message = head + form.unwrap_or_default();
    stream.set_write_timeout(left()).map_err(|error| error.to_string())?;
    stream.write_all(message.as_bytes()).map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        stream.set_read_timeout(left()).map_err(|error| error.to_string())?;
        match stream.read(&mut buffer) {
            Ok(0) => return parse(&answer).ok_or_else(|| "malformed HTTP response".to_owned()),
            Ok(length) => answer.extend_from_slice(&buffer[..length]),
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let field = |wanted: &str| {
        let fields = head.lines().filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.to_owned())
    };
    let body = answer[end + 4..].to_vec();
    let length: usize = field("content-length")?.parse().ok()?;
    (body.len() == length).then(|| Answer { status, content_type: field("content-type").unwrap_or_default(), body })
}

/// A value as it stands in a form.
pub(crate) fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
