//! What the store knows about an image: one JSON file.

use std::fmt;

use appc::{ImageId, ImageManifest, ImageString};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::digest::Digest;
use crate::error::StoreError;
use crate::layer::LayerKey;

/// The two kinds of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageKind {
    /// An App Container Image.
    Aci,
    /// An OCI image.
    Oci,
}

impl fmt::Display for ImageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aci => "aci",
            Self::Oci => "oci",
        })
    }
}

/// A name of an image and when it was given to it. Of two images that claim a name the later claim counts, so that
/// moving a name is one rename of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameClaim {
    /// The name.
    pub name: String,
    /// Nanoseconds since the epoch, made larger than every earlier claim to the same name, whatever the clock says.
    pub claimed_ns: u64,
}

/// What a blob is to its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobRole {
    /// The archive of a layer, or an ACI, as it came.
    Layer,
    /// The OCI manifest.
    Manifest,
    /// The OCI configuration.
    Config,
}

/// A blob that belongs to an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRef {
    /// Its name in the store.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What it is.
    pub role: BlobRole,
}

/// One image. Everything needed to run it is in here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRecord {
    /// Its ID.
    pub id: ImageId,
    /// Its kind.
    pub kind: ImageKind,
    /// Its names, oldest first.
    pub names: Vec<NameClaim>,
    /// Its manifest; of an OCI image the one its configuration was turned into.
    pub manifest: ImageManifest,
    /// Its layers, the lowest first. An ACI has one.
    pub layers: Vec<LayerKey>,
    /// Its blobs, in the order of the layers; documents last.
    pub blobs: Vec<BlobRef>,
    /// Bytes of its blobs and of the files of its trees.
    pub size: u64,
    /// When it was first imported, in nanoseconds since the epoch.
    pub imported_ns: u64,
    /// Where it came from, as it would be asked for again; not known of images that earlier versions stored.
    pub source: Option<String>,
}

impl ImageRecord {
    /// Its names, oldest first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|claim| claim.name.as_str())
    }

    /// Whether it is an ACI of this name with at least these labels (appc aci.md, Dependency Matching).
    pub fn is_called(&self, wanted: &ImageString) -> bool {
        let manifest = &self.manifest;
        self.kind == ImageKind::Aci && manifest.name == wanted.name && manifest.labels.satisfy(&wanted.labels)
    }

    pub(crate) fn to_json(&self) -> Result<Vec<u8>, StoreError> {
        let manifest = String::from_utf8(self.manifest.to_json()?).expect("JSON is UTF-8");
        let stored = Stored {
            version: VERSION,
            id: self.id.to_string().into(),
            kind: self.kind,
            names: self.names.clone(),
            layers: self.layers.clone(),
            blobs: self.blobs.clone(),
            size: self.size,
            imported_ns: self.imported_ns,
            source: self.source.clone(),
            manifest: &RawValue::from_string(manifest).expect("the manifest is JSON"),
        };
        let mut json = serde_json::to_vec(&stored).expect("the record has no map with other keys than strings");
        json.push(b'\n');
        Ok(json)
    }

    /// Reads the record of `id`.
    pub(crate) fn from_json(id: &ImageId, json: &[u8]) -> Result<Self, StoreError> {
        let damaged = |reason: String| StoreError::Damaged { file: file_of(id), reason };
        let stored: Stored<'_> = serde_json::from_slice(json).map_err(|error| damaged(error.to_string()))?;
        if stored.version != VERSION {
            return Err(damaged(format!("version {} of records is unknown", stored.version)));
        }
        // A record that was renamed would otherwise stand for another image.
        if stored.id != id.to_string() {
            return Err(damaged(format!("it is the record of {}", crate::shown::Shown::new(stored.id.as_bytes()))));
        }
        let manifest = ImageManifest::from_json(stored.manifest.get().as_bytes())
            .map_err(|error| damaged(format!("manifest: {error}")))?;
        Ok(Self {
            id: *id,
            kind: stored.kind,
            names: stored.names,
            manifest,
            layers: stored.layers,
            blobs: stored.blobs,
            size: stored.size,
            imported_ns: stored.imported_ns,
            source: stored.source,
        })
    }
}

/// The path of a record, below the store.
pub(crate) fn file_of(id: &ImageId) -> String {
    format!("images/{}.json", id.file_name())
}

/// The ID that a file below `images` is named after.
pub(crate) fn id_of(file: &str) -> Option<ImageId> {
    let id: ImageId = file.strip_suffix(".json")?.parse().ok()?;
    // Both separators parse, but there is one file name.
    (file_of(&id).strip_prefix("images/") == Some(file)).then_some(id)
}

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    version: u32,
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
    kind: ImageKind,
    names: Vec<NameClaim>,
    layers: Vec<LayerKey>,
    blobs: Vec<BlobRef>,
    size: u64,
    imported_ns: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(borrow)]
    manifest: &'a RawValue,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;

    fn record() -> ImageRecord {
        let manifest = br#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/app"}"#;
        ImageRecord {
            id: ImageId::sha512([0xab; 64]),
            kind: ImageKind::Aci,
            names: vec![NameClaim { name: "example.com/app".to_owned(), claimed_ns: 5 }],
            manifest: ImageManifest::from_json(manifest).unwrap(),
            layers: vec![LayerKey::aci(Digest::Sha512([0xab; 64]))],
            blobs: vec![BlobRef { digest: Digest::of(Algorithm::Sha256, b""), size: 0, role: BlobRole::Layer }],
            size: 12,
            imported_ns: 7,
            source: Some("/a.aci".to_owned()),
        }
    }

    #[test]
    fn golden() {
        let text = String::from_utf8(record().to_json().unwrap()).unwrap();
        let hex = "ab".repeat(64);
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let expected = format!(
            concat!(
                r#"{{"version":1,"id":"sha512-{hex}","kind":"aci","#,
                r#""names":[{{"name":"example.com/app","claimed_ns":5}}],"layers":["aci-sha512-{hex}"],"#,
                r#""blobs":[{{"digest":"sha256:{empty}","size":0,"role":"layer"}}],"size":12,"imported_ns":7,"source":"/a.aci","#,
                r#""manifest":{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/app"}}}}"#,
                "\n"
            ),
            hex = hex,
            empty = empty
        );
        assert_eq!(text, expected);
        assert_eq!(ImageRecord::from_json(&record().id, text.as_bytes()).unwrap(), record());
    }

    #[test]
    fn sto_04_a_damaged_record_names_its_file() {
        let json = record().to_json().unwrap();
        for bad in [&json[..json.len() / 2], b"", b"null", &json[1..]] {
            let error = ImageRecord::from_json(&record().id, bad).unwrap_err().to_string();
            assert!(error.contains("images/sha512-abab") && error.contains("damaged"), "{error}");
        }
        let error = ImageRecord::from_json(&ImageId::sha512([1; 64]), &json).unwrap_err().to_string();
        assert!(error.contains("it is the record of"), "{error}");
    }

    #[test]
    fn file_names_lead_back_to_the_id() {
        let id = ImageId::sha256([7; 32]);
        let name = file_of(&id);
        assert_eq!(id_of(name.strip_prefix("images/").unwrap()), Some(id));
        assert_eq!(id_of("sha256-00.json"), None);
        assert_eq!(id_of(&format!("{id}.json")), None, "with a colon");
        assert_eq!(id_of("lost+found"), None);
    }
}
