//! Which certificates are trusted.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::error::{HttpError, NO_AUTHORITIES};
use super::settings::Settings;

/// The TLS side of a client: authorities of the host (or of `SSL_CERT_FILE` and `SSL_CERT_DIR`) and of the settings.
///
/// # Errors
/// [`HttpError::Authorities`].
pub(super) fn config(settings: &Settings) -> Result<ClientConfig, HttpError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = if settings.any_certificate {
        Arc::new(Anything(Arc::clone(&provider)))
    } else {
        Arc::new(Trusted::new(&settings.authorities, &provider)?)
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| HttpError::Start(error.to_string()))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Trusts what an authority has signed, and a certificate that is itself in the set of trusted ones.
///
/// The second is what self-signed servers need: `openssl req -x509` makes a certificate that is its own authority, which
/// webpki refuses in the place of a server's. OpenSSL and Go take it where the user has put exactly it into the set.
#[derive(Debug)]
struct Trusted {
    /// `None` on a host that has none: plain HTTP works there.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    named: HashSet<CertificateDer<'static>>,
    signatures: Anything,
}

impl Trusted {
    fn new(extra: &[PathBuf], provider: &Arc<CryptoProvider>) -> Result<Self, HttpError> {
        let mut certificates = Vec::new();
        for path in extra {
            certificates.extend(read(path)?);
        }
        // Errors of single files are the host's business as long as something is left.
        certificates.extend(rustls_native_certs::load_native_certs().certs);
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        // Fails only without roots.
        let authorities =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build().ok();
        let signatures = Anything(Arc::clone(provider));
        Ok(Self { authorities, named: certificates.into_iter().collect(), signatures })
    }
}

/// The certificates of a PEM file.
fn read(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, HttpError> {
    let failed = |reason: String| HttpError::Authorities { path: path.clone(), reason };
    let text = fs::read(path).map_err(|error| failed(error.to_string()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(failed("no certificate in PEM form".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(failed(error.to_string())),
    }
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(authorities) = &self.authorities else {
            return Err(rustls::Error::General(NO_AUTHORITIES.to_owned()));
        };
        let checked = authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match checked {
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_))) if self.named.contains(end_entity) => {
                // webpki looks at the time before it looks at this, so only the name is left to check.
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            checked => checked,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signatures.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signatures.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_verify_schemes()
    }
}

/// Trusts every certificate: `--insecure-options=tls`. Signatures are still checked, as the handshake would make no
/// sense otherwise.
#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
