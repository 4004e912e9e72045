//! Images with dependencies or lists of paths: what an app of them sees.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;

use store::merge::{self, MergeError, Merged, Source};
use store::{ImageRecord, Keep, LayerKey, Part, Tree, merged_key, verify};
use tracing::{debug, info_span};

use super::Images;
use crate::error::{CommandError, Explain};
use crate::idmap::{self, Remover};

/// More images than this are merged: an overlay of so many trees would be slow, and the kernel's limit is near.
const MOST_STACKED: usize = 100;

impl Images {
    /// The trees of an image and its dependencies, lowest first: laid on one another where nothing is left out and
    /// nothing implied, else one tree that they are merged into.
    pub(super) fn rendered_trees(&self, image: &ImageRecord) -> Result<Vec<Tree>, CommandError> {
        let parts = self.store.parts(image)?;
        let trees = self.trees_of_parts(&parts)?;
        // What the lowest one implies nothing else can say better.
        let upper = &trees[..trees.len().saturating_sub(1)];
        let stacked = parts.len() <= MOST_STACKED
            && !parts.iter().any(Part::is_filtered)
            && upper.iter().map(Tree::record).all(|record| record.is_ok_and(|record| record.implied.is_empty()));
        if stacked {
            return Ok(trees.into_iter().rev().collect());
        }
        let key = merged_key(&parts);
        if let Some(tree) = self.store.tree(&key, &self.map)? {
            return Ok(vec![tree]);
        }
        info_span!("render", image = %image.id)
            .in_scope(|| self.merge(parts, trees, key))
            .during(|| format!("render {}", image.id))?;
        let gone = || CommandError::failed(format!("the tree of {} was removed while it was made", image.id));
        Ok(vec![self.store.tree(&key, &self.map)?.ok_or_else(gone)?])
    }

    /// The tree of each part, as the parts come.
    fn trees_of_parts(&self, parts: &[Part]) -> Result<Vec<Tree>, CommandError> {
        let mut ready = BTreeSet::new();
        for part in parts.iter().filter(|part| ready.insert(part.image)) {
            let gone = || CommandError::failed(format!("image {} was removed from the store", part.image));
            drop(self.own_trees(&self.store.record(&part.image)?.ok_or_else(gone)?)?);
        }
        let gone = || CommandError::failed("a tree was removed while another one was made");
        parts.iter().map(|part| self.store.tree(&part.layer, &self.map)?.ok_or_else(gone)).collect()
    }

    /// Makes the tree of all parts together.
    fn merge(&self, parts: Vec<Part>, trees: Vec<Tree>, key: LayerKey) -> Result<(), CommandError> {
        let sources = sources(parts, &trees)?;
        let mut import = self.store.begin()?;
        let pending = import.new_layer(&self.map, self.owner(), Keep::Recipe)?;
        let merged: Result<Merged, MergeError> =
            idmap::run_in(&self.mapping, || merge::merge(pending.root(), &sources))?;
        match merged {
            Ok(merged) => {
                debug!(%key, entries = merged.entries, "images were merged");
                Ok(import.commit_merged(pending, key, &merged)?)
            }
            Err(error) => {
                import.abandon(&Remover::new(&self.mapping))?;
                Err(error.into())
            }
        }
    }

    /// Looks whether the tree that an image and its dependencies were merged into is what they come to; nothing if there
    /// is none. Returns its name if it is not, and why.
    pub(crate) fn examine_merged(&self, image: &ImageRecord) -> Result<Option<(LayerKey, CommandError)>, CommandError> {
        let parts = self.store.parts(image)?;
        let key = merged_key(&parts);
        let Some(tree) = self.store.tree(&key, &self.map)? else { return Ok(None) };
        let trees = self.trees_of_parts(&parts)?;
        let sources = sources(parts, &trees)?;
        let mut import = self.store.begin()?;
        let pending = import.new_layer(&self.map, self.owner(), Keep::Recipe)?;
        let again = pending.root().try_clone_to_owned()?;
        let root = tree.dir().try_clone_to_owned()?;
        let found = idmap::run_in(&self.mapping, || {
            merge::merge(again.as_fd(), &sources).map_err(|error| error.to_string())?;
            verify::run_merged(&root, &again).map_err(|damage| damage.to_string())
        });
        drop(pending);
        import.abandon(&Remover::new(&self.mapping))?;
        Ok(found?.err().map(|why: String| (key, CommandError::failed(why))))
    }
}

fn sources(parts: Vec<Part>, trees: &[Tree]) -> Result<Vec<Source>, CommandError> {
    let source = |(part, tree): (Part, &Tree)| {
        let record = tree.record()?;
        let root = tree.dir().try_clone_to_owned()?;
        Ok(Source { part, root, owners: record.owners, implied: record.implied })
    };
    parts.into_iter().zip(trees).map(source).collect()
}
