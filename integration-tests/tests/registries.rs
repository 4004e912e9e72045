//! Images from a real registry: every form they come in, who may have them, and when they are asked for.

use std::fs;
use std::path::Path;
use std::process::Command;

use integration_tests::images::{Layout, OciLayer, Packing, Tree, busybox};
use integration_tests::needs::tool;
use integration_tests::registry::{Authority, Registry, Setup};
use integration_tests::{Env, Outcome, Proa, User, each_user, needs};
use serde_json::json;

fn plain<'e>(env: &'e Env, args: &[&str]) -> Proa<'e> {
    env.proa(["--insecure-options=http"].into_iter().chain(args.iter().copied()))
}

fn fetch(env: &Env, image: &str) -> Outcome {
    plain(env, &["fetch", image]).outcome()
}

fn docker(name: &str) -> String {
    format!("docker://{name}")
}

/// Three layers: one of each packing, a whiteout among them.
fn layered(env: &Env, name: &str, says: &str) -> std::path::PathBuf {
    let middle = Tree::new().file("etc/middle", "middle\n", 0o644).whiteout("etc/group");
    let top = Tree::new().file("etc/says", format!("{says}\n"), 0o644);
    let layout = Layout::new(name)
        .layer(busybox())
        .layer(OciLayer::from(middle).packed(Packing::Zstd))
        .layer(OciLayer::from(top).packed(Packing::Tar));
    layout.sh("cat /etc/middle /etc/says; ls /etc/group 2>/dev/null || true").build(env)
}

each_user! {
    images_of_a_registry_run,
}

fn images_of_a_registry_run(env: &Env) {
    let registry = needs!(Setup::plain().start(env, "registry"));
    let layout = layered(env, "app", "hello");
    needs!(registry.push(&layout, "team/app:v1", &[]));
    let name = registry.name("team/app:v1");
    let fetched = fetch(env, &docker(&name)).succeeds();
    assert_eq!(fetched.stderr.lines().filter(|line| line.starts_with("proa: layer sha256:")).count(), 3, "{fetched}");
    let id = fetched.line().to_owned();
    assert!(id.starts_with("sha256:"), "{fetched}");
    // Stored: by ID, by the name it was asked for, and by the bare name, without another request.
    let before = registry.requests().len();
    for image in [id.as_str(), &docker(&name), &name] {
        plain(env, &["run", "--net=none", image]).outcome().succeeds().prints("middle\nhello\n");
    }
    assert_eq!(registry.requests().len(), before);
    // The same from the layout, without the registry, is the same image.
    env.proa(["fetch", &format!("oci:{}", layout.display())]).outcome().succeeds().prints(&format!("{id}\n"));
}

/// Fetching what is there costs one request.
#[test]
fn what_is_there_costs_one_request() {
    let env = needs!(Env::of(User::WithRange));
    let registry = needs!(Setup::plain().start(&env, "registry"));
    needs!(registry.push(&layered(&env, "app", "hello"), "app:v1", &[]));
    let image = docker(&registry.name("app:v1"));
    let id = fetch(&env, &image).succeeds().line().to_owned();
    let first = registry.requests().len();
    assert_eq!(fetch(&env, &image).succeeds().line(), id);
    let requests = registry.requests();
    assert_eq!(requests.len(), first + 1, "{:?}", &requests[first..]);
    assert!(requests[first].contains("/v2/app/manifests/v1"), "{:?}", &requests[first..]);
}

#[test]
fn docker_schema_2_and_zstd_and_indexes() {
    let env = needs!(Env::of(User::WithRange));
    let registry = needs!(Setup::plain().start(&env, "registry"));
    let layout = Layout::new("app").layer(busybox()).sh("echo works").build(&env);
    needs!(registry.push(&layout, "app:docker", &["--format=v2s2"]));
    needs!(registry.push(&layout, "app:zstd", &["--format=oci", "--dest-compress-format=zstd"]));
    needs!(registry.push(&layout, "app:gzip", &["--format=oci"]));
    let run = |image: &str| {
        let outcome = plain(&env, &["run", "--net=none", &docker(&registry.name(image))]).outcome();
        outcome.succeeds().prints("works\n");
    };
    ["app:docker", "app:zstd", "app:gzip"].into_iter().for_each(run);
    // An index of this machine's image and another's, in OCI's and in Docker's words.
    let (_, answer) = registry.request(
        "GET /v2/app/manifests/docker",
        &["Accept: application/vnd.docker.distribution.manifest.v2+json"],
        b"",
    );
    let start = answer.windows(4).position(|it| it == b"\r\n\r\n").expect("a head") + 4;
    let digest = integration_tests::images::sha256(&answer[start..]);
    let media_type = "application/vnd.docker.distribution.manifest.v2+json";
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let mine = json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": answer.len() - start,
        "platform": {"os": "linux", "architecture": architecture}});
    let mut other = mine.clone();
    other["platform"]["architecture"] = json!("s390x");
    for (tag, media_type) in [
        ("index", "application/vnd.oci.image.index.v1+json"),
        ("list", "application/vnd.docker.distribution.manifest.list.v2+json"),
    ] {
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": [other, mine]}).to_string();
        let line = format!("PUT /v2/app/manifests/{tag}");
        let (status, _) = registry.request(&line, &[&format!("Content-Type: {media_type}")], index.as_bytes());
        assert_eq!(status, 201);
        run(&format!("app:{tag}"));
        // By the digest of the index, and of the manifest.
        let index = integration_tests::images::sha256(index.as_bytes());
        run(&format!("app@sha256:{index}"));
    }
    run(&format!("app:docker@sha256:{digest}"));
    let mut third = other.clone();
    third["platform"]["architecture"] = json!("riscv64");
    let foreign = json!({"schemaVersion": 2, "manifests": [other, third]}).to_string();
    let line = "PUT /v2/app/manifests/foreign";
    registry.request(line, &["Content-Type: application/vnd.oci.image.index.v1+json"], foreign.as_bytes());
    fetch(&env, &docker(&registry.name("app:foreign"))).refuses("available: linux/s390x, linux/riscv64");
}

#[test]
fn pull_policies() {
    let env = needs!(Env::of(User::WithRange));
    let registry = needs!(Setup::plain().start(&env, "registry"));
    needs!(registry.push(&layered(&env, "one", "one"), "app:tag", &[]));
    let image = docker(&registry.name("app:tag"));
    let says = |policy: &[&str]| {
        let args = [&["run", "--net=none"], policy, &[image.as_str()]].concat();
        plain(&env, &args).outcome().succeeds().stdout.trim_start_matches("middle\n").trim().to_owned()
    };
    plain(&env, &["run", "--net=none", "--pull-policy=never", &image]).outcome().refuses("is stored");
    assert_eq!(says(&[]), "one");
    needs!(registry.push(&layered(&env, "two", "two"), "app:tag", &[]));
    assert_eq!(says(&[]), "one", "run takes what is stored");
    assert_eq!(says(&["--pull-policy=new"]), "one");
    assert_eq!(says(&["--pull-policy=update"]), "two");
    assert_eq!(says(&["--store-only"]), "two", "the tag has moved");
    needs!(registry.push(&layered(&env, "three", "three"), "app:tag", &[]));
    fetch(&env, &image).succeeds();
    assert_eq!(says(&[]), "three", "fetch asks");
    plain(&env, &["fetch", "--store-only", "--no-store", &image])
        .outcome()
        .refuses("both --store-only and --no-store specified");
    drop(registry);
    fetch(&env, &image).refuses("Connection refused");
    assert_eq!(says(&["--pull-policy=never"]), "three", "a registry that is gone takes nothing with it");
}

#[test]
fn plain_http_is_refused_without_permission() {
    let env = needs!(Env::of(User::WithRange));
    let registry = needs!(Setup::plain().start(&env, "registry"));
    needs!(registry.push(&layered(&env, "app", "x"), "app:v1", &[]));
    let before = registry.requests().len();
    env.proa(["fetch", &docker(&registry.name("app:v1"))])
        .outcome()
        .refuses("TLS handshake failed")
        .stderr_shows("hint: if the server speaks plain http, --insecure-options=http permits that");
    assert_eq!(registry.requests().len(), before);
}

#[test]
fn names_that_lead_nowhere() {
    let env = needs!(Env::of(User::WithRange));
    let registry = needs!(Setup::plain().start(&env, "registry"));
    needs!(registry.push(&layered(&env, "app", "x"), "app:v1", &[]));
    for (image, offending) in [
        ("app:v2", "has no image app:v2"),
        ("other:v1", "has no image other:v1"),
        (&format!("app@sha256:{}", "0".repeat(64)), "has no image app@sha256:0000"),
    ] {
        fetch(&env, &docker(&registry.name(image))).refuses(offending);
        fetch(&env, &registry.name(image)).refuses(offending);
    }
    for (image, offending) in [
        ("docker://", "repository \"\""),
        ("docker://UPPER/case", "repository \"UPPER/case\""),
        ("docker://a:b:c", "repository \"a:b\""),
        ("docker://a:-b", "tag \"-b\""),
        ("docker://user:secret@host/a", "no user name or password"),
    ] {
        let outcome = fetch(&env, image).refuses(offending);
        assert!(!outcome.stderr.contains("secret"), "{outcome}");
    }
}

/// A server with a certificate that a private authority has signed.
#[test]
fn certificates_of_a_private_authority() {
    let env = needs!(Env::of(User::WithRange));
    let authority = needs!(Authority::new(&env));
    let names = "DNS:localhost,IP:127.0.0.1";
    let fetch_from = |registry: &Registry| {
        needs_push(&env, registry);
        docker(&registry.name("app:v1"))
    };
    let good = needs!(Setup::plain().tls(needs!(authority.issue("good", names, 30))).start(&env, "good"));
    let image = fetch_from(&good);
    env.proa(["fetch", &image]).outcome().refuses("the certificate is not trusted: no authority");
    env.proa(["--insecure-options=http", "fetch", &image]).outcome().refuses("the certificate is not trusted");
    let by_variable = env.proa(["fetch", &image]).var("SSL_CERT_FILE", authority.certificate()).outcome();
    let id = by_variable.succeeds().line().to_owned();
    let config = env.path("config");
    env.make_dir(&config.join("registries.d"));
    let content = json!({"rktKind": "registries", "rktVersion": "v1", "authorities": [authority.certificate()]});
    env.write("config/registries.d/all.json", content.to_string());
    let user_config = format!("--user-config={}", config.display());
    env.proa([&user_config, "fetch", &image]).outcome().succeeds().prints(&format!("{id}\n"));
    env.proa(["--insecure-options=tls", "fetch", &image]).outcome().succeeds();

    for (server, certificate, offending) in [
        ("name", authority.issue("name", "DNS:example.com", 30), "it is for"),
        ("expired", authority.issue("expired", names, -1), "the certificate is expired; local time is 20"),
        ("self", authority.self_signed(names), "the certificate is not trusted"),
    ] {
        let registry = needs!(Setup::plain().tls(needs!(certificate)).start(&env, server));
        let image = fetch_from(&registry);
        let outcome = env.proa(["fetch", &image]).var("SSL_CERT_FILE", authority.certificate()).outcome();
        outcome.refuses(offending);
        env.proa(["--insecure-options=tls", "fetch", &image]).outcome().succeeds();
        if server == "self" {
            // Naming exactly this certificate is trusting it.
            let trusting = env.proa(["fetch", &image]).var("SSL_CERT_FILE", env.path("ca/self.pem")).outcome();
            trusting.succeeds();
        }
    }
    let nobody = env.proa(["fetch", &image]).var("SSL_CERT_FILE", env.write("empty", "")).var("SSL_CERT_DIR", "/none");
    nobody.outcome().refuses("no certificates of authorities");
}

fn needs_push(env: &Env, registry: &Registry) {
    registry.push(&layered(env, "app", "x"), "app:v1", &[]).expect("skopeo was there before");
}

#[test]
fn credentials_from_wherever_other_tools_keep_them() {
    let env = needs!(Env::of(User::WithRange));
    let registry = needs!(Setup::plain().user("me", "canary-secret").start(&env, "registry"));
    let Ok(_) = tool("skopeo") else { return };
    needs_push(&env, &registry);
    let image = docker(&registry.name("app:v1"));
    let host = registry.host();
    // `me:canary-secret` and `me:wrong-canary`.
    let good = json!({"auths": {&host: {"auth": "bWU6Y2FuYXJ5LXNlY3JldA=="}}}).to_string();
    let wrong = json!({"auths": {&host: {"auth": "bWU6d3JvbmctY2FuYXJ5"}}}).to_string();
    let attempt = |vars: &[(&str, &str)], args: &[&str]| {
        let line = [&["--debug", "--insecure-options=http"], args, &["fetch", "--pull-policy=update", &image]].concat();
        let proa = vars.iter().fold(env.proa(line), |proa, (name, value)| proa.var(name, value));
        let outcome = proa.outcome();
        assert!(!outcome.stderr.contains("canary") && !outcome.stderr.contains("bWU6"), "{outcome}");
        fs::remove_dir_all(env.data().join("store/images")).expect("the images of the test");
        fs::create_dir(env.data().join("store/images")).expect("the images of the test");
        env.own(&env.data().join("store/images"));
        outcome
    };
    attempt(&[], &[])
        .exits(254)
        .stderr_shows("wants credentials for app")
        .stderr_shows("hint: is the name right? Else log in");

    // containers' auth.json, in each of its places.
    env.make_dir(&env.path("run/containers"));
    env.write("run/containers/auth.json", &good);
    attempt(&[], &[]).succeeds();
    let file = env.write("given.json", &wrong);
    attempt(&[("REGISTRY_AUTH_FILE", file.to_str().unwrap())], &[])
        .exits(254)
        .stderr_shows("refuses those that were given");
    fs::remove_file(env.path("run/containers/auth.json")).unwrap();
    attempt(&[("REGISTRY_AUTH_FILE", "/none")], &[]).exits(254).stderr_shows("read /none");

    // Docker's config.json, with and without a helper.
    env.make_dir(&env.path("home/.docker"));
    env.write("home/.docker/config.json", &good);
    attempt(&[], &[]).succeeds();
    env.make_dir(&env.path("bin"));
    let helper = env.write(
        "bin/docker-credential-test",
        // It has the usual action of SIGXFSZ (25), which proa itself outlives.
        "#!/bin/sh\n[ -z \"$CANARY\" ] || exit 9\n\
         ignored=$(sed -n 's/^SigIgn:[[:space:]]*/0x/p' /proc/self/status)\n\
         [ $((ignored >> 24 & 1)) = 0 ] || exit 8\nread server\n\
         printf '{\"ServerURL\":\"%s\",\"Username\":\"me\",\"Secret\":\"canary-secret\"}' \"$server\"\n",
    );
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    fs::set_permissions(&helper, mode).unwrap();
    let path = format!("{}:/usr/bin:/bin", env.path("bin").display());
    for config in [json!({"credsStore": "test"}), json!({"credHelpers": {&host: "test"}})] {
        env.write("home/.docker/config.json", config.to_string());
        attempt(&[("PATH", &path), ("CANARY", "canary")], &[]).succeeds();
        attempt(&[], &[]).exits(254).stderr_shows("run docker-credential-test");
    }
    env.write("home/.docker/config.json", "{");
    attempt(&[], &[]).exits(254).stderr_shows("config.json");
    fs::remove_dir_all(env.path("home/.docker")).unwrap();

    // rkt's auth.d.
    env.make_dir(&env.path("config/auth.d"));
    let auth = json!({"rktKind": "dockerAuth", "rktVersion": "v1", "registries": [&host],
        "credentials": {"user": "me", "password": "canary-secret"}});
    env.write("config/auth.d/test.json", auth.to_string());
    let config = format!("--user-config={}", env.path("config").display());
    attempt(&[], &[&config]).succeeds();
}

#[test]
fn mirrors_stand_in() {
    let env = needs!(Env::of(User::WithRange));
    let mirror = needs!(Setup::plain().start(&env, "mirror"));
    needs!(mirror.push(&layered(&env, "app", "mirrored"), "team/app:v1", &[]));
    env.make_dir(&env.path("config/registries.d"));
    let content = json!({"rktKind": "registry", "rktVersion": "v1", "registries": ["registry.invalid"],
        "mirrors": [mirror.host()]});
    env.write("config/registries.d/one.json", content.to_string());
    let default = json!({"rktKind": "registries", "rktVersion": "v1", "default": mirror.host()});
    env.write("config/registries.d/all.json", default.to_string());
    let config = format!("--user-config={}", env.path("config").display());
    let run = |image: &str| plain(&env, &[&config, "run", "--net=none", image]).outcome();
    run("docker://registry.invalid/team/app:v1").succeeds().prints("middle\nmirrored\n");
    // A name without a host is one of the default registry.
    run("team/app:v1").succeeds().prints("middle\nmirrored\n");
    run("docker://registry.invalid/team/other:v1").refuses("host registry.invalid cannot be found");
    plain(&env, &[&config, "config"]).outcome().succeeds().shows("\"mirrors\"").shows("\"default\"");
}

/// What podman builds and pushes in its own way, proa runs.
#[test]
fn image_pushed_by_podman_runs() {
    let env = needs!(Env::of(User::Root));
    let podman = needs!(tool("podman"));
    let registry = needs!(Setup::plain().start(&env, "registry"));
    let run = |args: &[&str]| {
        let root = [
            format!("--root={}", env.path("storage").display()),
            format!("--runroot={}", env.path("runroot").display()),
        ];
        let mut command = Command::new(&podman);
        command.args(root).args(["--storage-driver=vfs", "--cgroup-manager=cgroupfs"]).args(args);
        let output = command.output().expect("podman runs");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let files = env.write("images/busybox.tar", busybox().tar());
    run(&["import", "--change=CMD [\"/bin/echo\", \"by podman\"]", path(&files), "localhost/made:v1"]);
    for (tag, more) in [("oci", "--format=oci"), ("docker", "--format=v2s2")] {
        let name = registry.name(&format!("made:{tag}"));
        run(&["push", "--quiet", "--tls-verify=false", more, "localhost/made:v1", &name]);
        plain(&env, &["run", "--net=none", &docker(&name)]).outcome().succeeds().prints("by podman\n");
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
