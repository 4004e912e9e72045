//! OCI image layouts, written by hand: every digest and media type can be made wrong.

use std::path::PathBuf;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Env;
use crate::images::{Packing, Tree};

/// One layer of a [`Layout`].
#[derive(Debug, Clone)]
pub struct OciLayer {
    tree: Tree,
    packing: Packing,
    media_type: Option<String>,
    damage: bool,
}

/// A layout directory with one image.
#[derive(Debug, Clone)]
pub struct Layout {
    name: String,
    layers: Vec<OciLayer>,
    config: Value,
    architecture: String,
    wrong_diff_id: bool,
}

impl From<Tree> for OciLayer {
    fn from(tree: Tree) -> Self {
        Self { tree, packing: Packing::Gzip, media_type: None, damage: false }
    }
}

impl OciLayer {
    /// Sets the compression and the media type that goes with it.
    pub fn packed(mut self, packing: Packing) -> Self {
        self.packing = packing;
        self
    }

    /// Sets another media type.
    pub fn media_type(mut self, media_type: &str) -> Self {
        self.media_type = Some(media_type.to_owned());
        self
    }

    /// Changes a byte of the blob after its digest was taken.
    pub fn damaged(mut self) -> Self {
        self.damage = true;
        self
    }
}

impl Layout {
    /// An image for this machine without layers and without anything to execute.
    pub fn new(name: &str) -> Self {
        let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        let config = json!({});
        Self { name: name.into(), layers: vec![], config, architecture: architecture.into(), wrong_diff_id: false }
    }

    /// Adds a layer on top.
    pub fn layer(mut self, layer: impl Into<OciLayer>) -> Self {
        self.layers.push(layer.into());
        self
    }

    /// Sets a field of the configuration (`Entrypoint`, `Cmd`, `Env`, `User`, `WorkingDir`, …).
    pub fn config(mut self, field: &str, value: Value) -> Self {
        self.config[field] = value;
        self
    }

    /// Sets the command as a script for /bin/sh.
    pub fn sh(self, script: &str) -> Self {
        self.config("Cmd", json!(["/bin/sh", "-c", script]))
    }

    /// Sets another architecture.
    pub fn architecture(mut self, architecture: &str) -> Self {
        self.architecture = architecture.to_owned();
        self
    }

    /// Lets the configuration name other uncompressed digests than the layers have.
    pub fn wrong_diff_id(mut self) -> Self {
        self.wrong_diff_id = true;
        self
    }

    /// Writes the layout to `images/NAME` of the test, tagged `latest`.
    pub fn build(&self, env: &Env) -> PathBuf {
        let dir = env.path("images").join(&self.name);
        for path in [dir.clone(), dir.join("blobs"), dir.join("blobs/sha256")] {
            env.make_dir(&path);
        }
        let blob = |bytes: &[u8], media_type: &str| {
            let digest = sha256(bytes);
            env.write(dir.join("blobs/sha256").join(&digest), bytes);
            json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()})
        };
        let mut diff_ids = Vec::new();
        let mut layers = Vec::new();
        for layer in &self.layers {
            let tar = layer.tree.tar();
            diff_ids.push(format!("sha256:{}", sha256(if self.wrong_diff_id { b"other" } else { &tar })));
            let media_type = match layer.packing {
                Packing::Tar => "application/vnd.oci.image.layer.v1.tar",
                Packing::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
                Packing::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
                // No media types of OCI, which a test may want to see refused.
                Packing::Bzip2 => "application/vnd.example.layer.v1.tar+bzip2",
                Packing::Xz => "application/vnd.example.layer.v1.tar+xz",
            };
            let mut bytes = layer.packing.pack(&tar);
            let descriptor = blob(&bytes, layer.media_type.as_deref().unwrap_or(media_type));
            if layer.damage {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x20;
                let name = descriptor["digest"].as_str().expect("it is text").trim_start_matches("sha256:");
                env.write(dir.join("blobs/sha256").join(name), bytes);
            }
            layers.push(descriptor);
        }
        let config = json!({
            "architecture": self.architecture, "os": "linux", "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = blob(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers});
        let mut manifest = blob(manifest.to_string().as_bytes(), media_type);
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        env.write(dir.join("index.json"), index.to_string());
        env.write(dir.join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string());
        dir
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
