//! Images of the tests' own making: what proa would never write.

use super::*;

/// Manifests with all that they name.
#[derive(Default)]
pub(crate) struct Made {
    /// What there is, by the digest under which it is asked for.
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    /// What is found in a place of a blob: other bytes, or nothing.
    pub(crate) damaged: BTreeMap<String, Option<Vec<u8>>>,
    /// Manifests below an index, in the order in which registries take them.
    pub(crate) inner: Vec<Value>,
    pub(crate) manifests: Vec<Value>,
}

impl Made {
    fn blob(&mut self, bytes: &[u8]) -> (String, usize) {
        self.blobs.insert(digest(bytes), bytes.to_vec());
        (digest(bytes), bytes.len())
    }

    pub(crate) fn descriptor(&mut self, media_type: &str, bytes: &[u8], annotations: Value) -> Value {
        let (digest, size) = self.blob(bytes);
        json!({"mediaType": media_type, "digest": digest, "size": size, "annotations": annotations})
    }

    pub(crate) fn image(mut self, name: &str, layers: Vec<Value>, config: &Value) -> Self {
        let config = serde_json::to_vec(config).expect("JSON");
        let config = self.descriptor("application/vnd.oci.image.config.v1+json", &config, Value::Null);
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        self.document(name, MANIFEST, &manifest)
    }

    pub(crate) fn document(mut self, name: &str, media_type: &str, document: &Value) -> Self {
        let bytes = serde_json::to_vec(document).expect("JSON");
        let annotations = json!({"org.opencontainers.image.ref.name": name});
        let descriptor = self.descriptor(media_type, &bytes, annotations);
        self.manifests.push(descriptor);
        self
    }

    /// Makes a layout directory of it.
    pub(crate) fn write(&self, env: &Env) {
        let dir = env.path("layout");
        let _ = fs::remove_dir_all(&dir);
        env.make_dir(&dir.join("blobs/sha256"));
        for (digest, bytes) in &self.blobs {
            if let Some(bytes) = self.damaged.get(digest).unwrap_or(&Some(bytes.clone())) {
                fs::write(dir.join("blobs/sha256").join(&digest[7..]), bytes).expect("the folder is ours");
            }
        }
        let index = json!({"schemaVersion": 2, "manifests": self.manifests});
        fs::write(dir.join("index.json"), index.to_string()).expect("the folder is ours");
    }

    /// Puts it into a registry, under the tag `latest`.
    pub(crate) fn upload(&self, registry: &Registry, name: &str) {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let is_document =
            |digest: &str| self.inner.iter().chain(&self.manifests).any(|it| it["digest"].as_str() == Some(digest));
        for (digest, bytes) in self.blobs.iter().filter(|it| !is_document(it.0)) {
            registry.put_blob(name, digest, bytes);
        }
        let tagged = self.manifests.iter().map(|it| (it, "latest".to_owned()));
        for (it, version) in self.inner.iter().map(|it| (it, text(&it["digest"]))).chain(tagged) {
            registry.put_manifest(name, &version, &text(&it["mediaType"]), &self.blobs[&text(&it["digest"])]);
        }
        for (digest, bytes) in &self.damaged {
            let file = registry.blob_file(digest);
            match bytes {
                Some(bytes) => fs::write(file, bytes).expect("the folder is ours"),
                None => fs::remove_file(file).expect("the folder is ours"),
            }
        }
    }
}

pub(crate) fn annotations(role: &str, title: &str, media_type: &str) -> Value {
    json!({"org.lfedge.eci.role": role, TITLE: title, "org.lfedge.eci.mediaType": media_type})
}

/// A tar of these files; a value that begins with `->` is a symbolic link.
pub(crate) fn tarball(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        if let Some(target) = content.strip_prefix(b"->") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            let target = std::str::from_utf8(target).expect("text");
            builder.append_link(&mut header, name, target).expect("a vector");
        } else {
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, *content).expect("a vector");
        }
    }
    builder.into_inner().expect("a vector")
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a vector")
}
