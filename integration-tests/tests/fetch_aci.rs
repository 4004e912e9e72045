//! ACIs of servers: by URL and by name, signed with gpg's keys, over TLS of a private authority.

use std::path::PathBuf;

use integration_tests::images::{Aci, Packing, Tree, busybox, sha512};
use integration_tests::site::{Answer, Internet};
use integration_tests::{Gpg, Outcome, needs};
use serde_json::json;

/// Every host, and a maker of images whose key is trusted.
struct World {
    // Before the user's world, whose end wants all processes gone.
    gpg: Gpg,
    net: Internet,
}

const TAGS: [&str; 2] = [
    r#"name="ac-discovery" content="example.com https://dist.example.com/{name}-{version}-{os}-{arch}.{ext}""#,
    r#"name="ac-discovery-pubkeys" content="example.com https://example.com/pubkeys.gpg""#,
];

fn arch() -> &'static str {
    if cfg!(target_arch = "x86_64") { "amd64" } else { "aarch64" }
}

/// Where the pages say that an image is.
fn place(version: &str) -> String {
    format!("dist.example.com/example.com/app-{version}-linux-{}.aci", arch())
}

impl World {
    fn new() -> Result<Self, integration_tests::needs::Why> {
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

const URL: &str = "https://dist.example.com/files/app.aci";
const AT: &str = "dist.example.com/files/app.aci";

#[test]
fn an_image_is_fetched_by_url_with_its_signature() {
    let world = needs!(World::new());
    world.publish("1.0.0", AT);
    let id = world.fetch(&[URL]).succeeds().stderr_shows("signature verified:\n  maker\n").line().to_owned();
    assert_eq!(world.urls(), [AT.to_owned(), format!("{AT}.asc")]);
    world.runs(&id).prints("version 1.0.0\n").quietly();
    // What has not changed costs one request; by default `run` asks for nothing.
    assert_eq!(world.fetch(&[URL]).succeeds().quietly().line(), id);
    assert_eq!(world.urls(), [AT]);
    world.runs(URL).prints("version 1.0.0\n");
    assert_eq!(world.urls(), Vec::<String>::new());
    // Something new is fetched, and verified.
    world.publish("2.0.0", AT);
    let newer = world.fetch(&[URL]).succeeds().line().to_owned();
    assert_ne!(newer, id);
    world.runs(URL).prints("version 2.0.0\n");
}

#[test]
fn acceptance_95_unsigned_and_tampered_images_of_servers_are_refused() {
    let world = needs!(World::new());
    let mut bytes = world.publish("1.0.0", AT);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    world.net.site.file(AT, bytes);
    world.fetch(&[URL]).rejects("bad signature of key");
    // A signature that is none, or nobody's, is known before the image is downloaded.
    world.net.site.page(&format!("{AT}.asc"), Answer::ok("no signature"));
    world.fetch(&[URL]).rejects("no OpenPGP signature");
    world.net.site.page(&format!("{AT}.asc"), Answer::ok(vec![b'x'; 100_000]));
    world.fetch(&[URL]).rejects("more than 65536 bytes");
    world.gpg.key("stranger", "ed25519", "never");
    let file = world.image("1.0.0");
    let signature = world.gpg.sign(&world.net.env, "stranger", &file);
    world.net.site.file(&format!("{AT}.asc"), std::fs::read(signature).expect("it was just written"));
    world.fetch(&[URL]).rejects("which is not trusted");
    world.net.site.page(&format!("{AT}.asc"), Answer::status(404));
    world.fetch(&[URL]).refuses("error downloading the signature file: ").stderr_shows("bad HTTP status code: 404");
    assert_eq!(std::fs::read_dir(world.net.env.data().join("store/images")).expect("a store").count(), 0);

    // Without a signature on the operator's word. That does not make it signed for the next one who asks.
    let bytes = std::fs::read(&file).expect("it is ours");
    world.net.site.file(AT, bytes);
    world.net.proa(&["--insecure-options=image", "fetch", URL]).succeeds();
    world.fetch(&["--pull-policy=new", URL]).rejects("bad HTTP status code: 404");
    // A signature of one's own.
    let own = world.gpg.sign(&world.net.env, "maker", &file);
    world.fetch(&["--signature", own.to_str().expect("UTF-8"), URL]).succeeds();
}

#[test]
fn deferred_signatures_are_asked_for_again_behind_the_image() {
    let world = needs!(World::new());
    world.publish("1.0.0", AT);
    let file = world.image("1.0.0");
    let signature = std::fs::read(world.gpg.sign(&world.net.env, "maker", &file)).expect("it was just written");
    let mut asked = 0;
    world.net.site.route(&format!("{AT}.asc"), move |_| {
        asked += 1;
        if asked == 1 { Answer::status(202) } else { Answer::ok(signature.clone()) }
    });
    let outcome = world.fetch(&[URL]).succeeds();
    assert!(outcome.stderr.contains("server requested deferring the signature download"), "{outcome}");
    assert!(outcome.stderr.contains("signature verified:"), "{outcome}");
    assert_eq!(world.urls(), [AT.to_owned(), format!("{AT}.asc"), format!("{AT}.asc")]);
    // For ever is too long.
    world.publish("2.0.0", AT);
    world.net.site.page(&format!("{AT}.asc"), Answer::status(202));
    world.fetch(&[URL]).exits(254).stderr_shows("server asked to defer the download again");
}

#[test]
fn an_image_is_fetched_by_name() {
    let world = needs!(World::new());
    let at = place("latest");
    world.publish("1.2.3", &at);
    let name = "appc://example.com/app";
    let id = world.fetch(&[name]).succeeds().line().to_owned();
    let page = "example.com/app?ac-discovery=1".to_owned();
    assert_eq!(world.urls(), [page.clone(), at.clone(), format!("{at}.asc")]);
    // A name without a scheme, whose host is no registry.
    for name in ["appc://example.com/app", "example.com/app", "example.com/app:1.2.3", "example.com/app,os=linux"] {
        world.runs(name).prints("version 1.2.3\n");
    }
    assert_eq!(world.urls(), Vec::<String>::new(), "it is stored");
    world.net.proa(&["image", "rm", &id]).succeeds();
    world.runs("example.com/app").prints("version 1.2.3\n");
    let urls = world.urls();
    assert!(urls.contains(&page) && urls.iter().any(|it| it.ends_with("/v2/")), "{urls:?}");
    // Only what is stored.
    world.net.proa(&["run", "--pull-policy=never", "--net=none", "appc://example.com/none"]).rejects("is stored");
    world.net.proa(&["run", "--pull-policy=never", "--net=none", "https://example.com/none.aci"]).rejects("is stored");
    assert_eq!(world.urls(), Vec::<String>::new());
}

#[test]
fn acceptance_52_another_image_than_was_asked_for_is_refused() {
    let world = needs!(World::new());
    // The server gives 1.2.3 whatever it is asked for.
    for version in ["2.0.0", "1.2.3"] {
        world.publish("1.2.3", &place(version));
    }
    world
        .fetch(&["appc://example.com/app:2.0.0"])
        .rejects("requested value for label \"version\": \"2.0.0\" differs from fetched aci label value: \"1.2.3\"");
    world.net.page(
        "example.com/other",
        &[&format!(r#"name="ac-discovery" content="example.com https://{}#{{ext}}""#, place("1.2.3")), TAGS[1]],
    );
    let other = ["--insecure-options=image", "fetch", "appc://example.com/other"];
    world
        .net
        .proa(&other)
        .rejects("error when reading the app name: \"example.com/other\" expected but \"example.com/app\" found");
    world
        .fetch(&["appc://example.com/app:1.2.3,channel=alpha"])
        .rejects("requested label \"channel\" not provided by the image manifest");
    assert_eq!(std::fs::read_dir(world.net.env.data().join("store/images")).expect("a store").count(), 0);
    world.fetch(&["appc://example.com/app:1.2.3"]).succeeds();
}

#[test]
fn acceptance_94_what_was_fetched_as_the_latest_counts_when_no_version_is_asked_for() {
    let world = needs!(World::new());
    world.publish("2.0.1", &place("latest"));
    world.publish("1.0.0", &place("1.0.0"));
    world.fetch(&["appc://example.com/app"]).succeeds();
    world.fetch(&["appc://example.com/app:1.0.0"]).succeeds();
    let runs = |name: &str, version: &str| {
        world.net.proa(&["run", "--net=none", name]).succeeds().prints(&format!("version {version}\n"));
    };
    for name in ["example.com/app", "appc://example.com/app", "example.com/app,os=linux"] {
        runs(name, "2.0.1");
    }
    runs("example.com/app:1.0.0", "1.0.0");
    runs("appc://example.com/app:1.0.0", "1.0.0");
    runs("appc://example.com/app:2.0.1", "2.0.1");
    // The other way round: then nothing was fetched as the latest, and the last one counts.
    for name in ["example.com/app:1.0.0", "example.com/app:2.0.1"] {
        world.net.proa(&["image", "rm", name]).succeeds();
    }
    world.publish("2.0.1", &place("2.0.1"));
    world.fetch(&["appc://example.com/app:2.0.1"]).succeeds();
    world.fetch(&["appc://example.com/app:1.0.0"]).succeeds();
    runs("example.com/app", "1.0.0");
}

#[test]
fn endpoints_are_tried_in_order_until_one_has_the_image() {
    let world = needs!(World::new());
    let tags = [
        r#"name="ac-discovery" content="example.com https://gone.example.com/{name}.{ext}""#,
        r#"name="ac-discovery" content="example.com hdfs://dist.example.com/{name}.{ext}""#,
        TAGS[0],
        r#"name="ac-discovery" content="example.com https://never.example.com/{name}.{ext}""#,
    ];
    world.net.page("example.com/app", &tags);
    world.publish("1.0.0", &place("latest"));
    world.fetch(&["appc://example.com/app"]).succeeds();
    let urls = world.urls();
    assert!(
        urls.iter().any(|it| it.starts_with("gone.")) && !urls.iter().any(|it| it.starts_with("never.")),
        "{urls:?}"
    );
    // One error when none has it.
    world.net.page("example.com/app", &tags[..2]);
    world
        .fetch(&["appc://example.com/app"])
        .rejects("https://gone.example.com/example.com/app.aci: bad HTTP status code: 404");
}

#[test]
fn keys_of_a_host_are_trusted_only_with_the_flag() {
    let world = needs!(World::new());
    let fingerprint = world.gpg.fingerprints("maker").remove(0);
    world.net.env.proa(["trust", "--root", "--remove", &fingerprint]).outcome().succeeds();
    world.publish("1.0.0", &place("latest"));
    world.net.site.page("example.com/pubkeys.gpg", Answer::ok(world.gpg.run(["--armor", "--export", "maker"])));
    world.fetch(&["appc://example.com/app"]).rejects("no key is trusted");
    assert!(!world.urls().iter().any(|it| it.contains("pubkeys")), "nobody is there to look at fingerprints");
    let outcome = world.net.proa(&["--trust-keys-from-https", "fetch", "appc://example.com/app"]).succeeds();
    assert!(outcome.stderr.contains("Trusting \"https://example.com/pubkeys.gpg\""), "{outcome}");
    assert!(outcome.stderr.contains("for prefix \"example.com/app\" without fingerprint review."), "{outcome}");
    world.urls();
    // There are keys now: no others are fetched.
    world.publish("2.0.0", &place("latest"));
    let again = ["--debug", "--trust-keys-from-https", "fetch", "appc://example.com/app"];
    let outcome = world.net.proa(&again).succeeds();
    assert!(outcome.stderr.contains("keys already exist for prefix"), "{outcome}");
    assert!(!world.urls().iter().any(|it| it.contains("pubkeys")));
}

#[test]
fn credentials_open_what_is_closed_and_stay_with_their_host() {
    let world = needs!(World::new());
    let file = world.image("1.0.0");
    let bytes = std::fs::read(&file).expect("it was just written");
    let closed = move |wanted: &'static str| {
        let bytes = bytes.clone();
        move |hit: &integration_tests::site::Hit| match hit.header("authorization") {
            Some(shown) if shown == wanted => Answer::ok(bytes.clone()),
            _ => Answer::status(401),
        }
    };
    // base64 of user:pass
    world.net.site.route("dist.example.com/basic.aci", closed("Basic dXNlcjpwYXNz"));
    world.net.site.route("token.example.com/token.aci", closed("Bearer someToken"));
    let fetch = |url: &str| world.net.proa(&["--insecure-options=image", "fetch", url]);
    fetch("https://dist.example.com/basic.aci").refuses("401");
    let auth = |domain: &str, kind: &str, credentials: serde_json::Value| json!({"rktKind": "auth", "rktVersion": "v1", "domains": [domain], "type": kind, "credentials": credentials});
    let folder = "home/.config/proa/auth.d";
    world.net.env.make_dir(&world.net.env.path(folder));
    let write = |name: &str, content: serde_json::Value| {
        world.net.env.write(format!("{folder}/{name}.json"), content.to_string());
    };
    write("basic", auth("dist.example.com", "basic", json!({"user": "user", "password": "wrong-canary"})));
    write("token", auth("token.example.com:443", "oauth", json!({"token": "someToken"})));
    let outcome = fetch("https://dist.example.com/basic.aci").refuses("401");
    assert!(!outcome.stderr.contains("canary"), "{outcome}");
    write("basic", auth("dist.example.com", "basic", json!({"user": "user", "password": "pass"})));
    fetch("https://dist.example.com/basic.aci").succeeds();
    fetch("https://token.example.com/token.aci").succeeds();
    // REG-01: another host, another port, a host below, and back again.
    world.net.site.hits();
    for target in ["https://other.org/x", "https://dist.example.com:8443/x", "https://a.dist.example.com/x"] {
        world.net.site.page("dist.example.com/away.aci", Answer::redirect(target));
        world.net.site.page("other.org/x", Answer::redirect("https://dist.example.com/back"));
        fetch("https://dist.example.com/away.aci").exits(254);
        let shown = world.net.site.hits().into_iter().filter(|hit| hit.header("authorization").is_some());
        let shown: Vec<String> = shown.map(|hit| hit.url()).collect();
        assert_eq!(shown, ["https://dist.example.com/away.aci"], "{target}");
    }
    fetch("https://user:canary@dist.example.com/x.aci").refuses("no user name or password");
}

#[test]
fn cut_downloads_are_resumed() {
    let world = needs!(World::new());
    let bytes = world.publish("1.0.0", AT);
    let (size, half) = (bytes.len(), bytes.len() / 2);
    let tag = |answer: Answer, etag: &str| answer.header("ETag", etag);
    // The first answer ends in the middle, and so does the server for good.
    let first = bytes.clone();
    world.net.site.route(AT, move |hit| match hit.header("range") {
        None => tag(Answer::ok(first.clone()).cut_after(half), "\"1\""),
        Some(_) => Answer::status(404),
    });
    let outcome = world.fetch(&[URL]).exits(254);
    assert!(outcome.stderr.contains("bad HTTP status code: 404"), "{outcome}");
    // A later process goes on where that one ended.
    let rest = bytes.clone();
    world.net.site.hits();
    world.net.site.route(AT, move |hit| {
        let Some(range) = hit.header("range") else { return Answer::status(500) };
        let start: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().expect("a number");
        assert_eq!(hit.header("if-range"), Some("\"1\""));
        let range = format!("bytes {start}-{}/{size}", size - 1);
        tag(Answer::partial(rest[start..].to_vec()).header("Content-Range", &range), "\"1\"")
    });
    world.fetch(&[URL]).succeeds();
    let ranges: Vec<_> =
        world.net.site.hits().into_iter().filter_map(|hit| hit.headers.get("range").cloned()).collect();
    assert_eq!(ranges, [format!("bytes={half}-")]);
    world.runs(URL).prints("version 1.0.0\n");
}

#[test]
fn what_is_no_rest_of_the_same_file_is_fetched_from_the_start() {
    let world = needs!(World::new());
    for (name, answer) in [
        // Another file by now: the server sends it whole. It knows no ranges. The range is none of it.
        ("changed", 200),
        ("unsatisfiable", 416),
        ("another-part", 206),
    ] {
        let at = format!("dist.example.com/{name}.aci");
        let url = format!("https://{at}");
        let old = world.publish("1.0.0", &at);
        let half = old.len() / 2;
        let mut times = 0;
        let cut = old.clone();
        world.net.site.route(&at, move |_| {
            times += 1;
            if times == 1 {
                Answer::ok(cut.clone()).header("ETag", "\"1\"").cut_after(half)
            } else {
                Answer::status(404)
            }
        });
        world.fetch(&[&url]).exits(254);
        let new = world.publish("2.0.0", &at);
        let whole = new.clone();
        world.net.site.route(&at, move |hit| {
            let whole = Answer::ok(whole.clone()).header("ETag", "\"2\"");
            match (hit.header("range"), answer) {
                (Some(_), 416) => Answer::status(416),
                (Some(_), 206) => {
                    Answer::partial("junk").header("Content-Range", "bytes 5-8/100").header("ETag", "\"2\"")
                }
                _ => whole,
            }
        });
        world.fetch(&[&url]).succeeds();
        world.runs(&url).prints("version 2.0.0\n");
    }
}

#[test]
fn cache_control_saves_requests() {
    let world = needs!(World::new());
    let bytes = world.publish("1.0.0", AT);
    for (value, requests) in [("max-age=600", 0), ("max-age=0", 1), ("no-store, max-age=600", 1)] {
        let (bytes, etag) = (bytes.clone(), format!("\"{value}\""));
        world.net.site.route(AT, move |hit| {
            let answer = if hit.header("if-none-match") == Some(&etag) {
                Answer::status(304)
            } else {
                Answer::ok(bytes.clone())
            };
            answer.header("ETag", &etag).header("Cache-Control", value)
        });
        // Once with the old state, once with what the server says now.
        world.fetch(&[URL]).succeeds();
        if requests == 0 {
            world.urls();
        }
        world.urls();
        world.fetch(&[URL]).succeeds();
        assert_eq!(world.urls().len(), requests, "{value}");
        world.net.proa(&["image", "rm", "example.com/app"]).succeeds();
    }
}

/// Serves `example.com/NAME`, signed, which depends on others; returns its ID.
fn publish_with(world: &World, name: &str, tree: Tree, dependencies: serde_json::Value) -> String {
    let image = Aci::new(name, tree).sh(&format!("cat /{name} /lib /base"));
    let image = image.manifest(|manifest| manifest["dependencies"] = dependencies);
    let id = format!("sha512-{}", sha512(&image.tar()));
    let file = image.build(&world.net.env);
    let signature = world.gpg.sign(&world.net.env, "maker", &file);
    let at = format!("dist.example.com/example.com/{name}-latest-linux-{}.aci", arch());
    for (at, file) in [(at.clone(), file), (format!("{at}.asc"), signature)] {
        world.net.site.file(&at, std::fs::read(&file).expect("it was just written"));
        std::fs::remove_file(file).expect("it is ours");
    }
    id
}

#[test]
fn dependencies_are_fetched_with_an_image() {
    let world = needs!(World::new());
    world.net.page("example.com/", &TAGS);
    let needs_of = |names: &[&str]| -> serde_json::Value {
        names.iter().map(|it| json!({ "imageName": format!("example.com/{it}") })).collect()
    };
    publish_with(&world, "base", busybox().file("base", "base\n", 0o644), json!([]));
    let lib = publish_with(&world, "lib", Tree::new().file("lib", "lib\n", 0o644), needs_of(&["base"]));
    // One by its ID, one twice, by both.
    let both = json!([{ "imageName": "example.com/lib", "imageID": lib }, { "imageName": "example.com/base" }]);
    publish_with(&world, "main", Tree::new().file("main", "main\n", 0o644), both);
    let id = world.fetch(&["appc://example.com/main"]).succeeds().line().to_owned();
    let images = |urls: &[String]| urls.iter().filter(|it| it.ends_with(".aci")).count();
    assert_eq!(images(&world.urls()), 3, "each is fetched once");
    world.runs(&id).prints("main\nlib\nbase\n");
    // A file's dependencies, some of which are stored.
    world.net.proa(&["image", "rm", &lib]).succeeds();
    let file = Aci::new("local", Tree::new().file("local", "local\n", 0o644)).sh("cat /local /lib /base");
    let file = file.manifest(|manifest| manifest["dependencies"] = needs_of(&["lib"])).build(&world.net.env);
    let signature = world.gpg.sign(&world.net.env, "maker", &file);
    let file = file.to_str().expect("UTF-8");
    world
        .net
        .proa(&["run", "--pull-policy=never", "--net=none", file])
        .exits(254)
        .stderr_shows("depends on example.com/lib");
    assert_eq!(world.urls(), Vec::<String>::new());
    world.runs(file).prints("local\nlib\nbase\n");
    assert_eq!(images(&world.urls()), 1);
    std::fs::remove_file(signature).expect("it is ours");

    // What cannot be had, is not signed, or is another image than the ID says.
    publish_with(&world, "broken", Tree::new(), needs_of(&["nowhere"]));
    let missing = "example.com/broken depends on example.com/nowhere, which is not in the store: ";
    world.fetch(&["appc://example.com/broken"]).exits(254).stderr_shows(missing);
    let other = json!([{ "imageName": "example.com/lib", "imageID": format!("sha512-{}", "ab".repeat(64)) }]);
    publish_with(&world, "pinned", Tree::new(), other);
    world.fetch(&["appc://example.com/pinned"]).exits(254).stderr_shows("which is not in the store");
    publish_with(&world, "round", Tree::new(), needs_of(&["about"]));
    publish_with(&world, "about", Tree::new(), needs_of(&["round"]));
    world
        .fetch(&["appc://example.com/round"])
        .exits(254)
        .stderr_shows("dependency cycle: example.com/round -> example.com/about");
    publish_with(&world, "unsigned", Tree::new(), json!([]));
    let asc = format!("dist.example.com/example.com/unsigned-latest-linux-{}.aci.asc", arch());
    world.net.site.page(&asc, Answer::status(404));
    publish_with(&world, "careless", Tree::new(), needs_of(&["unsigned"]));
    world.fetch(&["appc://example.com/careless"]).exits(254).stderr_shows("error downloading the signature file");
}

#[test]
fn faults_of_servers() {
    let world = needs!(World::new());
    let fails = |what: &str| drop(world.net.proa(&["--insecure-options=image", "fetch", URL]).rejects(what));
    for (answer, what) in [
        (Answer::status(404), "bad HTTP status code: 404"),
        (Answer::status(403), "bad HTTP status code: 403"),
        (Answer::status(202), "asked later"),
        (Answer::ok(""), "empty"),
        (Answer::ok("<html>not found"), "not a tar archive"),
        (Answer::redirect("http://dist.example.com/x"), "refused a redirect"),
    ] {
        world.net.site.page(AT, answer);
        fails(what);
    }
    let plain = URL.replace("https", "http");
    world.net.proa(&["--insecure-options=image", "fetch", &plain]).refuses("plain http is not permitted");
    let untrusted = world.net.with(world.net.env.proa(["fetch", URL])).without_var("SSL_CERT_FILE");
    untrusted.outcome().rejects("certificate");
    // Good again right afterwards, and over plain HTTP on the operator's word.
    world.publish("1.0.0", AT);
    world.fetch(&[URL]).succeeds();
    world.net.proa(&["--insecure-options=http", "fetch", &plain]).succeeds();
}
