//! Images of registries: found, compared with what is stored, downloaded.

use fetch::OciImage;
use fetch::http::{HttpError, Request, Url};
use fetch::registry::{Found, Puller, RegistryRef, Version};
use stage1::limits;
use store::{BlobRole, ImageKind, ImageRecord};
use tracing::{debug, info_span};

use super::intake::digest;
use super::layers::Remote;
use super::{FILES_OF_IMAGE, Images};
use crate::config::Policies;
use crate::error::{CommandError, Explain};
use crate::policy;
use crate::pull_policy::PullPolicy;

impl Images {
    /// The image that `docker://NAME` means: from the store or from its registry, as the pull policy says.
    ///
    /// # Errors
    ///
    /// It cannot be had. Nothing of it is left in the store then.
    pub(super) fn pull(&self, name: &str) -> Result<ImageRecord, CommandError> {
        let reference = self.web()?.registries.reference(name)?;
        // Whatever is stored: the policy may be newer.
        policy::check_name(&self.web()?.policies, &reference)?;
        if self.policy != PullPolicy::Update
            && let Some(record) = self.stored(&reference)?
        {
            return self.as_policies_want(record, Some(&reference.to_string()));
        }
        if self.policy == PullPolicy::Never {
            return Err(CommandError::failed(format!("no image named {reference} is stored"))
                .hint("--pull-policy=new fetches what is not stored"));
        }
        self.ask_registry(reference)
    }

    /// The image that `docker://NAME` means, from its registry whatever is stored of it.
    ///
    /// # Errors
    ///
    /// As [`Images::pull`].
    pub(super) fn pull_again(&self, name: &str) -> Result<ImageRecord, CommandError> {
        self.ask_registry(self.web()?.registries.reference(name)?)
    }

    fn ask_registry(&self, reference: RegistryRef) -> Result<ImageRecord, CommandError> {
        let _span = info_span!("fetch", image = %reference).entered();
        limits::expect_files(FILES_OF_IMAGE);
        self.pull_from_registry(reference.clone()).during(|| reference.to_string())
    }

    /// The image that a name which is not in the store may mean.
    pub(super) fn pull_by_name(&self, name: &str) -> Option<Result<ImageRecord, CommandError>> {
        // A name with labels is one of appc's.
        let is_one = !name.contains(',') && name.parse::<RegistryRef>().is_ok();
        is_one.then(|| self.pull(name).during(|| format!("no image named {name} is stored")))
    }

    /// Whether a host is a registry: it answers for the protocol's version (distribution-spec, Determining Support).
    pub(super) fn is_registry(&self, host: &str) -> Result<Option<bool>, CommandError> {
        let web = self.web()?;
        let Ok(url) = Url::parse(&format!("https://{host}/v2/")) else { return Ok(Some(false)) };
        let asked: Result<_, HttpError> =
            web.client.block_on(async { Ok(web.client.send(&Request::get(url)).await?.status()) });
        Ok(asked.ok().map(|status| matches!(status.as_u16(), 200 | 401 | 403)))
    }

    fn pull_from_registry(&self, reference: RegistryRef) -> Result<ImageRecord, CommandError> {
        let web = self.web()?;
        let puller = Puller::new(&web.client, &web.credentials, &web.registries.single, reference)?;
        policy::check_name(&web.policies, puller.reference())?;
        let found = puller.find()?;
        let signable = puller.signable(&found);
        let key = policy::check_signatures(&web.policies, &puller, &signable, self.require_signature)?;
        let record = match self.known_manifest(&puller, &found)? {
            Some(record) => record,
            None => {
                let image = puller.image(&found)?;
                let source = source(puller.reference(), &found);
                self.import_oci(&image, Some(source), Some(Remote { puller: &puller, found: &found }))?
            }
        };
        if let Some(key) = key {
            self.store.set_remote(&store::Remote {
                url: verified(&puller.reference().name(), &found.manifest, &key),
                image: record.id,
                validators: store::Validators::default(),
                asked_ns: 0,
                max_age: 0,
                signed: true,
            })?;
        }
        Ok(record)
    }

    /// A stored image, if it is what the policies want: they may be newer than it. `typed` is the name it was found by.
    ///
    /// A signature that was verified when the image came is remembered, with the key. If a policy has another key by now
    /// the registry is asked once more.
    ///
    /// # Errors
    ///
    /// It is named by tag and the policy wants a digest; its signature was never verified, and cannot be now.
    pub(super) fn as_policies_want(
        &self,
        record: ImageRecord,
        typed: Option<&str>,
    ) -> Result<ImageRecord, CommandError> {
        // Policies are about images of registries.
        if record.kind != ImageKind::Oci {
            return Ok(record);
        }
        let policies = Policies::read(&self.config_dirs)?;
        if policies.iter().next().is_none() && !self.require_signature {
            return Ok(record);
        }
        let typed = typed.and_then(|typed| typed.parse::<RegistryRef>().ok());
        if let Some(typed) = &typed {
            policy::check_name(&policies, typed)?;
        }
        let source: RegistryRef = match (origin(&record), typed) {
            // Archives and layouts say themselves what they are called. Who has a policy for that name means another.
            (None, Some(typed))
                if self.require_signature || policy::wanted_keys(&policies, &typed.name())?.is_some() =>
            {
                return self.verified_by_registry(typed);
            }
            (None, _) if self.require_signature => {
                return Err(CommandError::failed(format!("image {}: no signature of it was ever verified", record.id))
                    .hint("fetch it from a registry for which a policy names keys"));
            }
            (None, _) => return Ok(record),
            (Some(source), Some(typed))
                if typed.name() != source.name() && policy::wanted_keys(&policies, &typed.name())?.is_some() =>
            {
                return self.verified_by_registry(typed);
            }
            (Some(source), _) => source,
        };
        self.signed_as_wanted(record, source, &policies)
    }

    /// A stored image of that registry, with a signature of a key that the policies have for it by now.
    fn signed_as_wanted(
        &self,
        record: ImageRecord,
        source: RegistryRef,
        policies: &Policies,
    ) -> Result<ImageRecord, CommandError> {
        let name = source.name();
        let Some((prefix, keys)) = policy::wanted_keys(policies, &name)? else {
            // Says that there is no key for it.
            return if self.require_signature { self.ask_registry(source) } else { Ok(record) };
        };
        if let Version::Digest { digest: manifest, .. } = source.version() {
            for key in keys {
                let known = self.store.remote(&verified(&name, manifest, &key))?;
                if known.is_some_and(|known| known.signed && known.image == record.id) {
                    return Ok(record);
                }
            }
        }
        if self.policy == PullPolicy::Never {
            let why = format!(
                "the policy for {prefix} wants {name} signed, and no signature was verified when it was stored"
            );
            return Err(CommandError::failed(why).hint(format!("have it verified: proa fetch docker://{name}:TAG")));
        }
        self.ask_registry(source)
    }

    /// What the registry has by this name, verified; whatever is stored by it came from elsewhere.
    fn verified_by_registry(&self, reference: RegistryRef) -> Result<ImageRecord, CommandError> {
        if self.policy == PullPolicy::Never {
            let why = format!("{reference} has to be signed, and what is stored by that name came from elsewhere");
            return Err(CommandError::failed(why).hint(format!("have it verified: proa fetch docker://{reference}")));
        }
        self.ask_registry(reference)
    }

    /// What is stored of the name that was typed.
    fn stored(&self, reference: &RegistryRef) -> Result<Option<ImageRecord>, CommandError> {
        let wanted = match reference.version() {
            Version::Tag(tag) => format!("{}:{tag}", reference.name()),
            Version::Digest { digest: manifest, .. } => return self.of_manifest(manifest),
        };
        let is_it = |image: &ImageRecord| image.kind == ImageKind::Oci && image.names().any(|name| name == wanted);
        Ok(self.store.list()?.images.into_iter().find(is_it))
    }

    /// The stored image of this manifest, if it has the names that were asked for.
    fn known_manifest(&self, puller: &Puller<'_>, found: &Found) -> Result<Option<ImageRecord>, CommandError> {
        let Some(record) = self.of_manifest(&found.manifest)? else { return Ok(None) };
        let reference = puller.reference();
        let names = registry_names(&reference.name(), reference.tag());
        let named = names.iter().all(|name| record.names().any(|known| known == name));
        let known = named && self.ready_trees(&record.layers)?.is_some();
        debug!(id = %record.id, known, "stored before");
        Ok(known.then_some(record))
    }

    fn of_manifest(&self, manifest: &fetch::Digest) -> Result<Option<ImageRecord>, CommandError> {
        let manifest = digest(manifest)?;
        let is_it = |image: &ImageRecord| {
            image.blobs.iter().any(|blob| blob.role == BlobRole::Manifest && blob.digest == manifest)
        };
        Ok(self.store.list()?.images.into_iter().find(is_it))
    }
}

/// The registry that a stored image came from, if it came from one.
fn origin(record: &ImageRecord) -> Option<RegistryRef> {
    record.source.as_deref()?.strip_prefix("docker://")?.parse().ok()
}

/// Where exactly this image can be had again.
fn source(reference: &RegistryRef, found: &Found) -> String {
    let tag = reference.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
    format!("docker://{}{tag}@{}", reference.name(), found.manifest)
}

/// Under which URL it is remembered that a key has signed an image.
fn verified(name: &str, manifest: &fetch::Digest, key: &str) -> String {
    format!("sigstore://{name}@{manifest}#{key}")
}

/// What an image of a registry is called in the store: `NAME:TAG`, and `NAME` alone where the tag is `latest`.
fn registry_names(name: &str, tag: Option<&str>) -> Vec<String> {
    match tag {
        None => vec![name.to_owned()],
        Some("latest") => vec![name.to_owned(), format!("{name}:latest")],
        Some(tag) => vec![format!("{name}:{tag}")],
    }
}

/// The same of an opened image.
pub(super) fn names(image: &OciImage) -> Vec<String> {
    registry_names(&image.name, image.tag.as_deref())
}
