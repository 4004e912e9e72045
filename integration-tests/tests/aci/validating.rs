//! `validate` and `cat-manifest`: what is called good, and how mistakes are told.

use std::ffi::OsStr;
use std::path::Path;

use integration_tests::images::{Packing, Tree};
use integration_tests::needs::{Place, place};
use integration_tests::{Env, User, needs};

use crate::{MANIFEST, aci, peak_memory, sh};

/// A sound archive, for more entries to be added.
fn sound() -> Tree {
    Tree::new().file("manifest", MANIFEST, 0o644).dir("rootfs", 0o755)
}

fn env() -> Result<Env, integration_tests::needs::Why> {
    Env::of(User::WithRange)
}

#[test]
fn examples_are_valid_and_nothing_is_said() {
    needs!(place(Place::Host));
    let env = needs!(env());
    // image, pod and template are the three examples of the specification; nulls and casing are odd but valid.
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../executor/appc/tests/golden");
    let files: Vec<_> = ["image.json", "pod.json", "template.json", "casing.json", "nulls.json"]
        .into_iter()
        .map(|name| env.write(name, std::fs::read(golden.join(name)).expect("it is part of the source")))
        .collect();
    let words = [OsStr::new("validate")].into_iter().chain(files.iter().map(|it| it.as_os_str()));
    let outcome = aci(&env, words).succeeds().quietly();
    assert_eq!(outcome.stdout, "");
}

#[test]
fn a_manifest_says_its_version_and_kind() {
    let env = needs!(env());
    env.write("version.json", r#"{"acKind":"ImageManifest","name":"example.com/x"}"#);
    aci(&env, ["validate", "version.json"]).refuses("version.json: invalid ImageManifest: acVersion must be set");
    for (name, text) in [("empty.json", "{}"), ("kind.json", r#"{"acVersion":"0.8.11","name":"example.com/x"}"#)] {
        env.write(name, text);
        aci(&env, ["validate", name]).refuses("missing or bad ACKind");
    }
}

#[test]
fn a_syntax_error_is_shown_in_its_line() {
    let env = needs!(env());
    env.write("x.json", "{\n  \"acKind\": \"ImageManifest\",\n  \"name\": }\n");
    let outcome = aci(&env, ["validate", "x.json"]).refuses("Error at line 3, column 12");
    let picture = "\n    2:   \"acKind\": \"ImageManifest\",\n    3:   \"name\": }\n                 ^\nhint: ";
    assert!(outcome.stderr.contains(picture), "{outcome}");
    // Every other mistake has its path.
    env.write("y.json", MANIFEST.replace("\"user\":\"0\"", "\"user\":0"));
    aci(&env, ["validate", "y.json"]).refuses("expected a string, found a number (at $.app.user)");
    let ports = MANIFEST.replace("\"user\"", "\"ports\":[{\"name\":\"a\",\"protocol\":\"tcp\",\"port\":0}],\"user\"");
    env.write("z.json", ports);
    aci(&env, ["validate", "z.json"]).refuses("port must be in 1-65535 range (at $.app.ports[0])");
}

#[test]
fn the_manifest_is_printed_as_it_stands_there() {
    let env = needs!(env());
    env.write("x.aci", sound().tar());
    aci(&env, ["cat-manifest", "x.aci"]).succeeds().quietly().prints(&format!("{MANIFEST}\n"));
    let pretty = aci(&env, ["cat-manifest", "--pretty-print", "x.aci"]).succeeds().quietly();
    assert!(pretty.stdout.starts_with("{\n    \"acKind\": \"ImageManifest\",\n    \"acVersion\": \"0.8.11\",\n"));
    // What follows the manifest is not read: an archive that is cut off behind it tells its manifest.
    let cut = sound().file("rootfs/large", vec![7; 3 << 20], 0o644).tar();
    env.write("cut.aci", &Packing::Gzip.pack(&cut)[..3000]);
    aci(&env, ["cat-manifest", "cut.aci"]).succeeds().prints(&format!("{MANIFEST}\n"));
    env.write("none.aci", Tree::new().dir("rootfs", 0o755).tar());
    aci(&env, ["cat-manifest", "none.aci"]).refuses("missing manifest");
    env.write("bad.aci", Tree::new().file("manifest", "{}", 0o644).tar());
    let bad = aci(&env, ["cat-manifest", "bad.aci"]).refuses("missing or bad ACKind");
    assert_eq!(bad.stdout, "{}\n", "it is printed all the same");
}

#[test]
fn all_files_are_checked() {
    let env = needs!(env());
    env.write("good.json", MANIFEST);
    env.write("bad.json", "{}");
    let args = ["--debug", "aci", "validate", "bad.json", "good.json"];
    let outcome = env.proa(args).outcome().exits(254);
    assert!(outcome.stderr.contains("bad.json: error unmarshaling manifest"), "{outcome}");
    assert!(outcome.stderr.contains("good.json: valid ImageManifest"), "{outcome}");
}

#[test]
fn every_compression_is_read_and_what_is_not_is_named() {
    needs!(place(Place::Host));
    let env = needs!(env());
    let tar = sound().file("rootfs/x", vec![b'x'; 3 << 20], 0o644).tar();
    for packing in [Packing::Tar, Packing::Gzip, Packing::Bzip2, Packing::Xz, Packing::Zstd] {
        let packed = packing.pack(&tar);
        env.write("x.aci", &packed);
        aci(&env, ["validate", "x.aci"]).succeeds().quietly();
        env.write("x.aci", &packed[..packed.len() - 5]);
        aci(&env, ["validate", "x.aci"]).refuses("truncated");
    }
    for (bytes, name) in [
        (&b"\x8c\x0d\x04\x09\x03\x0a\x01\x02"[..], "the image is encrypted (OpenPGP)"),
        (b"-----BEGIN PGP MESSAGE-----\n\n", "the image is encrypted (OpenPGP)"),
        (b"age-encryption.org/v1\n", "the image is encrypted (age)"),
        (b"PK\x03\x04", "compression zip is not supported"),
        (b"\x7fELF\x02\x01\x01", "unable to detect filetype"),
    ] {
        env.write("other.aci", bytes);
        aci(&env, ["validate", "other.aci"]).refuses(name);
        aci(&env, ["validate", "--type=appimage", "other.aci"]).refuses("other.aci");
    }
    env.write("text.aci", "hello");
    aci(&env, ["validate", "--type=appimage", "text.aci"]).refuses("this is text, not an image archive");
}

#[test]
fn what_does_not_belong_in_an_image_is_told() {
    let env = needs!(env());
    let verdict = |tree: Tree, expected: &str| {
        env.write("x.aci", tree.tar());
        aci(&env, ["validate", "x.aci"]).refuses(expected);
    };
    let manifest = || Tree::new().file("manifest", MANIFEST, 0o644);
    verdict(manifest().file("rootfs/x", "", 0o644), "no rootfs found in layout");
    verdict(Tree::new().dir("rootfs", 0o755), "no image manifest found in layout");
    verdict(sound().file("foo/x", "", 0o644), "unrecognized file path in layout: \"foo/x\"");
    verdict(sound().file("rootfsX", "", 0o644), "unrecognized file path in layout: \"rootfsX\"");
    verdict(sound().file("/rootfs/x", "", 0o644), "unrecognized file path in layout: \"/rootfs/x\"");
    verdict(sound().file("rootfs/../x", "", 0o644), "unrecognized file path in layout: \"x\"");
    verdict(sound().file("rootfs/a/../x", "", 0o644), "the name contains \"..\"");
    verdict(sound().dir("rootfs/..", 0o755), "the name contains \"..\"");
    let twice = sound().file("rootfs/x", "1", 0o644).file("rootfs/x", "2", 0o644);
    verdict(twice, "duplicate file entry in archive: rootfs/x");
    verdict(sound().file("manifest", MANIFEST, 0o644), "the ACI has more than one manifest");
    verdict(manifest().file("rootfs", "", 0o644), "rootfs is not a directory");
    verdict(manifest().symlink("rootfs", "/"), "rootfs is not a directory");
    verdict(sound().file("rootfs/a", "", 0o644).file("rootfs/a/b", "", 0o644), "a parent is not a directory");
    verdict(sound().file("rootfs/a/b", "", 0o644).symlink("rootfs/a", "/"), "a parent is not a directory");
    verdict(sound().symlink("rootfs/a", "/").file("rootfs/a/b", "", 0o644), "a parent is not a directory");
    verdict(sound().hardlink("rootfs/a", "../canary"), "target of the hard link: the name contains \"..\"");
    verdict(sound().hardlink("rootfs/a", "/etc/hostname"), "target of the hard link: the name is absolute");
    verdict(sound().hardlink("rootfs/a", "rootfs/none"), "which does not exist in this archive");
    verdict(sound().hardlink("rootfs/a", "rootfs/a"), "hard link to itself");
    verdict(sound().hardlink("rootfs/a", "manifest"), "an ACI holds only");
    // The manifest's own mistakes count more than what lies beside it, whatever comes first.
    let bad = Tree::new().file("foo", "", 0o644).file("manifest", "{}", 0o644).dir("rootfs", 0o755);
    verdict(bad, "image manifest validation failed: missing or bad ACKind");
    let dotted = Tree::new().dir(".", 0o755).file("./manifest", MANIFEST, 0o644).dir("./rootfs/", 0o755);
    env.write("dotted.aci", dotted.file("./rootfs/x", "", 0o644).tar());
    aci(&env, ["validate", "dotted.aci"]).succeeds().quietly();
    env.write("device.aci", sound().device("rootfs/null").tar());
    let device = aci(&env, ["validate", "device.aci"]).succeeds();
    assert!(device.stderr.contains("1 device nodes are skipped when it is unpacked"), "{device}");
}

#[test]
fn manifests_may_be_yaml() {
    let env = needs!(env());
    env.write("pod.yaml", "acKind: PodManifest\nacVersion: 0.8.11\napps:\n- name: a\n  image: {id: sha512-abc}\n");
    aci(&env, ["validate", "pod.yaml"]).succeeds().quietly();
    env.write("number.yml", MANIFEST.replace("\"user\":\"0\"", "\"user\": 0"));
    let outcome = aci(&env, ["validate", "number.yml"]).refuses("expected a string, found a number (at $.app.user)");
    assert!(outcome.stderr.contains("\nhint: put it in double quotes\n"), "{outcome}");
    env.write("two.yaml", "acKind: PodManifest\n---\nacKind: PodManifest\n");
    aci(&env, ["validate", "two.yaml"]).refuses("two.yaml: more than one document, where a manifest is one");
    env.write("broken.yaml", "acKind: ImageManifest\n name: x\n");
    let outcome = aci(&env, ["validate", "broken.yaml"]).refuses("broken.yaml: ");
    assert!(outcome.stderr.contains("2 |  name: x\n"), "the line is shown: {outcome}");
}

#[test]
fn manifests_may_come_out_of_pipes() {
    let env = needs!(env());
    env.write("m.json", MANIFEST);
    sh(&env, "mkfifo fifo").succeeds();
    let proa = integration_tests::binaries::proa().display().to_string();
    let piped = |words: &str| sh(&env, &format!("cat m.json | {proa} {words}"));
    piped("--debug aci validate --type=manifest /dev/stdin").succeeds().stderr_shows("/dev/stdin: valid ImageManifest");
    let untyped = piped("aci validate /dev/stdin").refuses("/dev/stdin is a fifo, not a regular file");
    untyped.stderr_shows("or name a manifest's pipe as /dev/stdin, with --type=manifest");
    sh(&env, &format!("head -c 5000000 /dev/zero | {proa} aci validate --type=manifest /dev/stdin"))
        .refuses("manifest of 4194305 bytes is larger than 4194304 bytes");
    let old = MANIFEST.replace("example.com/test", "example.com/old");
    env.write("old.aci", Tree::new().file("manifest", old, 0o644).dir("rootfs", 0o755).tar());
    piped("aci patch-manifest --manifest=/dev/stdin old.aci new.aci").succeeds();
    aci(&env, ["cat-manifest", "new.aci"]).succeeds().shows("\"name\":\"example.com/test\"");
    // What a layout leads to is not what the caller has named, and may never end.
    sh(&env, "mkdir -p layout/rootfs; ln -s /dev/stdin layout/manifest").succeeds();
    for words in ["validate layout", "build layout x.aci"] {
        piped(&format!("aci {words}")).refuses("layout/manifest is not a regular file");
    }
    // Nobody may ever write into one with a name.
    aci(&env, ["validate", "--type=manifest", "fifo"]).refuses("fifo is not a regular file");
}

/// Whatever an archive holds, memory is bounded: zeros that were nearly nothing on the way here, and many names.
#[test]
fn memory_is_bounded_whatever_the_archive() {
    needs!(place(Place::Host));
    let env = needs!(env());
    sh(&env, "mkdir -p large/rootfs many/rootfs && truncate -s 300M large/rootfs/zeros").succeeds();
    env.write("large/manifest", MANIFEST);
    env.write("many/manifest", MANIFEST);
    sh(&env, "tar cf - -C large manifest rootfs | gzip -1 >large.aci").succeeds();
    let names = "import tarfile, sys\n\
                 t = tarfile.open('many.aci', 'w:gz', compresslevel=1)\n\
                 t.add('many/manifest', 'manifest'); t.add('many/rootfs', 'rootfs')\n\
                 for n in range(30000): t.addfile(tarfile.TarInfo('rootfs/' + str(n).zfill(80)))\n\
                 t.close()";
    env.command("/usr/bin/python3", vec!["-c".into(), names.into()]).outcome().succeeds();
    let proa = integration_tests::binaries::proa();
    for image in ["large.aci", "many.aci"] {
        let words = [proa.as_os_str(), "aci".as_ref(), "validate".as_ref(), image.as_ref()];
        let peak = peak_memory(&env, &words);
        assert!(peak < 64 << 10, "{image}: {peak} KiB");
    }
}
