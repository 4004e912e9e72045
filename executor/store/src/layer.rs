//! How a layer and its trees are named.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Algorithm, Digest, DigestError};
use crate::extract::Form;

/// A layer: the form of its archive and the digest of the uncompressed tar. Prints as `oci-sha256-HEX`.
///
/// The form is part of it because the same bytes read as an ACI and as an OCI layer are different trees. The tree of a
/// layer that implies directories also depends on the layers below: then a hash of those is part of it as well,
/// `oci-sha256-HEX-on-HEX`. So is the tree that an ACI and its dependencies are merged into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LayerKey {
    form: Form,
    digest: Digest,
    base: Option<[u8; 16]>,
}

/// Between the digest of a layer and the hash of what it lies on.
const ON: &str = "-on-";

impl LayerKey {
    /// The only layer of an ACI with this ID.
    pub fn aci(id: Digest) -> Self {
        Self::new(Form::Aci, id)
    }

    /// The layer of an OCI image with this diff id (image-spec config.md, rootfs.diff_ids).
    pub fn oci(diff_id: Digest) -> Self {
        Self::new(Form::OciLayer, diff_id)
    }

    /// The layer of this form and digest.
    pub fn new(form: Form, digest: Digest) -> Self {
        Self { form, digest, base: None }
    }

    /// The same layer where its tree depends on these below it, lowest first.
    pub fn on(mut self, below: &[Self]) -> Self {
        let names: Vec<String> = below.iter().map(ToString::to_string).collect();
        let hash = Digest::of(Algorithm::Sha256, names.join(" ").as_bytes());
        self.base = hash.bytes().first_chunk().copied();
        self
    }

    /// The layer where its tree is what `parts` come to together, highest first: an ACI with its dependencies.
    pub(crate) fn merged(mut self, parts: &str) -> Self {
        self.base = Digest::of(Algorithm::Sha256, parts.as_bytes()).bytes().first_chunk().copied();
        self
    }

    /// The form of its archive.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The digest of the uncompressed archive.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The directory of its tree for one id map, below `trees`.
    pub(crate) fn tree_name(&self, map: &IdMap) -> String {
        format!("{self}.{map}")
    }

    /// The layer of a directory below `trees`; `None` for a name we never give.
    pub(crate) fn of_tree(name: &str) -> Option<Self> {
        name.split_once('.')?.0.parse().ok()
    }
}

impl fmt::Display for LayerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self.form {
            Form::Aci => "aci",
            Form::OciLayer => "oci",
        };
        write!(f, "{form}-{}-{}", self.digest.algorithm().name(), self.digest.hex())?;
        self.base.map_or(Ok(()), |base| write!(f, "{ON}{}", hex::encode(base)))
    }
}

impl FromStr for LayerKey {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (layer, base) = text.split_once(ON).map_or((text, None), |(layer, base)| (layer, Some(base)));
        let mut key = match layer.split_once('-') {
            Some(("aci", digest)) => digest.parse().map(Self::aci),
            Some(("oci", digest)) => digest.parse().map(Self::oci),
            _ => Err(DigestError::new(text)),
        }?;
        if let Some(base) = base {
            let mut bytes = [0; 16];
            hex::decode_to_slice(base, &mut bytes).map_err(|_| DigestError::new(text))?;
            key.base = Some(bytes);
        }
        Ok(key)
    }
}

impl Serialize for LayerKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LayerKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Names the id map a tree was extracted under: two maps with the same name give files the same owners on disk.
///
/// The store only compares it. It becomes part of a directory's name, so what is long or holds other characters than
/// `[a-z0-9.-]` is replaced by a hash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdMap(String);

/// Leaves room for the layer in a directory name of 255 bytes: `oci-sha512-`, 128 digits, `-on-` and 32 more.
const LONGEST_MAP: usize = 75;

impl IdMap {
    /// The map with this name.
    pub fn new(key: &str) -> Self {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
        if !key.is_empty() && key.len() <= LONGEST_MAP && key.bytes().all(plain) {
            return Self(key.to_owned());
        }
        let hash = Digest::of(Algorithm::Sha256, key.as_bytes()).hex();
        Self(format!("map-{}", &hash[..32]))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_names_lead_back_to_the_layer() {
        let digest = Digest::of(Algorithm::Sha512, b"x");
        let below = [LayerKey::aci(digest), LayerKey::oci(digest)];
        assert_ne!(below[1].on(&below), below[1].on(&below[..1]));
        for layer in [below[0], below[1], below[1].on(&below)] {
            assert_eq!(layer.to_string().parse::<LayerKey>().unwrap(), layer);
            let name = layer.tree_name(&IdMap::new(&"u1.2-".repeat(15)));
            assert!(name.len() <= 255);
            assert_eq!(LayerKey::of_tree(&name), Some(layer));
        }
        assert_eq!(LayerKey::of_tree("lost+found"), None);
        assert!(digest.to_string().parse::<LayerKey>().is_err());
        assert!("zip-sha256-00".parse::<LayerKey>().is_err());
    }

    #[test]
    fn any_map_fits_into_a_name() {
        assert_eq!(IdMap::new("range-u1000.1-g1000.1").as_str(), "range-u1000.1-g1000.1");
        let (slash, long) = (IdMap::new("../x"), IdMap::new(&"a".repeat(76)));
        assert!(slash.as_str().starts_with("map-") && long.as_str().starts_with("map-") && slash != long);
    }
}
