//! Looks whether images are still what was stored, and mends what is not.

use std::io;
use std::sync::Arc;

use fetch::ImageRef;
use store::extract::Lower;
use store::{BlobRole, Digest, ImageKind, ImageRecord, Import, Keep, LayerKey, Tree, verify};
use tracing::info_span;

use crate::error::{CommandError, Explain};
use crate::idmap::{self, Remover};
use crate::import::{Images, Origin};
use crate::packed;
use crate::signature::Voucher;

/// Something of an image that is not what was stored.
#[derive(Debug)]
pub(crate) struct Damaged {
    pub(crate) part: Part,
    pub(crate) why: CommandError,
}

/// A part of an image.
#[derive(Debug)]
pub(crate) enum Part {
    /// A kept archive, or a document.
    Blob(Digest),
    /// A tree.
    Tree(LayerKey),
}

/// How an image is.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) damaged: Vec<Damaged>,
    /// Whether a layer has no tree under this id map: it will be unpacked when the image is run.
    pub(crate) not_rendered: bool,
}

/// Reads all of an image and compares it with the digests that name it.
///
/// # Errors
///
/// It cannot be found out.
pub(crate) fn examine(images: &Images, record: &ImageRecord) -> Result<State, CommandError> {
    let mut state = State::default();
    for blob in &record.blobs {
        if let Err(why) = examine_blob(images, record, &blob.digest, blob.role) {
            state.damaged.push(Damaged { part: Part::Blob(blob.digest), why });
        }
    }
    let mut below = Vec::new();
    for layer in &record.layers {
        let Some(tree) = images.store.tree(layer, &images.map)? else {
            state.not_rendered = true;
            continue;
        };
        // Where there is no room to look, nothing is known of the tree.
        let import = images.store.begin()?;
        if let Err(why) = examine_tree(images, import, layer, &tree, &below) {
            state.damaged.push(Damaged { part: Part::Tree(*layer), why });
        }
        let owners = tree.record().map(|record| record.owners).unwrap_or_default();
        below.push(Arc::new(Lower { root: tree.dir().try_clone_to_owned()?, owners }));
    }
    if record.is_rendered() && state.damaged.is_empty() && !state.not_rendered {
        // Its files are those of the trees that were just looked at, under further names.
        if let Some((key, why)) = images.examine_merged(record)? {
            state.damaged.push(Damaged { part: Part::Tree(key), why });
        }
    }
    Ok(state)
}

/// Hashes what is kept of an image. Packed layers need not be there.
fn examine_blob(images: &Images, record: &ImageRecord, digest: &Digest, role: BlobRole) -> Result<(), CommandError> {
    let Some(mut file) = images.store.blob(digest)? else {
        let optional = role == BlobRole::Layer && record.kind == ImageKind::Oci;
        return if optional { Ok(()) } else { Err(CommandError::failed(format!("blob {digest}: it is missing"))) };
    };
    let found = Digest::of_reader(digest.algorithm(), &mut file).during(|| format!("blob {digest}"))?;
    if found == *digest {
        return Ok(());
    }
    Err(CommandError::failed(format!("blob {digest}: its contents have the digest {found}")))
}

fn examine_tree(
    images: &Images,
    mut import: Import<'_>,
    layer: &LayerKey,
    tree: &Tree,
    below: &[Arc<Lower>],
) -> Result<(), CommandError> {
    let _span = info_span!("verify", %layer).entered();
    let known = tree.record()?;
    let missing = || CommandError::failed("its recipe is missing");
    let recipe = images.store.recipe(tree)?.ok_or_else(missing)?;
    let pending = import.new_layer(&images.map, images.owner(), Keep::Recipe)?;
    let job =
        pending.verification(*layer, tree.dir().try_clone_to_owned()?, recipe, images.single_id(), below.to_vec());
    let job = job.during(|| "copy descriptors".into())?;
    let found = idmap::run_in(&images.mapping, || verify::run(job));
    drop(pending);
    let tidied = import.abandon(&Remover::new(&images.mapping));
    let found = found??;
    tidied?;
    if (found.entries, found.content, &found.owners) != (known.entries, known.content, &known.owners) {
        return Err(CommandError::failed("its record tells of other files"));
    }
    Ok(())
}

/// Makes room for what is damaged and brings it in again: from the archives that the store has, or, with `fetch`, from
/// where the image came.
///
/// # Errors
///
/// Something damaged is in use, or cannot be had again.
pub(crate) fn mend(
    images: &Images,
    record: &ImageRecord,
    damaged: &[Damaged],
    fetch: bool,
) -> Result<(), CommandError> {
    let in_use = |what: String| {
        CommandError::failed(format!("{what} is in use"))
            .hint("stop the pods that use it (`proa list`), then try again")
    };
    let tree_is_whole = !damaged.iter().any(|it| matches!(it.part, Part::Tree(_)));
    let given_back = match (record.kind, record.layers.as_slice()) {
        // The tree of an ACI gives its archive back, though not as it was compressed.
        (ImageKind::Aci, [layer]) if tree_is_whole => packed::archive(&images.store, &images.mapping, layer).ok(),
        _ => None,
    };
    let needs_fetch = damaged.iter().any(|it| match &it.part {
        Part::Blob(..) => given_back.is_none(),
        // What gives it back is in the tree itself. One that was merged comes of the others.
        Part::Tree(layer) => record.layers.contains(layer) && !is_archive_kept(images, record, layer),
    });
    if needs_fetch && !fetch {
        return Err(CommandError::failed("its archive is not in the store").hint("`--repair` fetches it again"));
    }
    for it in damaged {
        let (discarded, what) = match &it.part {
            Part::Blob(digest) => (images.store.discard_blob(digest)?, format!("blob {digest}")),
            Part::Tree(layer) => {
                let remover = Remover::new(&images.mapping);
                (images.store.discard_tree(layer, &images.map, &remover)?, format!("the tree of {layer}"))
            }
        };
        if !discarded {
            return Err(in_use(what));
        }
    }
    match given_back {
        Some(archive) => {
            images.import_aci(archive, Origin { voucher: &Voucher::Nobody, source: None, wanted: None }).map(drop)
        }
        None if needs_fetch => fetch_again(images, record),
        None => images.trees(record).map(drop),
    }
}

/// Whether the archive of a layer is in the store as it came.
fn is_archive_kept(images: &Images, record: &ImageRecord, layer: &LayerKey) -> bool {
    let mut archives = record.layers.iter().zip(&record.blobs).filter(|(other, _)| *other == layer);
    archives.any(|(_, blob)| images.store.blob(&blob.digest).is_ok_and(|file| file.is_some()))
}

/// Fetches an image from where it came: what is still in the store is not fetched again.
fn fetch_again(images: &Images, record: &ImageRecord) -> Result<(), CommandError> {
    let unknown =
        || CommandError::failed("it is not known where the image came from").hint("remove it and fetch it again");
    let source = record.source.as_deref().ok_or_else(unknown)?;
    let reference: ImageRef = source.parse()?;
    let fetched = images.fetch(&reference, None).during(|| format!("fetch {source}"))?;
    images.trees(&fetched)?;
    if fetched.id != record.id {
        let gone = format!("{source} is another image by now, {}", fetched.id);
        return Err(CommandError::from(io::Error::other(gone)).hint("remove the damaged one: `proa image rm`"));
    }
    Ok(())
}
