//! Images of every kind: ACIs, hand-made OCI layouts, and a Debian root file system from real makers.

use integration_tests::images::{Aci, Layout, OciLayer, Packing, Tree, busybox, debian, debian_zstd};
use integration_tests::needs::{Place, place, tool};
use integration_tests::{Env, Outcome, User, each_user, needs};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

fn oci(dir: &Path) -> String {
    format!("oci:{}", dir.display())
}

fn run_oci(env: &Env, dir: &Path, more: &[&str]) -> Outcome {
    let reference = oci(dir);
    env.proa(["run", "--net=none", &reference].into_iter().chain(more.iter().copied())).outcome()
}

/// The commands the issue names, and what tells a good extraction from a nearly good one.
fn debian_works(env: &Env, layout: &Path) {
    let reference = format!("{}:latest", oci(layout));
    let fetched = env.proa(["fetch", &reference]).outcome().succeeds();
    let id = fetched.line().to_owned();
    assert!(id.starts_with("sha256:"), "an OCI image's ID is its config digest: {fetched}");
    let sh = |script: &str| {
        let outcome = env.proa(["run", "--net=none", &id, "--exec", "/bin/bash", "--", "-c", script]).outcome();
        outcome.succeeds().quietly().line().to_owned()
    };
    let run = |command: &[&str]| {
        let fixed = ["run", "--net=none", &id, "--exec", command[0], "--"];
        env.proa(fixed.into_iter().chain(command[1..].iter().copied())).outcome().succeeds()
    };
    run(&["cat", "/etc/os-release"]).shows("NAME=\"Debian GNU/Linux\"");
    assert!(run(&["dpkg", "-l"]).shows("ii  perl-base").stdout.lines().count() > 80);
    run(&["perl", "-v"]).shows("This is perl 5");
    let pipeline = "cat /etc/passwd | cut -d: -f1 | sort | grep -E '^(root|daemon|www-data)$' | tr '\\n' ' '";
    assert_eq!(sh(pipeline).trim(), "daemon root www-data");
    // Layer 2: removed, replaced. Layer 3: links, owners, modes, names.
    assert_eq!(
        sh("ls -d /usr/share/doc /var/lib/apt/lists /var/cache/apt/archives 2>/dev/null; cat /opt"),
        "a file now"
    );
    assert_eq!(
        sh("pwd; cat soft; stat -c %h data/lines; ls data"),
        "/srv\none\ntwo\nthree\n2\nhard\nlines\nof-1000\nprøve"
    );
    let modes = "data/of-1000 www /etc/shadow /tmp /usr/bin/passwd";
    assert_eq!(sh(&format!("stat -c %a {modes} | tr '\\n' ' '")).trim(), "640 2755 640 1777 4755");
    // With a single id everything belongs to it.
    if env.user() != User::NoRange {
        let owners = sh("stat -c %u:%G data/of-1000 www /etc/shadow | tr '\\n' ' '");
        assert_eq!(owners.trim(), "1000:UNKNOWN 33:www-data 0:shadow");
    }
    // It is a working system: dpkg can verify itself, perl can compute, files can be written.
    assert_eq!(sh("perl -e 'print join q(,), map { $_ * $_ } 1..5'"), "1,4,9,16,25");
    assert_eq!(sh("dpkg --verify coreutils dash libc6 2>&1 | grep -v /usr/share/doc || true"), "");
    assert_eq!(
        sh("echo x >/etc/new && rm /etc/issue /etc/debian_version && mv /srv/data /srv/moved && ls /srv/moved | wc -l"),
        "4"
    );
    assert_eq!(
        sh("cat /etc/debian_version | grep -c '^12'; ls /etc/new 2>&1 || true"),
        "1\nls: cannot access '/etc/new': No such file or directory"
    );
}

each_user! {
    debian_layout_runs,
    layers_cover_each_other,
    implied_folders_keep_what_lower_layers_say,
    layers_may_come_again,
    acis_of_every_compression_run,
    configuration_is_the_apps,
    references_choose_an_image,
    owners_and_modes_are_the_archives,
    changes_of_a_run_are_gone_in_the_next,
    same_layer_in_two_images_is_stored_once,
    an_image_of_127_layers_runs,
}

fn debian_layout_runs(env: &Env) {
    let layout = needs!(debian());
    debian_works(env, &layout);
}

fn layers_cover_each_other(env: &Env) {
    let bottom = busybox()
        .dir("keep", 0o755)
        .file("keep/a", "a1\n", 0o644)
        .file("keep/b", "b1\n", 0o644)
        .dir("gone", 0o755)
        .file("gone/x", "x\n", 0o644)
        .dir("clean", 0o755)
        .file("clean/old", "old\n", 0o644)
        .dir("dir-to-file", 0o755)
        .file("dir-to-file/x", "x", 0o644)
        .file("file-to-dir", "x", 0o644)
        .symlink("link-to-dir", "keep");
    let middle = Tree::new()
        .dir("keep", 0o750)
        .file("keep/a", "a2\n", 0o600)
        .whiteout("keep/b")
        .whiteout("gone")
        .dir("clean", 0o755)
        .opaque("clean")
        .file("clean/new", "new\n", 0o644)
        .whiteout("nothing-below")
        .file("dir-to-file", "now a file\n", 0o644)
        .dir("file-to-dir", 0o755)
        .file("file-to-dir/y", "y\n", 0o644)
        .dir("link-to-dir", 0o755)
        .file("link-to-dir/z", "z\n", 0o644);
    let top = Tree::new()
        .dir("gone", 0o755)
        .file("gone/again", "again\n", 0o644)
        .dir("keep", 0o750)
        .file("keep/b", "b3\n", 0o644);
    let zstd = OciLayer::from(middle).packed(Packing::Zstd);
    let layout = Layout::new("layers").layer(bottom).layer(zstd).layer(OciLayer::from(top).packed(Packing::Tar));
    let script = "cat keep/a keep/b; stat -c %a keep keep/a; ls gone clean link-to-dir; \
                  cat dir-to-file file-to-dir/y; ls -A / keep";
    let outcome = run_oci(env, &layout.sh(script).build(env), &[]).succeeds().quietly();
    let expected = "a2\nb3\n750\n600\nclean:\nnew\n\ngone:\nagain\n\nlink-to-dir:\nz\nnow a file\ny\n";
    assert!(outcome.stdout.starts_with(expected), "{outcome}");
    assert!(!outcome.stdout.contains(".wh."), "no marker is seen in a container: {outcome}");
}

/// appc aci.md, Image Archives: gzip, bzip2, xz or none, told by the first bytes. The ID is that of the tar archive.
fn acis_of_every_compression_run(env: &Env) {
    // The compressors are not in the guest.
    needs!(place(Place::Host));
    let image = Aci::new("packed", busybox()).sh("echo unpacked");
    let id = format!("sha512-{}", integration_tests::images::sha512(&image.tar()));
    for packing in [Packing::Tar, Packing::Gzip, Packing::Bzip2, Packing::Xz, Packing::Zstd] {
        let path = image.clone().packed(packing).build(env);
        let fetched = env.proa([OsStr::new("--insecure-options=image"), "fetch".as_ref(), path.as_ref()]).outcome();
        assert_eq!(fetched.succeeds().quietly().line(), id, "{packing:?}");
        env.run(&path, &[]).outcome().succeeds().prints("unpacked\n");
    }
    let encrypted = env.write("images/encrypted.aci", b"\x8c\x0d\x04\x09\x03\x0a\x01 and so on");
    env.run(&encrypted, &[]).outcome().refuses("the image is encrypted (OpenPGP)");
    let other = env.write("images/other.aci", b"PK\x03\x04 and so on");
    env.run(&other, &[]).outcome().refuses("compression zip is not supported");
}

/// A layer may name a file without the folders above it: they stay as the layers below have them.
fn implied_folders_keep_what_lower_layers_say(env: &Env) {
    let bottom = busybox().dir("drop", 0o1777).dir("private", 0o700).dir("private/deep", 0o750);
    let top = Tree::new().file("drop/x", "x\n", 0o644).file("private/deep/y", "y\n", 0o644).file("new/z", "z\n", 0o644);
    let script = "stat -c %a drop private private/deep new; cat drop/x private/deep/y new/z";
    let layout = Layout::new("implied").layer(bottom).layer(top).sh(script).build(env);
    run_oci(env, &layout, &[]).succeeds().prints("1777\n700\n750\n755\nx\ny\nz\n");
}

fn configuration_is_the_apps(env: &Env) {
    let layout = Layout::new("config")
        .layer(busybox().dir("work", 0o755))
        .config("Entrypoint", serde_json::json!(["/bin/sh", "-c", "echo $0 $1; pwd; id -u; id -g; echo $A"]))
        .config("Cmd", serde_json::json!(["zero", "one"]))
        .config("Env", serde_json::json!(["A=from config", "PATH=/bin"]))
        .config("User", serde_json::json!("1000:2000"))
        .config("WorkingDir", serde_json::json!("/work"))
        .build(env);
    run_oci(env, &layout, &[]).succeeds().prints("zero one\n/work\n1000\n2000\nfrom config\n");
    // Arguments take the place of Cmd, as everywhere else.
    run_oci(env, &layout, &["--", "zwei", "eins"]).succeeds().prints("zwei eins\n/work\n1000\n2000\nfrom config\n");
}

fn references_choose_an_image(env: &Env) {
    let dir = Layout::new("tags").layer(busybox()).sh("echo tagged").build(env);
    for reference in [oci(&dir), format!("{}:latest", oci(&dir))] {
        env.proa(["run", "--net=none", &reference]).outcome().succeeds().prints("tagged\n");
    }
    env.proa(["run", "--net=none", &format!("{}:other", oci(&dir))]).outcome().rejects("other");
}

fn owners_and_modes_are_the_archives(env: &Env) {
    let tree = busybox()
        .file("etc/a", "", 0o600)
        .owned_by(1000, 2000)
        .dir("sticky", 0o1777)
        .owned_by(33, 33)
        .file("setuid", "", 0o4755)
        .file("unreadable", "secret\n", 0o000);
    let files = "/etc/a /sticky /setuid /unreadable";
    let script = format!("stat -c %a {files}; cat /unreadable; [ $0 = one ] || stat -c %u:%g {files}");
    let image = Aci::new("owners", tree).sh(&script).build(env);
    let modes = "600\n1777\n4755\n0\nsecret\n";
    let owners = "1000:2000\n33:33\n0:0\n0:0\n";
    // With a single id everything belongs to it.
    let (ids, expected) = match env.user() {
        User::NoRange => ("one", modes.to_owned()),
        _ => ("many", format!("{modes}{owners}")),
    };
    env.run(&image, &["--", ids]).outcome().succeeds().prints(&expected);
}

fn changes_of_a_run_are_gone_in_the_next(env: &Env) {
    let image = Aci::new("changes", busybox())
        .sh("cat /etc/new; echo x >/etc/new; rm /etc/group; cd /etc; ls -d [gnp]*")
        .build(env);
    for _ in 0..2 {
        env.run(&image, &[]).outcome().succeeds().prints("new\npasswd\n");
    }
}

fn same_layer_in_two_images_is_stored_once(env: &Env) {
    let one = Layout::new("one").layer(busybox()).sh("echo 1").build(env);
    let two = Layout::new("two").layer(busybox()).sh("echo 2").build(env);
    run_oci(env, &one, &[]).succeeds().prints("1\n");
    let trees = |env: &Env| std::fs::read_dir(env.data().join("store/trees")).map_or(0, Iterator::count);
    let before = trees(env);
    run_oci(env, &two, &[]).succeeds().prints("2\n");
    assert_eq!(trees(env), before);
}

/// Builders write the same empty layer more than once, and overlay refuses a tree that is there twice.
fn layers_may_come_again(env: &Env) {
    let again = || Tree::new().file("etc/again", "again\n", 0o644);
    let between = Tree::new().file("etc/again", "between\n", 0o644).file("etc/between", "between\n", 0o644);
    let layout = Layout::new("again").layer(busybox()).layer(again()).layer(between).layer(again());
    let layout = layout.sh("cat /etc/again /etc/between").build(env);
    run_oci(env, &layout, &[]).succeeds().prints("again\nbetween\n");
}

/// The same bytes through another decompressor; one user is enough.
#[test]
fn debian_layout_with_zstd_runs() {
    let env = needs!(Env::of(User::WithRange));
    debian_works(&env, &needs!(debian_zstd()));
}

/// A self-check of the fixtures: what the tests take for a good layout must be one to the real tools.
#[test]
fn hand_made_layouts_are_good_to_other_tools() {
    needs!(place(Place::Host));
    let (skopeo, umoci) = (needs!(tool("skopeo")), needs!(tool("umoci")));
    let env = needs!(Env::of(User::Root));
    let top = Tree::new().whiteout("etc/group").dir("home", 0o755).opaque("home");
    let dir =
        Layout::new("checked").layer(busybox()).layer(OciLayer::from(top).packed(Packing::Gzip)).sh("true").build(&env);
    let reference = format!("{}:latest", oci(&dir));
    let inspected = Command::new(skopeo).args(["inspect", &reference]).output().expect("skopeo runs");
    assert!(inspected.status.success(), "{}", String::from_utf8_lossy(&inspected.stderr));
    let bundle = env.path("bundle");
    let image = format!("{}:latest", dir.display());
    let unpacked = Command::new(umoci).args(["unpack", "--image", &image]).arg(&bundle).output().expect("umoci runs");
    assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
    assert!(bundle.join("rootfs/bin/busybox").exists() && !bundle.join("rootfs/etc/group").exists());
}

/// What buildah commits, proa runs.
#[test]
fn image_of_buildah_runs() {
    needs!(place(Place::Host));
    let buildah = needs!(tool("buildah"));
    let env = needs!(Env::of(User::Root));
    let run = |args: &[&str]| {
        // Its own storage, so that the invoking user's images stay as they are.
        let root = [
            format!("--root={}", env.path("storage").display()),
            format!("--runroot={}", env.path("runroot").display()),
        ];
        let output =
            Command::new(&buildah).args(root).arg("--storage-driver=vfs").args(args).output().expect("buildah runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let files = env.write("images/busybox.tar", busybox().tar());
    let container = run(&["from", "scratch"]);
    run(&["add", &container, files.to_str().expect("UTF-8"), "/"]);
    run(&[
        "config",
        "--cmd",
        "[\"/bin/sh\", \"-c\", \"id -u; pwd\"]",
        "--workingdir",
        "/etc",
        "--user",
        "1000",
        &container,
    ]);
    let dir = env.path("images/built");
    run(&["commit", "--format=oci", &container, &format!("oci:{}:latest", dir.display())]);
    run_oci(&env, &dir, &[]).succeeds().prints("1000\n/etc\n");
}

/// More layers than fsconfig(2) takes in one value; before Linux 6.8 there is another way.
fn an_image_of_127_layers_runs(env: &Env) {
    let bottom = busybox().file("who", "layer 0\n", 0o644).dir("each", 0o755);
    let layout = (1..127).fold(Layout::new("many").layer(bottom), |layout, n| {
        let tree = Tree::new().file("who", format!("layer {n}\n"), 0o644).file(format!("each/{n}"), "", 0o644);
        layout.layer(if n == 100 { tree.whiteout("each/50") } else { tree })
    });
    let script = "cat /who; ls /each | wc -l; echo new >/who && cat /who";
    let layout = layout.sh(script).build(env);
    run_oci(env, &layout, &[]).succeeds().quietly().prints("layer 126\n125\nnew\n");
}
