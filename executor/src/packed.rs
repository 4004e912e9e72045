//! Gives the archive of a layer back that was not kept (docs/decisions/0005): its recipe and its tree together.

use std::fs::File;
use std::io::{self, Seek as _, Write};

use stage1::idmap::IdMapping;
use store::recipe::{RecipeError, rebuild};
use store::{Digest, LayerKey, Store, Tree};

use crate::error::{CommandError, Explain};
use crate::idmap;

/// The uncompressed archive of an OCI layer as a file without a name, checked against the layer's digest.
///
/// Any of the layer's trees will do, whatever ids it was made for, as long as its files can be read.
///
/// # Errors
///
/// There is no tree with a recipe, or none gives the right archive.
pub(crate) fn archive(store: &Store, mapping: &IdMapping, layer: &LayerKey) -> Result<File, CommandError> {
    let mut failure = None;
    for (_, tree) in store.trees_of(layer)? {
        match archive_of(store, mapping, layer, &tree) {
            Ok(Some(file)) => return Ok(file),
            Ok(None) => {}
            Err(error) => failure = Some(error),
        }
    }
    let missing = || CommandError::failed("its archive was not kept, and there is no tree that gives it back");
    Err(failure.unwrap_or_else(missing).during(format!("layer {}", layer.digest())).hint("fetch the image again"))
}

/// The archive that one tree gives; `None` if it has no recipe.
fn archive_of(store: &Store, mapping: &IdMapping, layer: &LayerKey, tree: &Tree) -> Result<Option<File>, CommandError> {
    let Some(recipe) = tree.recipe(store)? else { return Ok(None) };
    let mut file = store.scratch()?;
    let mut out = file.try_clone()?;
    write(store, mapping, tree, recipe, &mut out)?;
    file.rewind()?;
    let digest = Digest::of_reader(layer.digest().algorithm(), &mut file).during(|| "read the archive".into())?;
    if digest != layer.digest() {
        return Err(CommandError::failed(format!("its tree was changed: the archive it gives back is {digest}")));
    }
    file.rewind()?;
    Ok(Some(file))
}

/// Writes the archive that `recipe` and `tree` are together, in a child process that may read the tree's files.
fn write(
    store: &Store,
    mapping: &IdMapping,
    tree: &Tree,
    recipe: File,
    out: &mut (dyn Write + Send),
) -> Result<u64, CommandError> {
    // Made here: the child is another user in the eyes of the directory it would lie in.
    let spare = store.scratch()?;
    let mut scratch = || -> io::Result<File> { spare.try_clone() };
    let mut buffered = io::BufWriter::with_capacity(256 << 10, out);
    let written: Result<u64, RecipeError> = idmap::run_in(mapping, || {
        let size = rebuild(recipe, tree.dir(), &mut buffered, &mut scratch)?;
        buffered.flush().map_err(|error| RecipeError::Write(error.into()))?;
        Ok(size)
    })?;
    Ok(written?)
}
