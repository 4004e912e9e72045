//! ACIs, written by hand.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::Env;
use crate::images::{Packing, Tree};

/// An ACI to be.
#[derive(Debug, Clone)]
pub struct Aci {
    name: String,
    manifest: Value,
    tree: Tree,
    packing: Packing,
    manifest_last: bool,
}

impl Aci {
    /// An image of this tree with a complete manifest for this machine and no arguments.
    pub fn new(name: &str, tree: Tree) -> Self {
        let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "aarch64" };
        let manifest = json!({
            "acKind": "ImageManifest",
            "acVersion": "0.8.11",
            "name": format!("example.com/{name}"),
            "labels": [{"name": "os", "value": "linux"}, {"name": "arch", "value": arch}],
            "app": {"exec": ["/bin/true"], "user": "0", "group": "0"},
        });
        Self { name: name.to_owned(), manifest, tree, packing: Packing::Tar, manifest_last: false }
    }

    /// Sets what is executed.
    pub fn exec<S: Into<String>>(self, exec: impl IntoIterator<Item = S>) -> Self {
        let exec: Vec<String> = exec.into_iter().map(Into::into).collect();
        self.app("exec", json!(exec))
    }

    /// Sets a script for /bin/sh as what is executed.
    pub fn sh(self, script: &str) -> Self {
        self.exec(["/bin/sh", "-c", script])
    }

    /// Sets the user and group.
    pub fn user(self, user: &str, group: &str) -> Self {
        self.app("user", json!(user)).app("group", json!(group))
    }

    /// Sets a field of the manifest's `app`.
    pub fn app(mut self, field: &str, value: Value) -> Self {
        self.manifest["app"][field] = value;
        self
    }

    /// Changes the manifest in any way.
    pub fn manifest(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.manifest);
        self
    }

    /// Sets the compression.
    pub fn packed(mut self, packing: Packing) -> Self {
        self.packing = packing;
        self
    }

    /// Puts the manifest behind the files, as actool does.
    pub fn manifest_last(mut self) -> Self {
        self.manifest_last = true;
        self
    }

    /// The uncompressed archive: its SHA-512 is the image's ID.
    pub fn tar(&self) -> Vec<u8> {
        let manifest = Tree::new().file("manifest", self.manifest.to_string(), 0o644);
        let files = Tree::new().dir("rootfs", 0o755).then(self.tree.clone().below("rootfs"));
        if self.manifest_last { files.then(manifest).tar() } else { manifest.then(files).tar() }
    }

    /// Writes it to `images/NAME.aci` of the test.
    pub fn build(&self, env: &Env) -> PathBuf {
        env.write(format!("images/{}.aci", self.name), self.packing.pack(&self.tar()))
    }
}
