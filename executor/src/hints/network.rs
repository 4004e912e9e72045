//! About registries, servers and the way to them.

use std::error::Error;

use fetch::download::DownloadError;
use fetch::http::HttpError;
use fetch::registry::{CredentialsError, RegistryError};

use super::{about, images};

const CREDENTIALS: &str = "correct or remove that entry; `podman login` and `docker login` write such files";

pub(super) fn of(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    about(cause, registry)
        .or_else(|| about(cause, http))
        .or_else(|| about(cause, download))
        .or_else(|| cause.is::<CredentialsError>().then_some(CREDENTIALS))
}

pub(super) fn registry(error: &RegistryError) -> Option<&'static str> {
    match error {
        RegistryError::Http(error) => http(error),
        RegistryError::Document(error) => Some(images::oci(error)),
        RegistryError::NotFound { .. } => {
            Some("is the name right, and the tag? Private images are only shown after a login")
        }
        RegistryError::Unauthorized { shown: false, .. } => {
            Some("is the name right? Else log in, for instance with `podman login` or `docker login`")
        }
        RegistryError::Unauthorized { shown: true, .. } => {
            Some("log in again: user or password is wrong, or the token is too old")
        }
        RegistryError::Denied { .. } => Some("ask the registry's owner for access"),
        RegistryError::Realm { .. } => Some("if you trust that host, name it in tokenServices (docs/configuration.md)"),
        RegistryError::Digest { .. } | RegistryError::Size { .. } => {
            Some("the registry, or somebody on the way, is broken or lies: nothing was stored")
        }
        RegistryError::Credentials(_) => Some(CREDENTIALS),
        _ => None,
    }
}

fn http(error: &HttpError) -> Option<&'static str> {
    Some(match error {
        HttpError::PlainHttp(_) => "--insecure-options=http permits it; nobody then vouches for what comes",
        HttpError::Handshake { .. } => "if the server speaks plain http, --insecure-options=http permits that",
        HttpError::Certificate { .. } => {
            "if a private authority signed it, name its certificate in SSL_CERT_FILE or in `authorities` (docs/configuration.md)"
        }
        HttpError::CertificateTime { .. } => "is this machine's clock right?",
        HttpError::NoAuthorities => "install ca-certificates, or name a file of certificates in SSL_CERT_FILE",
        HttpError::Authorities { .. } => "correct the configuration of `authorities` (docs/configuration.md)",
        HttpError::Resolve { .. } => "is the name right, and this machine connected to the network?",
        HttpError::Connect { .. } | HttpError::Silent { .. } | HttpError::Slow { .. } | HttpError::Cut { .. } => {
            "is the server up, and does a proxy stand in the way (HTTPS_PROXY, NO_PROXY)?"
        }
        HttpError::Downgrade { .. } | HttpError::Internal { .. } | HttpError::Redirect { .. } => {
            "tell the server's owner: such an answer is never followed"
        }
        HttpError::Status { status, .. } if status.is_server_error() || status.as_u16() == 429 => "try again later",
        _ => return None,
    })
}

fn download(error: &DownloadError) -> Option<&'static str> {
    match error {
        DownloadError::Http(error) => http(error),
        DownloadError::Write(_) => None,
        DownloadError::Status { .. } => Some("is the URL right, and the file there?"),
        _ => Some("the server does not serve the file as it should: try again later, or get the file in another way"),
    }
}
