//! What can go wrong between here and a server.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustls::CertificateError;

use super::shown_url::ShownUrl;
use crate::quote::Quoted;

/// Why a request failed. Nothing in here is a secret: URLs are shown without query, user and password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The URL is not of `http` or `https`.
    #[error("{url}: scheme {scheme} is not supported, only https and http are")]
    Scheme {
        /// The URL.
        url: ShownUrl,
        /// Its scheme.
        scheme: String,
    },
    /// Plain HTTP, which is not permitted.
    #[error("{0}: plain http is not permitted")]
    PlainHttp(ShownUrl),
    /// A redirect that leads from `https` to another scheme.
    #[error("{from}: refused a redirect to {to}, which is not https")]
    Downgrade {
        /// Where the redirect came from.
        from: ShownUrl,
        /// Where it leads.
        to: ShownUrl,
    },
    /// A redirect that leads nowhere.
    #[error("{url}: refused a redirect: {reason}")]
    Redirect {
        /// Where the redirect came from.
        url: ShownUrl,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// More than ten redirects.
    #[error("{0}: too many redirects, the limit is {limit}", limit = super::redirect::MOST)]
    TooManyRedirects(ShownUrl),
    /// A server pointed to an address of this machine or of a network it is not part of.
    #[error("{url}: refused to connect to the internal address {address} on a server's word")]
    Internal {
        /// The URL that the server gave.
        url: ShownUrl,
        /// The address it leads to.
        address: IpAddr,
    },
    /// A host name has no address.
    #[error("{url}: host {host} cannot be found: {reason}")]
    Resolve {
        /// What was asked for.
        url: ShownUrl,
        /// The host.
        host: String,
        /// What the resolver says.
        reason: String,
    },
    /// No connection.
    #[error("connect to {url}: {reason}")]
    Connect {
        /// What was asked for.
        url: ShownUrl,
        /// What the system says, or the proxy.
        reason: String,
    },
    /// The server's certificate is not accepted.
    #[error("{url}: the certificate is not trusted: {reason}")]
    Certificate {
        /// What was asked for.
        url: ShownUrl,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate is for another time than this machine believes to be in.
    #[error("{url}: the certificate is {what}; local time is {local}")]
    CertificateTime {
        /// What was asked for.
        url: ShownUrl,
        /// `expired` or `not valid yet`.
        what: &'static str,
        /// Local time, to the second.
        local: String,
    },
    /// TLS could not be agreed on: the server may speak plain HTTP.
    #[error("{url}: TLS handshake failed: {reason}")]
    Handshake {
        /// What was asked for.
        url: ShownUrl,
        /// What rustls says.
        reason: String,
    },
    /// No certificates to check servers against.
    #[error("this machine has no certificates of authorities to check servers against")]
    NoAuthorities,
    /// A file with certificates that cannot be used.
    #[error("certificates in {}: {reason}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing came for too long.
    #[error("{url}: no answer for {} s while {what}", after.as_secs())]
    Silent {
        /// What was asked for.
        url: ShownUrl,
        /// What was being done.
        what: &'static str,
        /// How long nothing came.
        after: Duration,
    },
    /// A body that comes too slowly.
    #[error("{url}: less than {slowest} bytes per second over {} s, {received} bytes in all", over.as_secs())]
    Slow {
        /// What was asked for.
        url: ShownUrl,
        /// The slowest acceptable rate.
        slowest: u64,
        /// Over how long it was measured.
        over: Duration,
        /// Bytes received.
        received: u64,
    },
    /// A document that is longer than documents of its kind may be.
    #[error("{url}: more than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: ShownUrl,
        /// The limit in bytes.
        limit: u64,
    },
    /// The connection ended before the body did.
    #[error("{url}: the connection was cut after {received} bytes")]
    Cut {
        /// What was asked for.
        url: ShownUrl,
        /// Bytes of the body received.
        received: u64,
    },
    /// An answer that means failure.
    #[error("{url}: the server answers {status}{}", detail.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    Status {
        /// What was asked for.
        url: ShownUrl,
        /// The status code and its standard phrase.
        status: reqwest::StatusCode,
        /// What the server says about it, where that is a message of a registry.
        detail: Option<Quoted>,
    },
    /// An answer that is no HTTP, or more of it than is reasonable.
    #[error("{url}: {reason}")]
    Protocol {
        /// What was asked for.
        url: ShownUrl,
        /// What is wrong with it.
        reason: String,
    },
    /// The event loop or the client could not be made.
    #[error("start the network client: {0}")]
    Start(String),
}

impl HttpError {
    /// Whether another server of the same content (a mirror) is worth a try after this: everything but what the user
    /// has to decide.
    pub fn is_of_server(&self) -> bool {
        !matches!(
            self,
            Self::Scheme { .. } | Self::PlainHttp(_) | Self::NoAuthorities | Self::Authorities { .. } | Self::Start(_)
        )
    }

    /// Whether the server cannot be spoken to over TLS at all; it may be one of plain HTTP.
    pub fn is_no_tls(&self) -> bool {
        matches!(self, Self::Handshake { .. } | Self::Connect { .. })
    }

    /// Whether a body ended early, so that the rest may be asked for.
    pub fn is_interruption(&self) -> bool {
        matches!(self, Self::Cut { .. } | Self::Silent { .. } | Self::Slow { .. } | Self::Connect { .. })
    }

    /// What an error of reqwest means, which happened on the way to `url`.
    pub(super) fn of_reqwest(url: ShownUrl, error: reqwest::Error) -> Self {
        let error = error.without_url();
        for cause in causes(&error) {
            if let Some(refusal) = cause.downcast_ref::<Refused>() {
                return Self::Internal { url, address: refusal.0 };
            }
            if let Some(unknown) = cause.downcast_ref::<Unknown>() {
                return Self::Resolve { url, host: unknown.host.clone(), reason: unknown.reason.clone() };
            }
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return Self::of_tls(url, tls);
            }
        }
        let reason = innermost(&error);
        // Only a handshake can end early while a connection is made.
        let ended = |cause: &&(dyn Error + 'static)| {
            cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof)
        };
        if error.is_connect() && causes(&error).iter().any(ended) {
            return Self::Handshake { url, reason };
        }
        if error.is_connect() { Self::Connect { url, reason } } else { Self::Protocol { url, reason } }
    }

    fn of_tls(url: ShownUrl, error: &rustls::Error) -> Self {
        use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
        let local = || jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
        match error {
            rustls::Error::InvalidCertificate(Expired | ExpiredContext { .. }) => {
                Self::CertificateTime { url, what: "expired", local: local() }
            }
            rustls::Error::InvalidCertificate(NotValidYet | NotValidYetContext { .. }) => {
                Self::CertificateTime { url, what: "not valid yet", local: local() }
            }
            rustls::Error::General(text) if text == NO_AUTHORITIES => Self::NoAuthorities,
            rustls::Error::InvalidCertificate(why) => {
                Self::Certificate { url, reason: Quoted::bare(&certificate(why)) }
            }
            other => Self::Handshake { url, reason: Quoted::bare(&other.to_string()) },
        }
    }
}

/// What the verifier says where it has nothing to check against.
pub(super) const NO_AUTHORITIES: &str = "no authorities";

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "no authority that this machine trusts has signed it".to_owned(),
        CertificateError::NotValidForName => "it is for another host name".to_owned(),
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            "it is for no host name".to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } => format!("it is for {}", names(presented)),
        // webpki's name for what `openssl req -x509` makes, which rustls hides behind a type of its own.
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "it is an authority's own, or signed by itself, and not among the trusted ones".to_owned()
        }
        other => other.to_string(),
    }
}

/// The first few names of a certificate, which the verifier writes as `DnsName("NAME")` and `IpAddress(ADDRESS)`.
fn names(presented: &[String]) -> String {
    const SHOWN: usize = 4;
    let bare = |name: &String| {
        let dns = name.strip_prefix("DnsName(\"").and_then(|name| name.strip_suffix("\")"));
        let ip = name.strip_prefix("IpAddress(").and_then(|name| name.strip_suffix(')'));
        dns.or(ip).unwrap_or(name).to_owned()
    };
    let mut names: Vec<String> = presented.iter().take(SHOWN).map(bare).collect();
    if presented.len() > SHOWN {
        names.push(format!("and {} more", presented.len() - SHOWN));
    }
    names.join(", ")
}

/// The resolver refuses this address.
#[derive(Debug, thiserror::Error)]
#[error("{0} is an internal address")]
pub(super) struct Refused(pub(super) IpAddr);

/// The resolver finds no address.
#[derive(Debug, thiserror::Error)]
#[error("{host}: {reason}")]
pub(super) struct Unknown {
    pub(super) host: String,
    pub(super) reason: String,
}

/// The error and what is behind it. (An `io::Error` hides what it wraps: its source is the wrapped error's source.)
fn causes<'a>(error: &'a (dyn Error + 'static)) -> Vec<&'a (dyn Error + 'static)> {
    let mut causes = vec![error];
    let mut last = error;
    while let Some(next) = match last.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => last.source(),
    } {
        causes.push(next);
        last = next;
    }
    causes
}

fn innermost(error: &reqwest::Error) -> String {
    let text = causes(error).last().map_or_else(String::new, ToString::to_string);
    // rustls tells its users where to read on; ours do not program with it.
    Quoted::bare(text.split(": https://docs.rs/").next().unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_certificate_that_is_its_own_authority_is_told_in_words() {
        /// As webpki's error shows itself.
        #[derive(Debug, thiserror::Error)]
        #[error("another text")]
        struct CaUsedAsEndEntity;
        let hidden = CertificateError::Other(rustls::OtherError(Arc::new(CaUsedAsEndEntity)));
        let expected = "it is an authority's own, or signed by itself, and not among the trusted ones";
        assert_eq!(certificate(&hidden), expected);
    }
}
