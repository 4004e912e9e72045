//! Uploads: blobs that a repository does not have, then the manifest that names them.
//!
//! ```text
//! HEAD  /v2/NAME/blobs/DIGEST                          is it there?
//! POST  /v2/NAME/blobs/uploads/?mount=DIGEST&from=…    is it in another repository of this registry?
//! POST  /v2/NAME/blobs/uploads/                        else: where to?
//! PUT   LOCATION?digest=DIGEST                         all of it at once,
//! PATCH LOCATION …                                     or in pieces, each with the place of the next
//! PUT   /v2/NAME/manifests/VERSION
//! ```
//! (distribution-spec, Push)
//!
//! The place of an upload may be on another host. Then it gets no credentials.

use std::fs::File;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION};
use reqwest::{Method, Url};
use tokio::time::timeout;
use tracing::debug;

use super::error::RegistryError;
use super::name::RegistryRef;
use super::pull::Registries;
use super::repository::{Access, Repository};
use super::secret::Credentials;
use crate::digest::{Algorithm, Digest};
use crate::http::{Body, Client, HttpError, Request, Response, Sent, ShownUrl};

/// How often an upload is begun anew after its connection was cut.
const TRIES: u32 = 3;

/// How often it is told how far an upload is.
const INTERVAL: Duration = Duration::from_millis(100);

/// A repository that is written to.
#[derive(Debug)]
pub struct Pusher<'a> {
    client: &'a Client,
    repository: Repository<'a>,
}

/// What is uploaded.
#[derive(Clone, Debug)]
pub enum Content {
    /// These bytes.
    Bytes(Bytes),
    /// The first `length` bytes of a file.
    File {
        /// The file, which is read by position.
        file: Arc<File>,
        /// How many bytes of it.
        length: u64,
    },
}

impl Content {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }

    fn part(&self, start: u64, length: u64, sent: &Sent) -> Body {
        match self {
            Self::Bytes(bytes) => {
                let index = |at: u64| usize::try_from(at).expect("it is within bytes in memory");
                Body::Bytes(bytes.slice(index(start)..index(start + length)))
            }
            Self::File { file, .. } => Body::File { file: Arc::clone(file), start, length, sent: Some(sent.clone()) },
        }
    }
}

impl<'a> Pusher<'a> {
    /// Gets ready to write to the repository of `reference`; nothing is sent yet.
    ///
    /// # Errors
    /// [`RegistryError::Http`] never for a host of a [`RegistryRef`].
    pub fn new(
        client: &'a Client,
        credentials: &'a dyn Credentials,
        registries: &Registries,
        reference: &RegistryRef,
    ) -> Result<Self, RegistryError> {
        let trusted = registries.token_services.get(reference.host()).map_or(&[][..], Vec::as_slice);
        let repository =
            Repository::new(client, credentials, reference.host(), reference.repository(), trusted, Access::Push)?;
        Ok(Self { client, repository })
    }

    /// The client that requests go through.
    pub fn client(&self) -> &'a Client {
        self.client
    }

    /// Whether the repository has this blob.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let answer = self.repository.send(&format!("blobs/{digest}"), Request::head).await?;
        match answer.status().as_u16() {
            200 => Ok(true),
            404 => Ok(false),
            _ => Err(self.repository.refusal(answer, "").await),
        }
    }

    /// Takes a blob over from the repository `from` of the same registry. Returns whether it is here now: registries
    /// need not do that, and users need access to the other one.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn mount(&self, digest: &Digest, from: &str) -> Result<bool, RegistryError> {
        self.repository.also_pull(from);
        let question = |mut url: Url| {
            url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", from);
            Request::new(Method::POST, url)
        };
        let answer = match self.repository.send("blobs/uploads/", question).await {
            // Access to the other repository was asked for on top, and refused.
            Err(RegistryError::Unauthorized { .. }) => return Ok(false),
            answer => answer?,
        };
        match answer.status().as_u16() {
            201 => Ok(true),
            // An upload was begun instead. It is not needed: the next one asks for its own place.
            202 => {
                self.cancel(&answer).await;
                Ok(false)
            }
            403..=405 => Ok(false),
            _ => Err(self.repository.refusal(answer, "").await),
        }
    }

    /// Uploads a blob: in pieces of `piece` bytes, or all at once. `told` is called with numbers of bytes on the way.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn upload(
        &self,
        digest: &Digest,
        content: &Content,
        piece: Option<u64>,
        mut told: impl FnMut(u64),
    ) -> Result<(), RegistryError> {
        let mut tries = 1;
        loop {
            let uploaded = match piece {
                Some(piece) => self.upload_in_pieces(digest, content, piece.max(1), &mut told).await,
                None => self.upload_at_once(digest, content, &mut told).await,
            };
            match uploaded {
                Err(RegistryError::Http(error)) if tries < TRIES && is_cut(&error) => {
                    debug!(%digest, %error, "beginning the upload anew");
                    tries += 1;
                }
                uploaded => return uploaded,
            }
        }
    }

    /// Puts a manifest or index under a tag or its digest. Returns its digest.
    ///
    /// # Errors
    /// [`RegistryError`]; [`RegistryError::Digest`] if the registry says that it has got something else.
    pub async fn put_manifest(
        &self,
        version: &str,
        media_type: &str,
        manifest: &[u8],
    ) -> Result<Digest, RegistryError> {
        let path = format!("manifests/{version}");
        let body = Bytes::copy_from_slice(manifest);
        let put = |url| {
            let request = Request::new(Method::PUT, url).header(CONTENT_TYPE, media_type);
            request.body(Body::Bytes(body.clone()))
        };
        let answer = self.repository.send(&path, put).await?;
        if !answer.status().is_success() {
            return Err(self.repository.refusal(answer, &format!(":{version}")).await);
        }
        let digest = Digest::of(Algorithm::Sha256, manifest);
        let said = answer.header("docker-content-digest".parse().expect("a good name"));
        match said.and_then(|said| said.parse::<Digest>().ok()) {
            Some(said) if said.algorithm() == Algorithm::Sha256 && said != digest => {
                Err(RegistryError::Digest { url: ShownUrl::new(answer.url()), expected: digest, computed: said })
            }
            _ => Ok(digest),
        }
    }

    async fn upload_at_once(
        &self,
        digest: &Digest,
        content: &Content,
        told: &mut dyn FnMut(u64),
    ) -> Result<(), RegistryError> {
        let (place, sent) = (self.begin().await?, Sent::default());
        let body = content.part(0, content.length(), &sent);
        watched(&sent, content.length(), told, self.finish(place, digest, body)).await
    }

    async fn upload_in_pieces(
        &self,
        digest: &Digest,
        content: &Content,
        piece: u64,
        told: &mut dyn FnMut(u64),
    ) -> Result<(), RegistryError> {
        let mut place = self.begin().await?;
        let mut start = 0;
        while start < content.length() {
            let length = piece.min(content.length() - start);
            let sent = Sent::default();
            let patch = |url| {
                Request::new(Method::PATCH, url)
                    .header(CONTENT_TYPE, "application/octet-stream")
                    .header(CONTENT_RANGE, &format!("{start}-{}", start + length - 1))
                    .body(content.part(start, length, &sent))
            };
            let answer = watched(&sent, length, told, self.repository.send_to(&place, patch)).await?;
            if answer.status().as_u16() != 202 {
                return Err(self.repository.refusal(answer, "").await);
            }
            place = upload_url(&answer)?;
            start += length;
        }
        self.finish(place, digest, Body::Empty).await
    }

    /// Asks where an upload is to go.
    async fn begin(&self) -> Result<Url, RegistryError> {
        let answer = self.repository.send("blobs/uploads/", |url| Request::new(Method::POST, url)).await?;
        if answer.status().as_u16() != 202 {
            return Err(self.repository.refusal(answer, "").await);
        }
        upload_url(&answer)
    }

    async fn finish(&self, mut place: Url, digest: &Digest, body: Body) -> Result<(), RegistryError> {
        place.query_pairs_mut().append_pair("digest", &digest.to_string());
        let put = |url| {
            let request = Request::new(Method::PUT, url).header(CONTENT_TYPE, "application/octet-stream");
            request.body(body.clone())
        };
        let answer = self.repository.send_to(&place, put).await?;
        match answer.status().as_u16() {
            201 | 204 => Ok(()),
            _ => Err(self.repository.refusal(answer, &format!("@{digest}")).await),
        }
    }

    async fn cancel(&self, answer: &Response) {
        if let Ok(place) = upload_url(answer) {
            // Registries remove uploads that are not finished; this only spares them the wait.
            let _ = self.repository.send_to(&place, |url| Request::new(Method::DELETE, url)).await;
        }
    }
}

/// Where the answer says that the upload goes on.
fn upload_url(answer: &Response) -> Result<Url, RegistryError> {
    let url = ShownUrl::new(answer.url());
    let refused = |reason: &str| RegistryError::Protocol { url: url.clone(), reason: reason.to_owned() };
    let location = answer.header(LOCATION).ok_or_else(|| refused("the answer names no place for the upload"))?;
    let place = answer.url().join(location).map_err(|_| refused("the place for the upload is no URL"))?;
    if answer.url().scheme() == "https" && place.scheme() != "https" {
        return Err(HttpError::Downgrade { from: url, to: ShownUrl::new(&place) }.into());
    }
    if !place.username().is_empty() || place.password().is_some() {
        return Err(refused("the place for the upload holds a user name or password"));
    }
    Ok(place)
}

/// Waits for `work`, which sends `length` bytes, and tells of them meanwhile.
async fn watched<T>(
    sent: &Sent,
    length: u64,
    told: &mut dyn FnMut(u64),
    work: impl Future<Output = Result<T, RegistryError>>,
) -> Result<T, RegistryError> {
    let (mut work, mut shown) = (pin!(work), 0);
    let mut tell = |bytes: u64| {
        // When a request is sent again its bytes are told of once.
        told(bytes.saturating_sub(shown));
        shown = shown.max(bytes);
    };
    loop {
        match timeout(INTERVAL, work.as_mut()).await {
            Ok(done) => {
                if done.is_ok() {
                    tell(length);
                }
                return done;
            }
            Err(_) => tell(sent.bytes().min(length)),
        }
    }
}

fn is_cut(error: &HttpError) -> bool {
    matches!(error, HttpError::Protocol { .. } | HttpError::Cut { .. } | HttpError::Silent { .. })
}
