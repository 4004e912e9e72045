//! A web site for tests: TLS with a certificate of a private authority, any host name, answers as the test wants them.
//!
//! One port speaks TLS, plain HTTP, and HTTP's CONNECT. As a proxy ([`Site::proxy`]) it is every host of the Internet, at
//! the ports that belong to `https` and `http`: so images can be fetched by names like `example.com/app`.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::Env;
use crate::needs::{self, Why};

mod internet;

pub use internet::Internet;

/// One request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// `https` or `http`.
    pub scheme: &'static str,
    /// The host that was asked for, with its port where that is not the scheme's own.
    pub host: String,
    /// `GET`, `HEAD`, …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
}

impl Hit {
    /// `https://HOST/PATH?QUERY`.
    pub fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.host, self.path)
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    cut_after: Option<usize>,
}

impl Answer {
    /// Success with a body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into(), cut_after: None }
    }

    /// A status and nothing else.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::ok("") }
    }

    /// A part of something; its `Content-Range` is for the caller to add.
    pub fn partial(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 206, ..Self::ok(body) }
    }

    /// A redirect.
    pub fn redirect(to: &str) -> Self {
        Self::status(302).header("Location", to)
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Closes the connection after so many bytes of the body.
    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.cut_after = Some(bytes);
        self
    }
}

type Handler = Box<dyn FnMut(&Hit) -> Answer + Send>;

#[derive(Default)]
struct Shared {
    routes: Mutex<Vec<(String, Handler)>>,
    hits: Mutex<Vec<Hit>>,
    over: AtomicBool,
}

/// The site; dropping it ends it.
pub struct Site {
    address: SocketAddr,
    authority: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Site {
    /// A site that answers 404 to everything. Its certificate is good for `localhost`, 127.0.0.1, example.com and
    /// other.org and everything below them.
    ///
    /// # Errors
    /// Says that openssl is not there.
    pub fn start(env: &Env) -> Result<Self, Why> {
        needs::tool("openssl")?;
        let folder = env.path("site");
        env.make_dir(&folder);
        let names = "DNS:localhost,IP:127.0.0.1,DNS:example.com,DNS:*.example.com,DNS:other.org,DNS:*.other.org";
        let config = certify(&folder, names, 30);
        let authority = folder.join("ca.pem");
        env.own(&authority);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared::default());
        let ours = Arc::clone(&shared);
        let thread = std::thread::spawn(move || serve(&listener, &Arc::new(config), &ours));
        Ok(Self { address, authority, shared, thread: Some(thread) })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The certificate to trust: a value for `SSL_CERT_FILE`.
    pub fn authority(&self) -> &Path {
        &self.authority
    }

    /// A value for `HTTPS_PROXY` and `HTTP_PROXY`.
    pub fn proxy(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers requests whose `HOST/PATH?QUERY`, or whose path without the query, is `what`. A later route for the same
    /// replaces an earlier one.
    pub fn route(&self, what: &str, handler: impl FnMut(&Hit) -> Answer + Send + 'static) {
        let mut routes = self.shared.routes.lock().expect("no handler panics");
        routes.retain(|(other, _)| other != what);
        routes.push((what.to_owned(), Box::new(handler)));
    }

    /// Always gives this answer.
    pub fn page(&self, what: &str, answer: Answer) {
        self.route(what, move |_| answer.clone());
    }

    /// Serves a file's bytes with an `ETag`, and parts of them as they are asked for.
    pub fn file(&self, what: &str, bytes: Vec<u8>) {
        let etag = format!("\"{}\"", hex::encode(&<sha2::Sha256 as sha2::Digest>::digest(&bytes)[..8]));
        self.route(what, move |hit| part(hit, &bytes, &etag));
    }

    /// The requests so far; forgets them.
    pub fn hits(&self) -> Vec<Hit> {
        std::mem::take(&mut self.shared.hits.lock().expect("no handler panics"))
    }

    /// The URLs of the requests so far; forgets them.
    pub fn urls(&self) -> Vec<String> {
        self.hits().iter().map(Hit::url).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The file, the part that is asked for, or that nothing has changed.
fn part(hit: &Hit, bytes: &[u8], etag: &str) -> Answer {
    let answer = |body: &[u8]| Answer::ok(body).header("ETag", etag).header("Accept-Ranges", "bytes");
    if hit.header("if-none-match") == Some(etag) {
        return Answer { status: 304, ..answer(b"") };
    }
    let range = hit.header("range").and_then(|it| it.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let same = hit.header("if-range").is_none_or(|it| it == etag);
    match range.filter(|start| same && *start < bytes.len()) {
        Some(start) => {
            let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
            Answer { status: 206, ..answer(&bytes[start..]) }.header("Content-Range", &range)
        }
        None => answer(bytes),
    }
}

/// Makes an authority and a certificate of it in `folder` (`ca.pem`, `cert.pem`, `key.pem`).
fn certify(folder: &Path, names: &str, days: u32) -> ServerConfig {
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).current_dir(folder).output().expect("openssl starts");
        assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let days = days.to_string();
    let authority =
        ["req", "-x509", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem", "-days", &days];
    openssl(&[&authority[..], &curve].concat());
    openssl(&[&["req", "-subj", "/CN=test site", "-keyout", "key.pem", "-out", "request.pem"][..], &curve].concat());
    std::fs::write(folder.join("names"), format!("subjectAltName={names}")).expect("the folder is ours");
    let sign = ["x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
    openssl(&[&sign[..], &["-out", "cert.pem", "-extfile", "names", "-days", &days]].concat());
    let certificate = CertificateDer::from_pem_file(folder.join("cert.pem")).expect("openssl wrote it");
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).expect("openssl wrote it");
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|it| it.with_no_client_auth().with_single_cert(vec![certificate], key))
        .expect("a certificate and its key")
}

fn serve(listener: &TcpListener, config: &Arc<ServerConfig>, shared: &Arc<Shared>) {
    let mut connections = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        if shared.over.load(Ordering::SeqCst) {
            break;
        }
        // A client that says nothing must not keep the test from ending.
        let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
        let (config, shared) = (Arc::clone(config), Arc::clone(shared));
        // What a client does wrong is for the test to see in what the client says.
        connections.push(std::thread::spawn(move || drop(connection(stream, &config, &shared))));
    }
    connections.into_iter().for_each(|it| drop(it.join()));
}

/// Answers the requests of one connection.
fn connection(stream: TcpStream, config: &Arc<ServerConfig>, shared: &Shared) -> io::Result<()> {
    let mut first = [0; 1];
    let mut proxied = false;
    loop {
        stream.peek(&mut first)?;
        if first[0] == 0x16 {
            let tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
            return requests(&mut BufReader::new(StreamOwned::new(tls, stream)), "https", shared);
        }
        if proxied || first[0] != b'C' {
            return requests(&mut BufReader::new(stream), "http", shared);
        }
        // CONNECT. Read byte by byte: what follows is the handshake.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            (&stream).read_exact(&mut first)?;
            head.push(first[0]);
        }
        (&stream).write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
        proxied = true;
    }
}

fn requests<S: Read + Write>(stream: &mut BufReader<S>, scheme: &'static str, shared: &Shared) -> io::Result<()> {
    while let Some(hit) = request(stream, scheme)? {
        shared.hits.lock().expect("no handler panics").push(hit.clone());
        let answer = answer(&hit, shared);
        let cut = answer.cut_after.is_some();
        send(stream.get_mut(), &hit, &answer)?;
        if cut {
            return Ok(());
        }
    }
    Ok(())
}

fn request<S: Read>(stream: &mut BufReader<S>, scheme: &'static str) -> io::Result<Option<Hit>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let host = headers.get("host").cloned().unwrap_or_default();
    // A proxy gets the whole URL.
    let path =
        target.strip_prefix("http://").and_then(|it| it.find('/').map(|at| it[at..].to_owned())).unwrap_or(target);
    Ok(Some(Hit { scheme, host, method, path, headers }))
}

fn answer(hit: &Hit, shared: &Shared) -> Answer {
    let host = hit.host.split(':').next().unwrap_or_default();
    let bare = hit.path.split('?').next().unwrap_or_default();
    let names = [format!("{host}{}", hit.path), format!("{host}{bare}"), hit.path.clone(), bare.to_owned()];
    let mut routes = shared.routes.lock().expect("no handler panics");
    let route = names.iter().find_map(|name| routes.iter().position(|(what, _)| what == name));
    route.map_or_else(|| Answer::status(404), |index| routes[index].1(hit))
}

fn send(stream: &mut impl Write, hit: &Hit, answer: &Answer) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Test\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    if hit.method != "HEAD" && answer.status != 304 {
        let end = answer.cut_after.unwrap_or(answer.body.len()).min(answer.body.len());
        stream.write_all(&answer.body[..end])?;
    }
    stream.flush()
}
