//! An OCI layout in a temporary directory, good unless a test breaks it.

use std::fs;
use std::path::{Path, PathBuf};

use fetch::{Algorithm, Digest, OciError, OciImage, Platform};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Media types, by their short names here.
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A layout being built.
pub(crate) struct Fixture {
    temp: TempDir,
}

impl Fixture {
    /// An empty layout: the header and the blob directories.
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let fixture = Self { temp };
        fs::create_dir_all(fixture.dir().join("blobs/sha256")).unwrap();
        fs::create_dir(fixture.dir().join("blobs/sha512")).unwrap();
        fs::write(fixture.dir().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        fixture
    }

    /// A layout with one image for this machine.
    pub(crate) fn with_image() -> Self {
        let fixture = Self::new();
        let entry = fixture.image(&host_config(2), 2);
        fixture.index(&[entry]);
        fixture
    }

    /// The layout directory. It has a parent of its own, so that `../` leads to a place the test can watch.
    pub(crate) fn dir(&self) -> PathBuf {
        let dir = self.temp.path().join("layout");
        if !dir.exists() {
            fs::create_dir(&dir).unwrap();
        }
        dir
    }

    /// The directory around the layout.
    pub(crate) fn outside(&self) -> &Path {
        self.temp.path()
    }

    /// Where a blob is.
    pub(crate) fn path(&self, digest: &str) -> PathBuf {
        self.dir().join("blobs").join(digest.replace(':', "/"))
    }

    /// Stores a blob and returns its descriptor.
    pub(crate) fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        self.blob_as(Algorithm::Sha256, media_type, bytes)
    }

    /// The same under a digest of the caller's choice.
    pub(crate) fn blob_as(&self, algorithm: Algorithm, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(algorithm, bytes);
        fs::write(self.dir().join(digest.blob_path()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    }

    /// Stores a JSON document and returns its descriptor.
    pub(crate) fn document(&self, media_type: &str, document: &Value) -> Value {
        self.blob(media_type, document.to_string().as_bytes())
    }

    /// Stores config, layers and manifest, and returns the manifest's descriptor.
    pub(crate) fn image(&self, config: &Value, layers: usize) -> Value {
        let config = self.document(CONFIG, config);
        let layers: Vec<Value> = (0..layers).map(|n| self.blob(LAYER, format!("layer {n}").as_bytes())).collect();
        self.manifest(&config, &layers)
    }

    /// Stores a manifest of these parts and returns its descriptor.
    pub(crate) fn manifest(&self, config: &Value, layers: &[Value]) -> Value {
        self.document(MANIFEST, &json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}))
    }

    /// Writes `index.json`.
    pub(crate) fn index(&self, entries: &[Value]) {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
        self.raw_index(index.to_string().as_bytes());
    }

    /// Writes `index.json` byte for byte.
    pub(crate) fn raw_index(&self, bytes: &[u8]) {
        fs::write(self.dir().join("index.json"), bytes).unwrap();
    }

    /// Opens the image that `reference` means.
    pub(crate) fn open(&self, reference: Option<&str>) -> Result<OciImage, OciError> {
        OciImage::open(&self.dir(), reference)
    }

    /// Opens the image that `reference` means; an error is its whole chain in one line. Fails the test where that is
    /// unfit for a terminal.
    pub(crate) fn attempt(&self, reference: Option<&str>) -> Result<OciImage, String> {
        self.open(reference).map_err(|error| {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(inner) = source {
                text = format!("{text}: {inner}");
                source = inner.source();
            }
            assert!(!text.contains(char::is_control) && text.len() < 1500, "unfit for a terminal: {text:?}");
            text
        })
    }

    /// The error of opening. Fails the test where there is none.
    pub(crate) fn refusal(&self, reference: Option<&str>) -> String {
        self.attempt(reference).map(|image| image.name).expect_err("the layout was accepted")
    }
}

/// A config for this machine with `layers` diff ids.
pub(crate) fn host_config(layers: usize) -> Value {
    let host = Platform::host();
    config(&host.os, &host.architecture, layers)
}

/// A config for any machine.
pub(crate) fn config(os: &str, architecture: &str, layers: usize) -> Value {
    let diff_ids: Vec<String> =
        (0..layers).map(|n| Digest::of(Algorithm::Sha256, format!("diff {n}").as_bytes()).to_string()).collect();
    json!({
        "os": os,
        "architecture": architecture,
        "config": {"Entrypoint": ["/bin/app"], "Env": ["A=b"], "Volumes": null, "Labels": null},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
}

/// `entry` with an annotation.
pub(crate) fn annotated(mut entry: Value, key: &str, value: &str) -> Value {
    entry["annotations"][key] = json!(value);
    entry
}

/// `entry` with the reference name that index.json gives an image.
pub(crate) fn named(entry: Value, name: &str) -> Value {
    annotated(entry, "org.opencontainers.image.ref.name", name)
}

/// `entry` with a platform.
pub(crate) fn on(mut entry: Value, os: &str, architecture: &str) -> Value {
    entry["platform"] = json!({"os": os, "architecture": architecture});
    entry
}
