//! Images that are wrong, in a layout directory and in a registry: one error that says what, and no file.

use super::*;

/// Something wrong, and what is said of it.
struct Wrong {
    made: Made,
    message: &'static str,
    /// Whether registries take it at all.
    everywhere: bool,
}

fn wrong(made: Made, message: &'static str) -> Wrong {
    Wrong { made, message, everywhere: true }
}

/// Makes two tests of each list.
macro_rules! refused {
    ($($name:ident),+ $(,)?) => { $(
        mod $name {
            #[test]
            fn in_a_layout() {
                super::in_a_layout(super::$name());
            }

            #[test]
            fn in_a_registry() {
                super::in_a_registry(super::$name());
            }
        }
    )+ };
}

refused! {
    titles_that_escape,
    labels_that_escape,
    roles_and_titles_given_twice,
    wrong_digests,
    wrong_sizes,
    truncated_blobs,
    unknown_roles,
    unknown_types,
    configs_that_are_no_json,
    indexes_inside_indexes,
    images_for_other_machines,
    archives_that_are_none,
}

fn assert_refused(env: &Env, message: &str, outcome: Outcome) {
    let outcome = outcome.refuses(message);
    let files = fs::read_dir(env.path("out")).map_or(0, Iterator::count);
    assert_eq!(files, 0, "something is left by {outcome}");
}

fn in_a_layout(all: Vec<Wrong>) {
    let env = needs!(root_env());
    for it in all {
        it.made.write(&env);
        assert_refused(&env, it.message, pull(&env, "vm"));
    }
}

fn in_a_registry(all: Vec<Wrong>) {
    let env = needs!(root_env());
    let registry = needs!(Setup::plain().start(&env, "registry"));
    for (number, it) in all.iter().filter(|it| it.everywhere).enumerate() {
        let name = format!("vm{number}");
        it.made.upload(&registry, &name);
        let out = env.path("out");
        let args = ["pull", "--dir", out.to_str().expect("text"), &registry.name(&name)];
        assert_refused(&env, it.message, proa(&env, &args));
    }
}

/// An image of one layer.
fn one(layer: impl FnOnce(&mut Made) -> Value) -> Made {
    let mut made = Made::default();
    let layer = layer(&mut made);
    made.image("vm", vec![layer], &json!({}))
}

fn titled(title: &str) -> Made {
    one(|it| it.descriptor(KERNEL, b"kernel", annotations("kernel", title, KERNEL)))
}

fn titles_that_escape() -> Vec<Wrong> {
    let titles = ["../x", "/etc/x", "a/../../x", "..", ".", "", "a\nb", "\u{1b}[31mx"];
    let mut all: Vec<_> = titles.map(|it| wrong(titled(it), "path_traversal_disallowed")).into();
    all.push(wrong(one(|it| it.descriptor(KERNEL, b"k", json!({}))), "no title"));
    all
}

fn labels_that_escape() -> Vec<Wrong> {
    let labelled = |path: &str| {
        Made::default().image("vm", vec![], &json!({"config": {"Labels": {"org.lfedge.eci.artifact.kernel": path}}}))
    };
    let escaping = ["/../etc/passwd", "../x", "/a/../../x"];
    let mut all: Vec<_> = escaping.map(|it| wrong(labelled(it), "path_traversal_disallowed")).into();
    all.push(wrong(labelled("/kernel"), "has none"));
    all
}

fn roles_and_titles_given_twice() -> Vec<Wrong> {
    let twice = |roles: [&str; 2], titles: [&str; 2]| {
        let mut made = Made::default();
        let layers = [0, 1].map(|it| made.descriptor(KERNEL, &[it as u8], annotations(roles[it], titles[it], KERNEL)));
        made.image("vm", layers.into(), &json!({}))
    };
    vec![
        wrong(twice(["kernel", "kernel"], ["a", "b"]), "two layers have the role kernel"),
        wrong(twice(["kernel", "initrd"], ["a", "a"]), "two layers have the title \"a\""),
    ]
}

/// An image whose only layer is found with other bytes, or not at all.
fn damaged(bytes: Option<&[u8]>) -> Made {
    let mut made = titled("kernel");
    made.damaged.insert(digest(b"kernel"), bytes.map(<[u8]>::to_vec));
    made
}

fn wrong_digests() -> Vec<Wrong> {
    let mut config = titled("kernel");
    config.damaged.insert(digest(b"{}"), Some(b"[]".to_vec()));
    vec![
        wrong(damaged(Some(b"kernal")), "has the digest sha256:"),
        wrong(damaged(None), "layer sha256:"),
        wrong(config, "config sha256:"),
    ]
}

fn wrong_sizes() -> Vec<Wrong> {
    let resized = |by: i64| {
        one(|it| {
            let mut layer = it.descriptor(KERNEL, b"kernel", annotations("kernel", "kernel", KERNEL));
            layer["size"] = json!(6 + by);
            layer
        })
    };
    let too_large = one(|it| {
        let mut layer = it.descriptor(KERNEL, b"kernel", annotations("kernel", "kernel", KERNEL));
        layer["size"] = json!(-1);
        layer
    });
    vec![
        wrong(resized(1), "6 bytes"),
        wrong(resized(-1), "6 bytes"),
        wrong(resized(1 << 50), "6 bytes"),
        Wrong { everywhere: false, ..wrong(too_large, "manifest sha256:") },
    ]
}

fn truncated_blobs() -> Vec<Wrong> {
    let whole = gzip(&tarball(&[("kernel", &[7; 10_000])]));
    let half = one(|it| it.descriptor(TAR_GZIP, &whole[..whole.len() / 2], annotations("kernel", "kernel", KERNEL)));
    vec![wrong(damaged(Some(b"kern")), "4 bytes"), wrong(half, "layer sha256:")]
}

fn archives_that_are_none() -> Vec<Wrong> {
    let gzipped = |bytes: Vec<u8>| one(|it| it.descriptor(TAR_GZIP, &bytes, annotations("kernel", "kernel", KERNEL)));
    vec![
        wrong(gzipped(b"no gzip".to_vec()), "layer sha256:"),
        wrong(gzipped(gzip(b"no tar")), "layer sha256:"),
        wrong(gzipped(gzip(&tarball(&[("other", b"x")]))), "has none"),
    ]
}

fn unknown_roles() -> Vec<Wrong> {
    let made = one(|it| it.descriptor(KERNEL, b"k", annotations("bootloader", "k", KERNEL)));
    vec![wrong(made, "unknown role \"bootloader\"")]
}

fn unknown_types() -> Vec<Wrong> {
    let floppy = one(|it| it.descriptor("application/vnd.lfedge.disk.layer.v1+floppy", b"k", json!({TITLE: "k"})));
    let made_up = one(|it| it.descriptor("application/x-made-up", b"k", annotations("kernel", "k", KERNEL)));
    let text = Made::default().document("vm", "text/plain", &json!({}));
    vec![
        wrong(floppy, "unknown type"),
        wrong(made_up, "unknown type"),
        Wrong { everywhere: false, ..wrong(text, "neither manifest nor index") },
    ]
}

fn configs_that_are_no_json() -> Vec<Wrong> {
    let mut made = Made::default();
    let config = made.descriptor("application/vnd.oci.image.config.v1+json", b"config?", Value::Null);
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []});
    let list = Made::default().document("vm", MANIFEST, &json!([]));
    vec![
        wrong(made.document("vm", MANIFEST, &manifest), "config sha256:"),
        Wrong { everywhere: false, ..wrong(list, "manifest sha256:") },
    ]
}

fn indexes_inside_indexes() -> Vec<Wrong> {
    let mut made = Made::default();
    let bytes = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).to_string();
    let inner = made.descriptor(INDEX, bytes.as_bytes(), Value::Null);
    made.inner.push(inner.clone());
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [inner]});
    vec![wrong(made.document("vm", INDEX, &index), "only images may be in one")]
}

fn images_for_other_machines() -> Vec<Wrong> {
    let mut made = Made::default();
    let config = made.descriptor("application/vnd.oci.image.config.v1+json", b"{}", Value::Null);
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []}).to_string();
    let mut other = made.descriptor(MANIFEST, manifest.as_bytes(), Value::Null);
    made.inner.push(other.clone());
    other["platform"] = json!({"os": "plan9", "architecture": "mips"});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [other]});
    vec![wrong(made.document("vm", INDEX, &index), "it has only plan9/mips")]
}

/// A disk that is larger than what is free: it is no matter where it comes from.
mod disks_larger_than_the_free_space {
    use super::*;

    #[test]
    fn in_a_layout() {
        let env = needs!(root_env());
        fills(&env, &layout(&env), "vm");
    }

    #[test]
    fn in_a_registry() {
        let env = needs!(root_env());
        let registry = needs!(Setup::plain().start(&env, "registry"));
        fills(&env, "", &registry.name("vm:1"));
    }

    fn fills(env: &Env, remote: &str, image: &str) {
        needs!(place(Place::Host));
        let small = env.path("small");
        env.make_dir(&small);
        env.write("big", vec![1; 6 << 20]);
        for format in ["artifacts", "legacy"] {
            let args = ["push", "--remote", remote, "--format", format, "--root", "big:raw", image];
            proa(env, &args).succeeds();
            // As the user: a file system of his own namespace that is smaller than the disk.
            let script = format!(
                "mount -t tmpfs -o size=4m none {0} && \"$@\"; status=$?; ls -A {0} | sed 's/^/left: /'; exit $status",
                small.display()
            );
            let args = ["eci", "pull", "--remote", remote, "--dir", small.to_str().expect("text"), image];
            let unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"];
            let outcome = env.proa(args).through(unshare).outcome();
            assert!(!outcome.stdout.contains("left: "), "{outcome}");
            outcome.refuses("No space left on device");
        }
    }
}
