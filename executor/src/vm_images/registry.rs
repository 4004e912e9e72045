//! Registries as places for virtual machine images.

use std::sync::Arc;

use eci::{Blob, Descriptor, Destination, Source, TransferError};
use fetch::Digest;
use fetch::http::{Client, Settings};
use fetch::registry::{Content, Named, Puller, Pusher, RegistryRef, Version};

use crate::context::Context;
use crate::error::CommandError;
use crate::policy;
use crate::web::Web;

/// An image's name in a registry, and how that is talked to.
#[derive(Debug)]
pub(super) struct InRegistry {
    web: Web,
    reference: RegistryRef,
}

impl InRegistry {
    /// Gets ready; nothing is sent yet. As with the original, a registry on this machine may speak plain HTTP.
    ///
    /// # Errors
    ///
    /// The image's name is none of a registry, or the configuration cannot be understood.
    pub(super) fn new(context: &Context, image: &str) -> Result<Self, CommandError> {
        let mut web = Web::new(context.config_dirs(), context.insecure)?;
        let reference = web.registries.reference(image.strip_prefix("docker://").unwrap_or(image))?;
        if is_here(reference.host()) && !web.client.settings().plain_http {
            web.client = Client::new(Settings { plain_http: true, ..web.client.settings().clone() });
        }
        Ok(Self { web, reference })
    }

    /// The image, to be read; it has to be what the policy for its name wants, and `signed` whatever that says.
    ///
    /// # Errors
    ///
    /// As [`Puller::new`], and what the policy says.
    pub(super) fn source(&self, signed: bool) -> Result<Box<dyn Source + '_>, CommandError> {
        let Web { client, registries, credentials, policies, .. } = &self.web;
        let puller = Puller::new(client, credentials, &registries.single, self.reference.clone())?;
        policy::check_name(policies, &self.reference)?;
        let named = puller.named()?;
        policy::check_signatures(policies, &puller, std::slice::from_ref(&named.digest), signed)?;
        Ok(Box::new(Pulled { puller, named }))
    }

    /// The name, for an image that is to be written.
    ///
    /// # Errors
    ///
    /// As [`Pusher::new`]; a digest is no name for something new.
    pub(super) fn destination(&self) -> Result<Box<dyn Destination + '_>, CommandError> {
        let Version::Tag(tag) = self.reference.version() else {
            let message = format!("{}: an image is pushed to a tag, not to a digest", self.reference);
            return Err(CommandError::usage(message));
        };
        let Web { client, registries, credentials, .. } = &self.web;
        let pusher = Pusher::new(client, credentials, &registries.single, &self.reference)?;
        Ok(Box::new(Pushed { pusher, tag }))
    }
}

/// Whether a registry's host is this machine.
fn is_here(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|it| it.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    name == "localhost" || address.is_ok_and(|it| it.is_loopback())
}

/// An image that was found.
#[derive(Debug)]
struct Pulled<'n> {
    puller: Puller<'n>,
    named: Named,
}

fn digest(descriptor: &Descriptor) -> Result<Digest, TransferError> {
    Ok(descriptor.digest.as_str().parse()?)
}

impl Source for Pulled<'_> {
    fn named(&self) -> Result<eci::Named, TransferError> {
        let Named { media_type, bytes, .. } = self.named.clone();
        Ok(eci::Named { media_type, bytes })
    }

    fn document(&self, descriptor: &Descriptor, is_manifest: bool) -> Result<Vec<u8>, TransferError> {
        Ok(self.puller.document(&self.named, &digest(descriptor)?, is_manifest)?)
    }

    fn blob(
        &self,
        descriptor: &Descriptor,
        from: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        let mut download = self.puller.blob(&self.named, digest(descriptor)?, descriptor.size, from);
        self.puller.client().block_on(async {
            while let Some(bytes) = download.chunk().await? {
                take(&bytes)?;
            }
            Ok(())
        })
    }
}

/// An image that is being written under a tag.
#[derive(Debug)]
struct Pushed<'n> {
    pusher: Pusher<'n>,
    tag: &'n str,
}

impl Destination for Pushed<'_> {
    fn put(&mut self, descriptor: &Descriptor, blob: &Blob, sent: &mut dyn FnMut(u64)) -> Result<bool, TransferError> {
        let digest = digest(descriptor)?;
        let content = match blob {
            Blob::Bytes(bytes) => Content::Bytes(bytes.clone().into()),
            Blob::File(file) => Content::File { file: Arc::clone(file), length: descriptor.size },
        };
        self.pusher.client().block_on(async {
            if self.pusher.has_blob(&digest).await? {
                return Ok(false);
            }
            self.pusher.upload(&digest, &content, None, sent).await?;
            Ok(true)
        })
    }

    fn finish(&mut self, manifest: &Descriptor, bytes: &[u8]) -> Result<(), TransferError> {
        self.pusher.client().block_on(async {
            self.pusher.put_manifest(self.tag, &manifest.media_type, bytes).await?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known() {
        for here in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.1.2.3", "[::1]:5000", "[::1]"] {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in ["localhost.example.com", "10.0.0.1:5000", "docker.io", "[fe80::1]:5000", "127.0.0.1.nip.io"] {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
    }
}
