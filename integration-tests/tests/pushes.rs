//! Stored images go to registries, and come back as what they were.

use std::process::Command;

use integration_tests::images::{Aci, Layout, OciLayer, Packing, Tree, busybox, sha256};
use integration_tests::needs::tool;
use integration_tests::registry::{Registry, Setup};
use integration_tests::{Env, Outcome, User, each_user, needs};
use serde_json::{Value, json};

fn plain(env: &Env, args: &[&str]) -> Outcome {
    env.proa(["--insecure-options=http"].into_iter().chain(args.iter().copied())).outcome()
}

fn manifest(registry: &Registry, name: &str, tag: &str) -> Vec<u8> {
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json, \
                  application/vnd.docker.distribution.manifest.v2+json";
    let (status, answer) = registry.request(&format!("GET /v2/{name}/manifests/{tag}"), &[accept], b"");
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    let start = answer.windows(4).position(|it| it == b"\r\n\r\n").expect("a head") + 4;
    answer[start..].to_vec()
}

fn layout() -> Layout {
    let top = Tree::new().file("etc/top", "top\n", 0o644);
    Layout::new("app").layer(busybox()).layer(OciLayer::from(top).packed(Packing::Zstd)).sh("cat /etc/top")
}

each_user! {
    an_image_goes_out_and_comes_back,
    an_aci_goes_out_as_an_oci_image,
}

fn an_image_goes_out_and_comes_back(env: &Env) {
    let registry = needs!(Setup::plain().start(env, "registry"));
    let source = format!("oci:{}:latest", layout().build(env).display());
    let id = env.proa(["fetch", &source]).outcome().succeeds().line().to_owned();
    let name = registry.name("team/app:v1");
    let pushed = plain(env, &["image", "push", "--progress=none", &id, &name]).succeeds().quietly();
    let digest = format!("sha256:{}", sha256(&manifest(&registry, "team/app", "v1")));
    assert_eq!(pushed.line(), format!("{name}@{digest}"));
    // Packed anew, which gives the same bytes each time: nothing is sent again.
    let again = plain(env, &["image", "push", "--progress=json", &id, &format!("docker://{name}")]).succeeds();
    assert_eq!(again.line(), pushed.line());
    let events: Vec<Value> = again.stderr.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(events.iter().all(|event| event["received"] == 0), "{again}");
    assert!(events.iter().any(|event| event["event"] == "done"), "{again}");
    plain(env, &["image", "rm", &id]).succeeds();
    let fetched = plain(env, &["fetch", "--progress=none", &format!("docker://{name}")]).succeeds().quietly();
    assert_eq!(fetched.line(), id, "the ID is that of the configuration");
    plain(env, &["run", "--net=none", &name]).succeeds().prints("top\n");
    // By its own name, in pieces.
    plain(env, &["image", "push", "--chunk-size=1", &name]).succeeds().prints(&format!("{}\n", pushed.line()));
    plain(env, &["image", "push", "--chunk-size=1", &name, &registry.name("other/app:v2")]).succeeds();
    plain(env, &["image", "rm", &id]).succeeds();
    plain(env, &["run", "--net=none", &format!("docker://{}", registry.name("other/app:v2"))])
        .succeeds()
        .shows("top\n");
    plain(env, &["image", "push", &id, &registry.name("app@sha256:0000")]).refuses("sha256:0000");
    env.proa(["image", "push", &id, &name]).outcome().refuses("TLS handshake failed");
    plain(env, &["image", "push", "nothing", &name]).refuses("nothing");
}

/// With its layers kept an image is the same to the last byte, for skopeo too.
#[test]
fn kept_layers_go_out_as_they_came() {
    let env = needs!(Env::of(User::WithRange));
    let registry = needs!(Setup::plain().start(&env, "registry"));
    let dir = layout().build(&env);
    needs!(registry.push(&dir, "original:v1", &["--format=oci"]));
    let original = manifest(&registry, "original", "v1");
    let other = needs!(Setup::plain().start(&env, "other"));
    let source = format!("docker://{}", registry.name("original:v1"));
    let id = plain(&env, &["fetch", "--keep-layers", &source]).succeeds().line().to_owned();
    plain(&env, &["image", "push", &id, &other.name("copy:v1")]).succeeds();
    assert_eq!(manifest(&other, "copy", "v1"), original);
    // Within the registry it came from nothing is sent at all: the blobs are taken over.
    let taken = plain(&env, &["image", "push", "--progress=json", &id, &registry.name("taken/over:v1")]).succeeds();
    let bytes = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["received"].clone();
    assert!(taken.stderr.lines().map(bytes).all(|received| received == 0), "{taken}");
    assert_eq!(manifest(&registry, "taken/over", "v1"), original);
    let to = env.path("tmp/copy");
    let skopeo = Command::new(needs!(tool("skopeo")))
        .args(["copy", "--quiet", "--insecure-policy", "--src-tls-verify=false"])
        .args([format!("docker://{}", other.name("copy:v1")), format!("dir:{}", to.display())])
        .output()
        .expect("skopeo runs");
    assert!(skopeo.status.success(), "{}", String::from_utf8_lossy(&skopeo.stderr));
    std::fs::remove_dir_all(to).expect("root may remove it");
}

fn an_aci_goes_out_as_an_oci_image(env: &Env) {
    let registry = needs!(Setup::plain().start(env, "registry"));
    let aci = Aci::new("app", busybox().file("etc/top", "aci\n", 0o644)).sh("cat /etc/top").build(env);
    let id = env.store(&aci);
    let name = registry.name("acis/app:v1");
    plain(env, &["image", "push", &id, &name]).succeeds();
    plain(env, &["run", "--net=none", &format!("docker://{name}")]).succeeds().shows("aci\n");
    let manifest: Value = serde_json::from_slice(&manifest(&registry, "acis/app", "v1")).expect("JSON");
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1));
}

#[test]
fn only_who_may_push_does() {
    let env = needs!(Env::of(User::WithRange));
    let registry = needs!(Setup::plain().user("me", "canary-secret").start(&env, "registry"));
    let source = format!("oci:{}:latest", layout().build(&env).display());
    let id = env.proa(["fetch", &source]).outcome().succeeds().line().to_owned();
    let push = || plain(&env, &["--debug", "image", "push", &id, &registry.name("app:v1")]);
    push().exits(254).stderr_shows("wants credentials for app");
    env.make_dir(&env.path("run/containers"));
    // `me:canary-secret`
    let auth = json!({"auths": {registry.host(): {"auth": "bWU6Y2FuYXJ5LXNlY3JldA=="}}}).to_string();
    env.write("run/containers/auth.json", auth);
    let outcome = push().exits(0);
    assert!(!outcome.stderr.contains("canary") && !outcome.stderr.contains("bWU6"), "{outcome}");
}
