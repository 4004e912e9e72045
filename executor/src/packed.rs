//! Gives the archive of a layer back that was not kept (docs/decisions/0005): its recipe and its tree together.

use std::fs::File;
use std::io::{self, Seek as _, Write};

use stage1::idmap::IdMapping;
use store::recipe::{RecipeError, rebuild};
use store::{Digest, Hasher, LayerKey, Store, Tree};

use crate::error::{CommandError, Explain as _};
use crate::idmap;
use crate::layer_writer::{LayerWriter, Packing, Written};

/// The uncompressed archive of a layer as a file without a name, checked against the layer's digest.
///
/// # Errors
///
/// As [`write`].
pub(crate) fn archive(store: &Store, mapping: &IdMapping, layer: &LayerKey) -> Result<File, CommandError> {
    let file = store.scratch()?;
    pack(store, mapping, layer, &file, Packing::Plain)?;
    Ok(file)
}

/// Writes the archive of a layer, packed, to the empty file `file` and leaves that at its beginning. What it is packed
/// from has the layer's digest.
///
/// Any of the layer's trees will do, whatever ids it was made for, as long as its files can be read.
///
/// # Errors
///
/// There is no tree with a recipe, none gives the right archive, or the file cannot be written.
pub(crate) fn pack(
    store: &Store,
    mapping: &IdMapping,
    layer: &LayerKey,
    file: &File,
    packing: Packing,
) -> Result<Written, CommandError> {
    let mut failure = None;
    // The place in the file is that of every copy.
    let afresh = || -> io::Result<File> {
        let mut copy = file.try_clone()?;
        copy.rewind()?;
        Ok(copy)
    };
    let during = || format!("write the archive of layer {}", layer.digest());
    for (_, tree) in store.trees_of(layer)? {
        let out = afresh().and_then(|out| out.set_len(0).map(|()| out)).during(during)?;
        match pack_from(store, mapping, layer, &tree, out, packing) {
            Ok(Some(written)) => {
                afresh().during(during)?;
                return Ok(written);
            }
            Ok(None) => {}
            Err(error) => failure = Some(error),
        }
    }
    let missing = || CommandError::failed("its archive was not kept, and there is no tree that gives it back");
    let failure = failure.unwrap_or_else(missing).during(format!("layer {}", layer.digest()));
    let full = failure.chain().ends_with("No space left on device");
    Err(if full { failure } else { failure.hint("`proa image verify --repair` mends the image") })
}

/// The archive that one tree gives; `None` if it has no recipe.
fn pack_from(
    store: &Store,
    mapping: &IdMapping,
    layer: &LayerKey,
    tree: &Tree,
    out: File,
    packing: Packing,
) -> Result<Option<Written>, CommandError> {
    let Some(recipe) = store.recipe(tree)? else { return Ok(None) };
    // Made here: the child is another user in the eyes of the directory it would lie in.
    let spare = store.scratch()?;
    let written = idmap::run_in(mapping, || -> Result<(Digest, Written), RecipeError> {
        let failed = |error: io::Error| RecipeError::Write(error.into());
        let out = LayerWriter::new(out, packing).map_err(failed)?;
        let mut out = Hashed { hasher: Hasher::new(layer.digest().algorithm()), out };
        rebuild(recipe, tree.dir(), &mut out, &mut || spare.try_clone())?;
        Ok((out.hasher.finish(), out.out.finish().map_err(failed)?))
    })?;
    let (digest, written) = written?;
    if digest != layer.digest() {
        let changed = format!("its tree was changed: the archive it gives back is {digest}");
        return Err(CommandError::from(io::Error::other(changed)));
    }
    Ok(Some(written))
}

/// Hashes what passes with the algorithm of the layer's own digest.
struct Hashed {
    hasher: Hasher,
    out: LayerWriter,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
