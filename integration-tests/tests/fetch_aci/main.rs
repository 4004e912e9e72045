//! ACIs of servers: by URL and by name, signed with gpg's keys, over TLS of a private authority.

mod dependencies;
mod downloads;
mod names;
mod signatures;

use std::path::PathBuf;

use integration_tests::images::{Aci, Packing, busybox};
use integration_tests::needs::Why;
use integration_tests::site::Internet;
use integration_tests::{Gpg, Outcome};
use serde_json::json;

const TAGS: [&str; 2] = [
    r#"name="ac-discovery" content="example.com https://dist.example.com/{name}-{version}-{os}-{arch}.{ext}""#,
    r#"name="ac-discovery-pubkeys" content="example.com https://example.com/pubkeys.gpg""#,
];

const URL: &str = "https://dist.example.com/files/app.aci";
const AT: &str = "dist.example.com/files/app.aci";

fn arch() -> &'static str {
    if cfg!(target_arch = "x86_64") { "amd64" } else { "aarch64" }
}

/// Where the pages say that an image is.
fn place(version: &str) -> String {
    format!("dist.example.com/example.com/app-{version}-linux-{}.aci", arch())
}

/// Every host, and a maker of images whose key is trusted.
struct World {
    // Before the user's world, whose end wants all processes gone.
    gpg: Gpg,
    net: Internet,
}

impl World {
    fn new() -> Result<Self, Why> {
        let net = Internet::new()?;
        let gpg = Gpg::new()?;
        gpg.key("maker", "ed25519", "never");
        let key = gpg.export(&net.env, "maker", "maker.asc");
        let trust = ["trust", "--root", "--skip-fingerprint-review", key.to_str().expect("UTF-8")];
        net.env.proa(trust).outcome().succeeds();
        net.page("example.com/app", &TAGS);
        Ok(Self { gpg, net })
    }

    /// An image `example.com/app` that prints its version, as a file.
    fn image(&self, version: &str) -> PathBuf {
        let image = Aci::new("app", busybox()).sh(&format!("echo version {version}")).packed(Packing::Gzip);
        let label = json!({"name": "version", "value": version});
        image.manifest(|it| it["labels"].as_array_mut().expect("a list").push(label)).build(&self.net.env)
    }

    /// Serves an image and its signature; returns the image's bytes.
    fn publish(&self, version: &str, at: &str) -> Vec<u8> {
        let file = self.image(version);
        let signature = self.gpg.sign(&self.net.env, "maker", &file);
        let bytes = std::fs::read(&file).expect("it was just written");
        self.net.site.file(at, bytes.clone());
        self.net.site.file(&format!("{at}.asc"), std::fs::read(&signature).expect("it was just written"));
        std::fs::remove_file(file).and_then(|()| std::fs::remove_file(signature)).expect("they are ours");
        bytes
    }

    fn fetch(&self, args: &[&str]) -> Outcome {
        self.net.proa(&[&["fetch"], args].concat())
    }

    /// The URLs that were asked for, without the scheme.
    fn urls(&self) -> Vec<String> {
        self.net.site.urls().into_iter().map(|it| it.trim_start_matches("https://").to_owned()).collect()
    }

    fn runs(&self, image: &str) -> Outcome {
        self.net.proa(&["run", "--net=none", image]).succeeds()
    }
}
