//! Policies for images of registries: named by digest, signed as cosign signs with a key (here by openssl), in a real
//! registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use integration_tests::images::{Layout, busybox};
use integration_tests::needs::{Why, tool};
use integration_tests::registry::{Registry, Setup};
use integration_tests::{Env, Outcome, User, needs};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

struct World {
    registry: Registry,
    env: Env,
    openssl: PathBuf,
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

impl World {
    fn new() -> Result<Self, Why> {
        let env = Env::of(User::WithRange).or_else(|_| Env::of(User::NoRange))?;
        let registry = Setup::plain().start(&env, "registry")?;
        let world = Self { registry, env, openssl: tool("openssl")? };
        let layout = Layout::new("app").layer(busybox()).sh("echo it runs").build(&world.env);
        world.registry.push(&layout, "team/app:v1", &[])?;
        Ok(world)
    }

    fn proa(&self, args: &[&str]) -> Outcome {
        self.env.proa(["--insecure-options=http"].iter().chain(args)).outcome()
    }

    fn name(&self, rest: &str) -> String {
        format!("docker://{}", self.registry.name(rest))
    }

    fn fetch(&self, rest: &str) -> Outcome {
        self.proa(&["fetch", &self.name(rest)])
    }

    /// The digest of the manifest that a tag stands for.
    fn manifest(&self, tag: &str) -> String {
        let accept = "Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";
        let (status, answer) = self.registry.request(&format!("GET /v2/team/app/manifests/{tag}"), &[accept], b"");
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        let end = answer.windows(4).position(|it| it == b"\r\n\r\n").expect("a head") + 4;
        digest(&answer[end..])
    }

    fn policy(&self, content: Value) {
        let mut file = content;
        file["rktKind"] = "policy".into();
        file["rktVersion"] = "v1".into();
        self.env.make_dir(&self.env.path("home/.config/proa/policy.d"));
        self.env.write("home/.config/proa/policy.d/policy.json", file.to_string());
    }

    /// Makes a key pair; returns the secret key's file, beside which lies `.pub`.
    fn key(&self, name: &str) -> PathBuf {
        let key = self.env.path(name);
        let public = self.env.path(format!("{name}.pub"));
        self.run(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key.to_str().expect("UTF-8")]);
        self.run(&["ec", "-in", key.to_str().expect("UTF-8"), "-pubout", "-out", public.to_str().expect("UTF-8")]);
        self.env.own(&public);
        key
    }

    fn run(&self, args: &[&str]) -> Vec<u8> {
        let output = Command::new(&self.openssl).args(args).output().expect("openssl starts");
        assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn upload(&self, bytes: &[u8]) {
        let (status, answer) = self.registry.request("POST /v2/team/app/blobs/uploads/", &[], b"");
        assert_eq!(status, 202);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let location = answer.lines().find_map(|line| line.strip_prefix("Location: ")).expect("a location").trim();
        let path = location.split_once("/v2/").map_or(location, |(_, rest)| rest);
        let line = format!("PUT /v2/{path}&digest={}", digest(bytes).replace(':', "%3A"));
        let (status, answer) = self.registry.request(&line, &["Content-Type: application/octet-stream"], bytes);
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
    }

    /// Puts claims signed with these keys beside the image of `manifest`, as cosign does.
    fn sign(&self, manifest: &str, claims: &[(&Path, String)]) {
        let layers: Vec<Value> = claims
            .iter()
            .map(|(key, payload)| {
                let file = self.env.write("payload", payload);
                let (key, file) = (key.to_str().expect("UTF-8"), file.to_str().expect("UTF-8"));
                let signature = self.run(&["dgst", "-sha256", "-sign", key, file]);
                self.env.write("signature", signature);
                let encoded = self.run(&["base64", "-A", "-in", self.env.path("signature").to_str().expect("UTF-8")]);
                self.upload(payload.as_bytes());
                json!({
                    "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
                    "digest": digest(payload.as_bytes()),
                    "size": payload.len(),
                    "annotations": {"dev.cosignproject.cosign/signature": String::from_utf8(encoded).expect("base64").trim()},
                })
            })
            .collect();
        let config = json!({"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}});
        let config = config.to_string();
        self.upload(config.as_bytes());
        let document = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(config.as_bytes()),
                "size": config.len(),
            },
            "layers": layers,
        });
        let line = format!("PUT /v2/team/app/manifests/{}.sig", manifest.replace(':', "-"));
        let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json";
        let (status, answer) = self.registry.request(&line, &[kind], document.to_string().as_bytes());
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
    }

    fn claim(&self, repository: &str, manifest: &str) -> String {
        json!({
            "critical": {
                "identity": {"docker-reference": self.registry.name(repository)},
                "image": {"docker-manifest-digest": manifest},
                "type": "cosign container image signature",
            },
            "optional": null,
        })
        .to_string()
    }
}

#[test]
fn images_can_be_required_to_be_named_by_digest() {
    let world = needs!(World::new());
    let by_digest = format!("team/app@{}", world.manifest("v1"));
    world.fetch("team/app:v1").succeeds();
    world.policy(json!({"prefixes": [world.registry.name("team")], "requireDigest": true}));
    world.fetch("team/app:v1").refuses("wants images named by digest");
    // Whatever is stored under that tag.
    world.proa(&["run", "--net=none", &world.name("team/app:v1")]).refuses("wants images named by digest");
    world.fetch(&by_digest).succeeds();
    world.fetch(&format!("team/app:v1@{}", world.manifest("v1"))).succeeds();
    world.proa(&["run", "--net=none", &world.name(&by_digest)]).succeeds().prints("it runs\n");
    // A longer prefix says otherwise; a name that only looks alike is another one.
    world.policy(
        json!({"prefixes": [world.registry.name("tea"), world.registry.name("team/ap")], "requireDigest": true}),
    );
    world.fetch("team/app:v1").succeeds();
    world.policy(json!({"prefixes": ["*"], "requireDigest": true}));
    world.fetch("team/app:v1").refuses("the policy for *");
}

#[test]
fn images_can_be_required_to_be_signed() {
    let world = needs!(World::new());
    let manifest = world.manifest("v1");
    let (maker, stranger) = (world.key("maker"), world.key("stranger"));
    let policy = |key: &str| {
        world.policy(json!({"prefixes": [world.registry.name("team")], "sigstoreKeys": [world.env.path(key)]}));
    };
    policy("maker.pub");
    let fetch = || world.fetch("team/app:v1");
    fetch().refuses(&format!("{manifest} has no signature in its repository"));

    let good = world.claim("team/app", &manifest);
    world.sign(&manifest, &[(&stranger, good.clone())]);
    fetch().refuses("has 1 signatures, none of them by a key of the policy");
    let other = format!("sha256:{}", "0".repeat(64));
    world.sign(&manifest, &[(&maker, world.claim("team/app", &other))]);
    fetch().refuses(&format!("a signature by a key of the policy is for \"{other}\""));
    world.sign(&manifest, &[(&maker, world.claim("team/other", &manifest))]);
    fetch().refuses("team/other");
    world.sign(&manifest, &[(&maker, "{}".to_owned())]);
    fetch().refuses("is over something that is no claim");
    assert_eq!(fs::read_dir(world.env.data().join("store/images")).expect("a store").count(), 0);

    world.sign(&manifest, &[(&stranger, good.clone()), (&maker, good)]);
    let id = fetch().succeeds().line().to_owned();
    world.proa(&["run", "--net=none", &id]).succeeds().prints("it runs\n");
    world.proa(&["run", "--net=none", &world.name("team/app:v1")]).succeeds().prints("it runs\n");
    policy("stranger.pub");
    fetch().succeeds();
    // Keys that are none.
    for (name, content) in [("none.pub", None), ("junk.pub", Some("junk")), ("empty.pub", Some(""))] {
        content.map(|content| world.env.write(name, content));
        policy(name);
        fetch().refuses(name);
    }
}

/// A policy counts for what was stored before it, whatever it is run by.
#[test]
fn policies_count_for_stored_images() {
    let world = needs!(World::new());
    let id = world.fetch("team/app:v1").succeeds().line().to_owned();
    let bare = world.registry.name("team/app:v1");
    let run = |image: &str| world.proa(&["run", "--net=none", image]);
    world.policy(json!({"prefixes": [world.registry.name("team")], "requireDigest": true}));
    run(&bare).refuses("wants images named by digest");
    run(&id).succeeds().prints("it runs\n");

    let (maker, stranger) = (world.key("maker"), world.key("stranger"));
    let policy = |key: &Path| {
        let key = key.with_extension("pub");
        world.policy(json!({"prefixes": [world.registry.name("team")], "sigstoreKeys": [key]}));
    };
    policy(&maker);
    for image in [&bare, &id, &world.name("team/app:v1")] {
        run(image).refuses("has no signature in its repository");
        world.proa(&["run", "--net=none", "--pull-policy=never", image]).refuses("no signature was verified");
    }
    let manifest = world.manifest("v1");
    world.sign(&manifest, &[(&maker, world.claim("team/app", &manifest))]);
    run(&id).succeeds().prints("it runs\n");
    // It was verified once: now the registry is not asked any more.
    let before = world.registry.requests().len();
    for image in [&bare, &id, &world.name("team/app:v1")] {
        world.proa(&["run", "--net=none", "--pull-policy=never", image]).succeeds().prints("it runs\n");
        run(image).succeeds().prints("it runs\n");
    }
    assert_eq!(world.registry.requests().len(), before);
    // Another key, another judgement.
    policy(&stranger);
    run(&id).refuses("none of them by a key of the policy");
    // What comes from elsewhere is no matter of these policies.
    let layout = Layout::new("local").layer(busybox()).sh("echo local").build(&world.env);
    world.policy(json!({"prefixes": ["*"], "requireDigest": true, "sigstoreKeys": [maker.with_extension("pub")]}));
    run(&format!("oci:{}", layout.display())).succeeds().prints("local\n");
}

#[test]
fn the_signature_of_an_index_is_one_of_its_images() {
    let world = needs!(World::new());
    let maker = world.key("maker");
    let layout = Layout::new("many").layer(busybox()).sh("echo it runs").build(&world.env);
    needs!(world.registry.push(&layout, "team/app:many", &["--all"]));
    // An index that points to the image of this machine.
    let manifest = world.manifest("v1");
    let (_, answer) = world.registry.request(
        "GET /v2/team/app/manifests/v1",
        &["Accept: application/vnd.oci.image.manifest.v1+json"],
        b"",
    );
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n").expect("a head") + 4;
    let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": manifest,
            "size": answer.len() - end,
            "platform": {"os": "linux", "architecture": arch},
        }],
    })
    .to_string();
    let kind = "Content-Type: application/vnd.oci.image.index.v1+json";
    let (status, _) = world.registry.request("PUT /v2/team/app/manifests/index", &[kind], index.as_bytes());
    assert_eq!(status, 201);
    world.policy(json!({"prefixes": ["*"], "sigstoreKeys": [world.env.path("maker.pub")]}));
    world.fetch("team/app:index").refuses("has no signature");
    let signed = digest(index.as_bytes());
    world.sign(&signed, &[(&maker, world.claim("team/app", &signed))]);
    world.fetch("team/app:index").succeeds();
    // The manifest alone is not signed.
    world.fetch("team/app:v1").refuses("has no signature");
}

/// Archives and layouts, and whoever tags, say what an image is called; a policy is about what the registry has.
#[test]
fn what_took_a_name_elsewhere_is_not_what_the_registry_has() {
    let world = needs!(World::new());
    let maker = world.key("maker");
    let layout = Layout::new("other").layer(busybox()).sh("echo another").build(&world.env);
    let id = world.proa(&["fetch", &format!("oci:{}", layout.display())]).succeeds().line().to_owned();
    let name = world.registry.name("team/app:v1");
    world.proa(&["image", "tag", &id, &name]).succeeds();
    let run = |options: &[&str], image: &str| world.proa(&[options, &["run", "--net=none", image]].concat());
    run(&[], &name).succeeds().prints("another\n");
    run(&["--require-signature"], &id).refuses("no signature of it was ever verified");
    world.proa(&["--require-signature", "fetch", &format!("oci:{}", layout.display())]).refuses("have no signatures");
    world.policy(json!({"prefixes": ["*"], "sigstoreKeys": [world.env.path("maker.pub")]}));
    for image in [&name, &format!("docker://{name}")] {
        run(&[], image).refuses("has no signature in its repository");
    }
    world.proa(&["--pull-policy=never", "run", &name]).exits(254);
    let manifest = world.manifest("v1");
    world.sign(&manifest, &[(&maker, world.claim("team/app", &manifest))]);
    run(&[], &name).succeeds().prints("it runs\n");
}

#[test]
fn require_signature_refuses_what_nobody_vouches_for() {
    let world = needs!(World::new());
    let required = |image: &str| world.proa(&["--require-signature", "fetch", image]);
    required(&world.name("team/app:v1")).refuses("no policy says whose signature");
    let image = integration_tests::images::Aci::new("unsigned", busybox()).sh("true").build(&world.env);
    let image = image.to_str().expect("UTF-8");
    required(image).refuses("the image has no signature");
    let both = ["--insecure-options=image", "--require-signature", "run", image];
    world.env.proa(both).outcome().refuses("the image has no signature");
}

#[test]
fn mistakes_in_policies_are_named() {
    let world = needs!(World::new());
    for (content, why) in [
        (json!({"requireDigest": true}), "no prefixes specified"),
        (json!({"prefixes": ["team"], "requireDigest": true}), "\"team\" is not HOST[:PORT][/REPOSITORY] or *"),
        (json!({"prefixes": ["*"], "requireDigests": true}), "unknown field `requireDigests`"),
        (json!({"prefixes": ["*"], "sigstoreKeys": ["cosign.pub"]}), "\"cosign.pub\" is not an absolute path"),
        (json!({"prefixes": ["*", "*"]}), "\"*\" is already specified"),
    ] {
        world.policy(content);
        world.fetch("team/app:v1").refuses(why);
        world.proa(&["config"]).refuses(why);
    }
    world.policy(json!({"prefixes": ["quay.io/team", "*"], "requireDigest": true, "sigstoreKeys": ["/k.pub"]}));
    let printed: Value = serde_json::from_str(&world.proa(&["config"]).succeeds().stdout).expect("JSON");
    let entry = |prefix: &str| json!({"rktVersion": "v1", "rktKind": "policy", "prefixes": [prefix], "requireDigest": true, "sigstoreKeys": ["/k.pub"]});
    // The tests' own default for networks is there as well.
    let policies = printed["stage0"].as_array().expect("entries").iter().filter(|it| it["rktKind"] == "policy");
    assert_eq!(policies.collect::<Vec<_>>(), [&entry("*"), &entry("quay.io/team")]);
}
