//! An image of one layer, registries that have it, and how it is pulled.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpStream;

use fetch::http::Client;
use fetch::registry::{Credentials, NoCredentials, Puller, Registries, RegistryError, RegistryRef};
use fetch::{Algorithm, Digest, OciImage};
use serde_json::{Value, json};

use crate::server::{Head, Server, client};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

pub(crate) fn digest(bytes: &[u8]) -> String {
    Digest::of(Algorithm::Sha256, bytes).to_string()
}

pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

/// An image of one layer, as documents.
pub(crate) struct Image {
    pub(crate) config: Vec<u8>,
    pub(crate) layer: Vec<u8>,
    pub(crate) manifest: Value,
}

impl Image {
    pub(crate) fn new() -> Self {
        let layer = vec![b'x'; 100_000];
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({"os": "linux", "architecture": architecture, "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]}});
        let config = config.to_string().into_bytes();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config), "layers": [descriptor(LAYER, &layer)]});
        Self { config, layer, manifest }
    }

    pub(crate) fn manifest(&self) -> Vec<u8> {
        self.manifest.to_string().into_bytes()
    }

    /// What a good registry answers: bodies by the last part of their paths.
    pub(crate) fn content(&self) -> BTreeMap<String, (String, Vec<u8>)> {
        let manifest = self.manifest();
        let octets = "application/octet-stream".to_owned();
        BTreeMap::from([
            (digest(&self.config), (octets.clone(), self.config.clone())),
            (digest(&self.layer), (octets, self.layer.clone())),
            (digest(&manifest), (MANIFEST.to_owned(), manifest.clone())),
            ("tag".to_owned(), (MANIFEST.to_owned(), manifest)),
        ])
    }
}

pub(crate) fn send(stream: &mut TcpStream, status: &str, headers: &[&str], body: &[u8]) {
    let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    headers.iter().for_each(|line| head += &format!("{line}\r\n"));
    let _ = stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(body));
}

pub(crate) fn serve(content: &BTreeMap<String, (String, Vec<u8>)>, head: &Head, stream: &mut TcpStream) {
    let name = head.path().rsplit('/').next().unwrap_or_default();
    match content.get(name) {
        Some((media_type, body)) => send(stream, "200 OK", &[&format!("Content-Type: {media_type}")], body),
        None => send(stream, "404 Not Found", &[], b"{}"),
    }
}

pub(crate) fn good(content: BTreeMap<String, (String, Vec<u8>)>) -> Server {
    Server::start(move |head, stream| serve(&content, head, stream))
}

pub(crate) fn reference(server: &Server) -> RegistryRef {
    format!("{}/some/app:tag", server.address).parse().unwrap()
}

pub(crate) fn puller<'a>(client: &'a Client, credentials: &'a dyn Credentials, server: &Server) -> Puller<'a> {
    Puller::new(client, credentials, &Registries::default(), reference(server)).unwrap()
}

pub(crate) fn pull(puller: &Puller<'_>) -> Result<(OciImage, Vec<u8>), RegistryError> {
    let found = puller.find()?;
    let image = puller.image(&found)?;
    let layer = download(puller, &found, &image, 0)?;
    Ok((image, layer))
}

pub(crate) fn download(
    puller: &Puller<'_>,
    found: &fetch::registry::Found,
    image: &OciImage,
    from: u64,
) -> Result<Vec<u8>, RegistryError> {
    let mut layer = Vec::new();
    let mut download = puller.download(found, &image.layers[0], from);
    puller.client().block_on(async {
        while let Some(bytes) = download.chunk().await? {
            layer.extend_from_slice(&bytes);
        }
        Ok::<_, RegistryError>(())
    })?;
    Ok(layer)
}

pub(crate) fn refusal(server: &Server) -> String {
    let client = client();
    let error = pull(&puller(&client, &NoCredentials, server)).expect_err("it must be refused");
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
