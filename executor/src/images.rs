//! The store as the commands about images see it: images are looked up there and nowhere else.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Read as _;

use appc::ImageId;
use pod::{Place, PodEntry, Pods};
use store::{BlobRef, BlobRole, Digest, FindError, GcReport, ImageRecord, LayerKey, Store, StoreError};

use crate::config::Registries;
use crate::context::Context;
use crate::error::{CommandError, Explain, FAILURE};
use crate::idmap::{self, Remover};
use crate::import::not_found;
use crate::output;
use crate::setup::Setup;

/// The stored image of this ID, beginning of an ID, or name; a name may be as short as `run` takes it.
///
/// # Errors
///
/// There is none, or more than one ID begins like that.
pub(crate) fn find(context: &Context, store: &Store, needle: &str) -> Result<ImageRecord, CommandError> {
    store.find(needle).or_else(|error| match error {
        FindError::NoName(_) => of_registry(context, store, needle).ok_or_else(|| not_found(error, needle)),
        error => Err(not_found(error, needle)),
    })
}

/// The stored image that has the whole name of what is short for one of a registry: `debian:12`, `docker://debian:12`.
fn of_registry(context: &Context, store: &Store, needle: &str) -> Option<ImageRecord> {
    let name = needle.strip_prefix("docker://").unwrap_or(needle);
    let reference = Registries::read(context.config_dirs()).ok()?.reference(name).ok()?;
    store.find(&format!("{}:{}", reference.name(), reference.tag()?)).ok()
}

/// A document of a stored image, with the bytes that its digest names.
///
/// # Errors
///
/// The image has none: it is no OCI image. It is not there, or damaged.
pub(crate) fn document(store: &Store, image: &ImageRecord, role: BlobRole) -> Result<Vec<u8>, CommandError> {
    let blob = image.blobs.iter().find(|blob| blob.role == role);
    let BlobRef { digest, size, .. } =
        blob.ok_or_else(|| CommandError::failed(format!("image {} has no {role:?}", image.id)))?;
    let bad = |what: &str| CommandError::failed(what).hint("`proa image verify --repair` fetches it again");
    let read = || -> Result<Vec<u8>, CommandError> {
        let mut bytes = Vec::new();
        // With more than that its digest is another one.
        store.blob(digest)?.ok_or_else(|| bad("it is missing"))?.take(size + 1).read_to_end(&mut bytes)?;
        if Digest::of(digest.algorithm(), &bytes) == *digest { Ok(bytes) } else { Err(bad("it is damaged")) }
    };
    read().during(|| format!("blob {digest}"))
}

/// The pods that count when it is asked what an image is needed for: all that run, were prepared, or ended and are not
/// garbage yet. One that is still being prepared has no manifest, and holds the trees it needs itself.
const COUNTED: [Place; 3] = [Place::Prepared, Place::Run, Place::ExitedGarbage];

/// The pods that count, each with the images it was made of.
///
/// # Errors
///
/// A pod cannot be read.
pub(crate) fn of_pods(pods: &Pods) -> Result<Vec<(PodEntry, BTreeSet<ImageId>)>, CommandError> {
    let mut found = Vec::new();
    for entry in pods.list()?.into_iter().filter(|entry| COUNTED.contains(&entry.place)) {
        let manifest = match pods.open(&entry).and_then(|pod| pod.manifest()) {
            Ok(manifest) => manifest,
            // It was removed between the listing and now.
            Err(pod::PodError::NotFound { .. }) => continue,
            Err(error) => return Err(CommandError::from(error).during(format!("pod {}", entry.uuid))),
        };
        let images = manifest.apps.into_iter().filter_map(|app| app.image.id);
        found.push((entry, images.filter_map(|id| id.to_string().parse::<ImageId>().ok()).collect()));
    }
    Ok(found)
}

/// The trees that pods need which hold no lock on them: prepared ones, and those that ended and were kept.
fn trees_of_pods(pods: &Pods) -> Result<BTreeSet<LayerKey>, CommandError> {
    let mut layers = BTreeSet::new();
    for entry in pods.list()?.into_iter().filter(|entry| COUNTED.contains(&entry.place)) {
        let setup = match pods.open(&entry).and_then(|pod| pod.setup()) {
            Ok(Some(setup)) => setup,
            // It was not to be kept, so nobody will want its trees; or it was removed between the listing and now.
            Ok(None) | Err(pod::PodError::NotFound { .. }) => continue,
            Err(error) => return Err(CommandError::from(error).during(format!("pod {}", entry.uuid))),
        };
        let setup = Setup::from_json(&setup).during(|| format!("pod {}", entry.uuid))?;
        layers.extend(setup.apps.into_iter().flat_map(|app| app.layers));
    }
    Ok(layers)
}

/// Removes what nothing in the store needs any more. Tells what went wrong; the status is that of the command.
///
/// # Errors
///
/// Nothing could be done.
pub(crate) fn collect(context: &Context, store: &Store, command: &str) -> Result<(GcReport, u8), CommandError> {
    let mapping = idmap::detect(context.data_dir()?)?;
    let pods = context.pods()?;
    let references =
        || -> Result<_, Box<dyn Error + Send + Sync>> { trees_of_pods(&pods).map_err(|e| e.chain().into()) };
    let mut report = store.gc(&Remover::new(&mapping), &references)?;
    let mut status = 0;
    for error in std::mem::take(&mut report.failures) {
        output::complain(&CommandError::from(error).report(Some(command)));
        status = FAILURE;
    }
    Ok((report, status))
}

/// Removes images from the index, and says so in rkt's words. Returns how many could not be removed.
///
/// # Errors
///
/// stdout cannot be written to.
pub(crate) fn remove(store: &Store, ids: &[ImageId], gone: Gone, command: &str) -> Result<usize, CommandError> {
    let (mut done, mut failed) = (0, 0);
    for id in ids {
        match store.remove(id) {
            Ok(()) => {
                output::write(&format!("successfully removed aci for image: \"{id}\"\n"))?;
                done += 1;
            }
            Err(StoreError::NoImage { .. }) if gone == Gone::IsFine => {}
            Err(error) => {
                failed += 1;
                let step = format!("error removing aci for image \"{id}\"");
                output::complain(&CommandError::from(error).during(step).report(Some(command)));
            }
        }
    }
    if done > 0 {
        output::complain(&format!("{done} image(s) successfully removed\n"));
    }
    if failed > 0 {
        output::complain(&format!("{failed} image(s) cannot be removed\n"));
    }
    Ok(failed)
}

/// What it is if somebody else has removed an image meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// Who names an image is told that it is not there.
    Failed,
    IsFine,
}
