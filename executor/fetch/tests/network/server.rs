//! A server on a loopback address that answers byte for byte what a test wants.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use fetch::http::{Client, Settings, Url};

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// `GET /path HTTP/1.1`.
    pub(crate) line: String,
    /// The header lines, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

/// A running server. Its threads end with the test's process.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Head>>>,
}

impl Server {
    /// Answers every request with what `answer` writes; then the connection is closed.
    pub(crate) fn start(answer: impl Fn(&Head, &mut TcpStream) + Send + Sync + 'static) -> Self {
        Self::with_bodies(move |head, _, stream| answer(head, stream))
    }

    /// The same, with the body of the request.
    pub(crate) fn with_bodies(answer: impl Fn(&Head, &[u8], &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&requests), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                thread::spawn(move || serve(stream, &seen, answer.as_ref()));
            }
        });
        Self { address, requests }
    }

    /// Answers every request with the same bytes.
    pub(crate) fn always(answer: &str) -> Self {
        let answer = answer.to_owned();
        Self::start(move |_, stream| drop(stream.write_all(answer.as_bytes())))
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}{path}", self.address)).expect("a good URL")
    }

    /// The same by host name: another origin, and one that the resolver is asked about.
    pub(crate) fn named_url(&self, path: &str) -> Url {
        Url::parse(&format!("http://localhost:{}{path}", self.address.port())).expect("a good URL")
    }

    pub(crate) fn requests(&self) -> Vec<Head> {
        self.requests.lock().expect("no test panics with it").clone()
    }
}

type Answer = dyn Fn(&Head, &[u8], &mut TcpStream) + Send + Sync;

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Head>>, answer: &Answer) {
    let Ok(copy) = stream.try_clone() else { return };
    let mut reader = BufReader::new(copy);
    let mut lines = reader.by_ref().lines().map_while(Result::ok);
    let Some(line) = lines.next() else { return };
    let headers = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    let head = Head { headers: headers.collect(), line };
    let length = head.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    seen.lock().expect("no test panics with it").push(head.clone());
    answer(&head, &body, &mut stream);
}

/// An answer with this status line, these header lines and this body.
pub(crate) fn answer(status: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

/// A client with little patience.
pub(crate) fn client() -> Client {
    Client::new(Settings {
        plain_http: true,
        silence: Duration::from_millis(400),
        document_time: Duration::from_secs(2),
        first_pause: Duration::from_millis(5),
        ..Settings::default()
    })
}
