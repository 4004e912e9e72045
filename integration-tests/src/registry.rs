//! A real registry (Debian's docker-registry) on a loopback address, also behind TLS and with passwords.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::needs::tool;
use crate::{Env, limit};

/// How a registry is set up.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    tls: Option<(PathBuf, PathBuf)>,
    user: Option<(String, String)>,
}

/// A registry that runs until this is dropped.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
    setup: Setup,
}

/// A certificate authority of a test's own.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
}

impl Setup {
    /// Plain HTTP, open to everybody.
    pub fn plain() -> Self {
        Self::default()
    }

    /// TLS with this certificate and key.
    pub fn tls(mut self, (certificate, key): (PathBuf, PathBuf)) -> Self {
        self.tls = Some((certificate, key));
        self
    }

    /// Open only to this user.
    pub fn user(mut self, user: &str, password: &str) -> Self {
        self.user = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Starts it, with its data in a folder `name` of the test's.
    ///
    /// # Errors
    /// Says which program is missing.
    pub fn start(self, env: &Env, name: &str) -> Result<Registry, String> {
        let program = tool("docker-registry")?;
        let dir = env.path(name);
        fs::create_dir_all(dir.join("data")).expect("the test's folder is ours");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
        let mut config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: false}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http:\n  addr: {free}\n",
            dir.join("data").display()
        );
        if let Some((certificate, key)) = &self.tls {
            config += &format!("  tls: {{certificate: {}, key: {}}}\n", certificate.display(), key.display());
        }
        if let Some((user, password)) = &self.user {
            let line = Command::new(tool("htpasswd")?).args(["-Bbn", user, password]).output().expect("htpasswd runs");
            fs::write(dir.join("htpasswd"), line.stdout).expect("the test's folder is ours");
            config += &format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", dir.join("htpasswd").display());
        }
        fs::write(dir.join("config.yml"), config).expect("the test's folder is ours");
        let log = dir.join("log");
        let file = || Stdio::from(fs::File::options().append(true).create(true).open(&log).expect("the test's folder"));
        let mut command = Command::new(program);
        command.arg("serve").arg(dir.join("config.yml")).stdin(Stdio::null()).stdout(file()).stderr(file());
        let child = command.env_clear().env("PATH", "/usr/bin:/bin").spawn().expect("docker-registry starts");
        let mut registry = Registry { child, address: free, log, setup: self };
        registry.wait();
        Ok(registry)
    }
}

impl Registry {
    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `127.0.0.1:PORT/NAME`.
    pub fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Copies an image into it with skopeo, with more options for that.
    ///
    /// # Errors
    /// Says that there is no skopeo.
    #[track_caller]
    pub fn push(&self, layout: &Path, name: &str, more: &[&str]) -> Result<(), String> {
        let mut skopeo = Command::new(tool("skopeo")?);
        skopeo.args(["copy", "--quiet", "--dest-tls-verify=false", "--insecure-policy"]).args(more);
        if let Some((user, password)) = &self.setup.user {
            skopeo.arg(format!("--dest-creds={user}:{password}"));
        }
        skopeo.arg(format!("oci:{}", layout.display())).arg(format!("docker://{}", self.name(name)));
        let output = skopeo.output().expect("skopeo runs");
        assert!(output.status.success(), "{skopeo:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Sends one request over plain HTTP and returns the status code and the whole answer.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn request(&self, line: &str, headers: &[&str], body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        let mut head = format!("{line} HTTP/1.0\r\nHost: {}\r\nContent-Length: {}\r\n", self.address, body.len());
        headers.iter().for_each(|header| head += &format!("{header}\r\n"));
        stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(body)).expect("it reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it answers");
        let status = String::from_utf8_lossy(&answer[..answer.len().min(12)]);
        (status.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("an HTTP answer"), answer)
    }

    /// The requests that read, as it has logged them: `"GET /v2/… HTTP/1.1" 200`.
    pub fn requests(&self) -> Vec<String> {
        self.logged(&["\"GET ", "\"HEAD "])
    }

    /// The bytes of blobs that it has sent.
    pub fn sent(&self) -> u64 {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let bytes = |line: &str| {
            let (_, answer) =
                line.split_once("\"GET ").filter(|(_, it)| it.contains("/blobs/"))?.1.split_once("\" ")?;
            answer.split(' ').nth(1)?.parse::<u64>().ok()
        };
        log.lines().filter_map(bytes).sum()
    }

    /// The requests that write.
    pub fn uploads(&self) -> Vec<String> {
        self.logged(&["\"POST ", "\"PUT ", "\"PATCH "])
    }

    fn logged(&self, methods: &[&str]) -> Vec<String> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let request = |line: &str| {
            let start = methods.iter().find_map(|it| line.find(it))?;
            Some(line[start..].split(' ').take(4).collect::<Vec<_>>().join(" "))
        };
        log.lines().filter_map(request).collect()
    }

    /// A manifest or blob, as plain HTTP gives it.
    ///
    /// # Panics
    /// When it is not there.
    #[track_caller]
    pub fn get(&self, path: &str, accept: &str) -> Vec<u8> {
        let (status, answer) = self.request(&format!("GET /v2/{path}"), &[&format!("Accept: {accept}")], b"");
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&answer));
        let start = answer.windows(4).position(|it| it == b"\r\n\r\n").expect("a head") + 4;
        answer[start..].to_vec()
    }

    /// Puts a blob there, as plain HTTP does.
    ///
    /// # Panics
    /// When it is not taken.
    pub fn put_blob(&self, name: &str, digest: &str, bytes: &[u8]) {
        let (status, answer) = self.request(&format!("POST /v2/{name}/blobs/uploads/"), &[], b"");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(status, 202, "{answer}");
        let place = answer.lines().find_map(|line| line.strip_prefix("Location: ")).expect("a place").trim();
        let place = place.trim_start_matches(&format!("http://{}", self.address));
        let kind = "Content-Type: application/octet-stream";
        let (status, answer) = self.request(&format!("PUT {place}&digest={digest}"), &[kind], bytes);
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
    }

    /// Puts a manifest or index there, as plain HTTP does.
    ///
    /// # Panics
    /// When it is not taken.
    pub fn put_manifest(&self, name: &str, version: &str, media_type: &str, bytes: &[u8]) {
        let line = format!("PUT /v2/{name}/manifests/{version}");
        let (status, answer) = self.request(&line, &[&format!("Content-Type: {media_type}")], bytes);
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
    }

    /// The file in which it keeps a blob: what a test damages.
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let dir = self.log.parent().expect("it is in a folder").join("data/docker/registry/v2/blobs/sha256");
        dir.join(&hex[..2]).join(hex).join("data")
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + limit();
        while TcpStream::connect(self.address).is_err() {
            let ended = self.child.try_wait().expect("it is our child");
            assert!(ended.is_none(), "docker-registry: {}", fs::read_to_string(&self.log).unwrap_or_default());
            assert!(Instant::now() < deadline, "docker-registry does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Authority {
    /// Makes one in a folder `ca` of the test's.
    ///
    /// # Errors
    /// Says that there is no openssl.
    pub fn new(env: &Env) -> Result<Self, String> {
        let dir = env.path("ca");
        fs::create_dir_all(&dir).expect("the test's folder is ours");
        let it = Self { dir };
        it.openssl(
            &["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
            &["-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=proa test authority"],
        )?;
        Ok(it)
    }

    /// Its own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A certificate and key for these names (`DNS:…`, `IP:…`), valid from now for so many days: a negative number makes
    /// one that has expired.
    ///
    /// # Errors
    /// Says that there is no openssl.
    pub fn issue(&self, file: &str, names: &str, days: i32) -> Result<(PathBuf, PathBuf), String> {
        let [key, request, certificate] = self.request(file, names)?;
        self.openssl(
            &["x509", "-req", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"],
            &["-in", &request, "-out", &certificate, "-extfile", "extensions", "-days", &days.to_string()],
        )?;
        Ok((self.dir.join(certificate), self.dir.join(key)))
    }

    /// A certificate and key for these names that are valid between two moments, `YYYYMMDDHHMMSSZ` each.
    ///
    /// # Errors
    /// Says that there is no openssl.
    pub fn issue_between(&self, file: &str, names: &str, from: &str, to: &str) -> Result<(PathBuf, PathBuf), String> {
        let [key, request, certificate] = self.request(file, names)?;
        let config = "[ca]\ndefault_ca = own\n[own]\ndatabase = issued\nnew_certs_dir = .\ndefault_md = sha256\n\
                      unique_subject = no\nrand_serial = yes\npolicy = any\n[any]\ncommonName = supplied\n";
        for (name, content) in [("ca.cnf", config), ("issued", "")] {
            fs::write(self.dir.join(name), content).expect("the test's folder is ours");
        }
        self.openssl(
            &["ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key"],
            &["-in", &request, "-out", &certificate, "-extfile", "extensions", "-startdate", from, "-enddate", to],
        )?;
        Ok((self.dir.join(certificate), self.dir.join(key)))
    }

    /// Makes a key and asks for a certificate: the files of key, request and certificate.
    fn request(&self, file: &str, names: &str) -> Result<[String; 3], String> {
        let [key, request, certificate] = ["key", "csr", "pem"].map(|kind| format!("{file}.{kind}"));
        self.openssl(
            &["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
            &["-keyout", &key, "-out", &request, "-subj", "/CN=proa test"],
        )?;
        fs::write(self.dir.join("extensions"), format!("subjectAltName={names}\n")).expect("the test's folder is ours");
        Ok([key, request, certificate])
    }

    /// A certificate and key that nobody but itself has signed.
    ///
    /// # Errors
    /// Says that there is no openssl.
    pub fn self_signed(&self, names: &str) -> Result<(PathBuf, PathBuf), String> {
        let names = format!("subjectAltName={names}");
        self.openssl(
            &["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
            &["-keyout", "self.key", "-out", "self.pem", "-days", "30", "-subj", "/CN=proa", "-addext", &names],
        )?;
        Ok((self.dir.join("self.pem"), self.dir.join("self.key")))
    }

    fn openssl(&self, verb: &[&str], more: &[&str]) -> Result<(), String> {
        let mut command = Command::new(tool("openssl")?);
        let output = command.args(verb).args(more).current_dir(&self.dir).output().expect("openssl runs");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}
