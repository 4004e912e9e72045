//! `build`: what goes into an image, and that nothing is left when it fails.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;

use integration_tests::images::{Tree, busybox};
use integration_tests::needs::{Place, place, tool};
use integration_tests::{Env, User, binaries, each_user, needs};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};

use crate::{MANIFEST, aci, entries, id, layout, peak_memory, sh, unpacked};

each_user! {
    an_image_is_a_gzip_with_the_manifest_last,
    what_cannot_be_built_leaves_nothing,
    owners_and_compression_are_chosen,
    what_is_overwritten_keeps_its_permissions,
    special_files_and_links,
    reproducible_images_are_the_same_bit_for_bit,
    junk_called_manifest_inside_rootfs_is_fine,
    a_layout_may_have_a_yaml_manifest,
    long_names_and_sparse_files,
    a_busybox_image_runs,
    an_unreadable_file_is_named,
}

fn an_image_is_a_gzip_with_the_manifest_last(env: &Env) {
    let script = "mkdir -m 700 private; echo x >private/x; chmod 4751 private/x; mkdir -m 1777 tmp";
    let layout = layout(env, "layout", script);
    let image = env.path("x.aci");
    let built = aci(env, [OsStr::new("build"), layout.as_ref(), image.as_ref()]).succeeds().quietly();
    assert_eq!(built.line(), id(&image));
    assert!(fs::read(&image).expect("it is there").starts_with(b"\x1f\x8b"));
    let owner = (u64::from(env.account().uid), u64::from(env.account().gid));
    let entries = entries(&image);
    let shown: Vec<_> = entries.iter().map(|it| (it.path.as_str(), it.mode, it.owner)).collect();
    let expected = [
        ("rootfs", 0o755, owner),
        ("rootfs/private", 0o700, owner),
        ("rootfs/private/x", 0o4751, owner),
        ("rootfs/tmp", 0o1777, owner),
        ("manifest", 0o644, (0, 0)),
    ];
    assert_eq!(shown, expected);
    // As any program would make it under the caller's umask, not for proa's own eyes only.
    assert_eq!(fs::metadata(&image).expect("it is there").permissions().mode() & 0o777, 0o644);
    assert_eq!(fs::metadata(&image).expect("it is there").uid(), env.account().uid);
}

fn what_cannot_be_built_leaves_nothing(env: &Env) {
    let layout = layout(env, "layout", "");
    let build = |dir: &OsStr, output: &str| aci(env, [OsStr::new("build"), dir, OsStr::new(output)]);
    build(layout.as_ref(), "x.tar").refuses("Extension must be .aci (given .tar)");
    build(OsStr::new("nosuch"), "x.aci").refuses("nosuch");
    build(layout.as_ref(), "nosuch/x.aci").refuses("nosuch/x.aci");
    env.write("x.aci", "there before");
    build(layout.as_ref(), "x.aci").refuses("x.aci exists");
    assert_eq!(fs::read(env.path("x.aci")).expect("it is there"), b"there before");
    fs::remove_file(env.path("x.aci")).expect("it is ours");
    env.write("layout/more", "");
    build(layout.as_ref(), "x.aci").refuses("unrecognized file path in layout: \"more\"");
    fs::remove_file(env.path("layout/more")).expect("it is ours");
    env.write("layout/manifest", "{\n \"acKind\": }");
    let pictured =
        build(layout.as_ref(), "x.aci").refuses("image manifest validation failed: Error at line 2, column 13");
    assert!(pictured.stderr.contains("\n    2:  \"acKind\": }\n") && pictured.stderr.contains("^\n"), "{pictured}");
    for (name, mistake) in
        [("other.json", "other.json: Error at line 1"), ("other.yaml", "other.yaml: unclosed bracket")]
    {
        env.write(name, "[");
        let option = format!("--manifest={name}");
        aci(env, ["build", &*option, "layout", "x.aci"]).refuses(mistake);
    }
    fs::remove_file(env.path("layout/manifest")).expect("it is ours");
    build(layout.as_ref(), "x.aci").refuses("no image manifest found in layout");
    let names = sh(env, "ls -A").succeeds();
    assert!(!names.stdout.contains("aci"), "{names}");
}

fn what_is_overwritten_keeps_its_permissions(env: &Env) {
    layout(env, "layout", "echo x >x");
    let mode = || fs::metadata(env.path("x.aci")).expect("it is there").permissions().mode() & 0o7777;
    let umask = |words: &str| sh(env, &format!("{} aci {words} >id", integration_tests::binaries::proa().display()));
    umask("build layout x.aci").succeeds();
    assert_eq!(mode(), 0o644);
    sh(env, "chmod 600 x.aci").succeeds();
    umask("build --overwrite layout x.aci").succeeds();
    assert_eq!(mode(), 0o600);
    umask("patch-manifest --replace --user=1 x.aci").succeeds();
    assert_eq!(mode(), 0o600);
    // A group that only root can give it to: who is in the caller's own could not read it either.
    const GROUP: u32 = 54_321;
    sh(env, "chmod 640 x.aci").succeeds();
    if chown(env.path("x.aci"), None, Some(GROUP)).is_ok() {
        umask("build --overwrite layout x.aci").succeeds();
        let group = fs::metadata(env.path("x.aci")).expect("it is there").gid();
        let kept = if env.user() == User::Root { (0o640, true) } else { (0o600, false) };
        assert_eq!((mode(), group == GROUP), kept);
    }
}

fn owners_and_compression_are_chosen(env: &Env) {
    needs!(place(Place::Host));
    layout(env, "layout", "echo x >x; mkdir d");
    let built = |options: &str| {
        let line = format!("build {options} --overwrite layout x.aci");
        let built = aci(env, line.split_whitespace()).succeeds().quietly();
        (built.line().to_owned(), fs::read(env.path("x.aci")).expect("it is there"))
    };
    let (id, plain) = built("--no-compression");
    assert!(plain.starts_with(b"rootfs"));
    // The ID does not depend on the moment either: the manifest has its file's time.
    sh(env, "touch -d 2001-09-09T01:46:40Z layout/manifest").succeeds();
    let (other, _) = built("--no-compression");
    assert_ne!(id, other);
    sh(env, "tar tvf x.aci --utc manifest").succeeds().shows(" 2001-09-09 01:46 manifest");
    for (format, magic) in [
        ("gzip", &b"\x1f\x8b"[..]),
        ("bzip2", b"BZh"),
        ("xz", b"\xfd7zXZ"),
        ("zstd", b"\x28\xb5\x2f\xfd"),
        ("none", b"rootfs"),
    ] {
        let (same, packed) = built(&format!("--compression={format}"));
        assert!(packed.starts_with(magic), "{format}");
        assert_eq!(same, other, "the ID is that of the archive inside: {format}");
        aci(env, ["validate", "x.aci"]).succeeds().quietly();
    }
    built("--owner-root");
    assert!(entries(&env.path("x.aci")).iter().all(|entry| entry.owner == (0, 0)));
    sh(env, "tar tvf x.aci | cut -d' ' -f2 | sort -u").succeeds().prints("root/root\n");
}

fn special_files_and_links(env: &Env) {
    let layout = layout(env, "layout", "mkfifo fifo; ln -s nowhere link; echo x >a; ln a b; ln link other");
    let _socket = UnixListener::bind(layout.join("rootfs/socket")).expect("the folder is ours");
    env.own(&layout.join("rootfs/socket"));
    let root = env.user() == User::Root;
    if root {
        // Nobody has this device: opening it would fail.
        let mode = Mode::from_raw_mode(0o640);
        mknodat(CWD, layout.join("rootfs/device"), FileType::CharacterDevice, mode, makedev(240, 77)).expect("as root");
        mknodat(CWD, layout.join("rootfs/disk"), FileType::BlockDevice, mode, makedev(240, 78)).expect("as root");
    }
    let built = aci(env, ["build", "layout", "x.aci"]).succeeds();
    assert_eq!(built.stderr, "proa: warning: sockets are left out: \"rootfs/socket\"\n");
    // actool passes it over without a word.
    sh(env, &format!("ln -s {} actool; ./actool build layout actool.aci", binaries::proa().display()))
        .succeeds()
        .quietly()
        .prints("");
    let entries = entries(&env.path("x.aci"));
    let find = |path: &str| entries.iter().find(|it| it.path == format!("rootfs/{path}"));
    let kind = |path: &str| find(path).map(|it| it.kind);
    assert_eq!(kind("fifo"), Some(tar::EntryType::Fifo));
    assert_eq!(kind("link"), Some(tar::EntryType::Symlink));
    assert_eq!(find("link").and_then(|it| it.link.as_deref()), Some("nowhere"));
    assert_eq!(kind("a"), Some(tar::EntryType::Regular));
    assert_eq!(find("b").map(|it| (it.kind, it.link.as_deref())), Some((tar::EntryType::Link, Some("rootfs/a"))));
    assert_eq!(
        find("other").map(|it| (it.kind, it.link.as_deref())),
        Some((tar::EntryType::Link, Some("rootfs/link")))
    );
    assert_eq!(kind("socket"), None);
    if root {
        assert_eq!(find("device").map(|it| (it.kind, it.mode)), Some((tar::EntryType::Char, 0o640)));
        assert_eq!(kind("disk"), Some(tar::EntryType::Block));
        sh(env, "tar tvf x.aci rootfs/device rootfs/disk | tr -s ' ' | cut -d' ' -f3")
            .succeeds()
            .prints("240,77\n240,78\n");
    }
    // fifos in an image are never opened either: that would wait for ever.
    aci(env, ["validate", "x.aci"]).succeeds();
    aci(env, ["extract", "x.aci", "out"]).succeeds();
    sh(env, "test -p out/rootfs/fifo && test out/rootfs/a -ef out/rootfs/b && readlink out/rootfs/link")
        .prints("nowhere\n");
}

/// Oracle: no system call opens anything in the tree but directories, regular files, and names (O_PATH).
#[test]
fn devices_and_fifos_are_never_opened() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::Root));
    let strace = needs!(tool("strace"));
    let layout = layout(&env, "layout", "mkfifo fifo; mknod null c 1 3; mknod disk b 7 0; echo x >file");
    let words = ["-f", "-e", "trace=%file,openat2", "-o", "trace"].map(OsStr::new);
    let run = env.proa([OsStr::new("aci"), "build".as_ref(), layout.as_ref(), "x.aci".as_ref()]);
    run.through([strace.as_os_str()].into_iter().chain(words)).outcome().succeeds();
    let trace = fs::read_to_string(env.path("trace")).expect("strace wrote it");
    for special in ["\"fifo\"", "\"null\"", "\"disk\""] {
        let opened: Vec<_> = trace.lines().filter(|line| line.contains(special)).collect();
        assert!(!opened.is_empty() && opened.iter().all(|line| line.contains("O_PATH")), "{opened:?}");
    }
    assert!(trace.lines().any(|line| line.contains("\"file\"")), "the control: {trace}");
}

/// Extended attributes and file capabilities are part of a file (appc aci.md, Image Archives).
#[test]
fn attributes_and_capabilities_survive() {
    let env = needs!(Env::of(User::Root));
    let layout = layout(&env, "layout", "echo x >file; mkdir dir; echo y >capable; chmod 755 capable");
    let rootfs = layout.join("rootfs");
    // cap_net_bind_service=ep: version 2, little endian (linux/capability.h, struct vfs_cap_data).
    let capability = *b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let set = |path: &str, name: &str, value: &[u8]| {
        setxattr(rootfs.join(path), name, value, XattrFlags::empty()).unwrap_or_else(|e| panic!("{path} {name}: {e}"));
    };
    set("file", "user.note", b"with\0any\nbytes\xff");
    set("file", "user.empty", b"");
    set("dir", "user.of.a.directory", b"yes");
    set("capable", "security.capability", &capability);
    set("file", "trusted.host", b"is none of the image's business");
    let build = |dir: &str, image: &str| {
        aci(&env, ["build", "--reproducible", dir, image]).succeeds().quietly().line().to_owned()
    };
    let first = build("layout", "first.aci");
    aci(&env, ["extract", "first.aci", "again"]).succeeds().quietly();
    let again = env.path("again/rootfs");
    let get = |path: &str, name: &str| {
        let mut value = vec![0; 100];
        let length = rustix::fs::getxattr(again.join(path), name, &mut value[..]).ok()?;
        value.truncate(length);
        Some(value)
    };
    assert_eq!(get("file", "user.note").as_deref(), Some(&b"with\0any\nbytes\xff"[..]));
    assert_eq!(get("file", "user.empty").as_deref(), Some(&b""[..]));
    assert_eq!(get("dir", "user.of.a.directory").as_deref(), Some(&b"yes"[..]));
    assert_eq!(get("capable", "security.capability").as_deref(), Some(&capability[..]));
    assert_eq!(get("file", "trusted.host"), None);
    assert_eq!(build("again", "second.aci"), first);
    assert_eq!(fs::read(env.path("first.aci")).expect("there"), fs::read(env.path("second.aci")).expect("there"));
}

fn reproducible_images_are_the_same_bit_for_bit(env: &Env) {
    needs!(place(Place::Host));
    let script = "for n in $(seq 300); do echo $n >file$n; done; mkdir d; echo x >d/x; ln d/x d/y";
    layout(env, "layout", script);
    sh(env, "head -c 3000000 /dev/urandom >layout/rootfs/noise; cp layout/rootfs/noise layout/rootfs/again").succeeds();
    let build = |image: &str, epoch: Option<&str>| {
        let run = env.proa(["aci", "build", "--reproducible", "layout", image]);
        let run = match epoch {
            Some(epoch) => run.var("SOURCE_DATE_EPOCH", epoch),
            None => run,
        };
        run.outcome().succeeds().quietly();
        fs::read(env.path(image)).expect("it was built")
    };
    let first = build("1.aci", None);
    // Other times, another order on the disk, another inode: the same files.
    sh(env, "cp -a layout copy && rm -r layout && mv copy layout && find layout -exec touch {} +").succeeds();
    assert!(first == build("2.aci", None), "the same files make the same image");
    let newest = build("3.aci", Some("1000000000"));
    assert!(newest == build("4.aci", Some("1000000000")) && newest != first);
    let times = sh(env, "tar tvf 3.aci --utc | awk '{ print $4 }' | sort -u").succeeds();
    assert_eq!(times.line(), "2001-09-09", "no time is later");
    let args = ["aci", "build", "--reproducible", "layout", "5.aci"];
    env.proa(args).var("SOURCE_DATE_EPOCH", "yesterday").outcome().refuses("yesterday");
    let plain = |image: &str| aci(env, ["build", "layout", image]).succeeds().line().to_owned();
    assert_ne!(plain("6.aci"), "", "the ordinary build needs no such variable");
}

fn junk_called_manifest_inside_rootfs_is_fine(env: &Env) {
    let layout = layout(env, "layout", "echo junk >manifest; mkdir -p dir/rootfs rootfs; echo junk >rootfs/manifest");
    aci(env, [OsStr::new("validate"), layout.as_ref()]).succeeds().quietly();
    aci(env, ["build", "layout", "x.aci"]).succeeds().quietly();
    aci(env, ["validate", "x.aci"]).succeeds().quietly();
    let manifest = aci(env, ["cat-manifest", "x.aci"]).succeeds();
    assert!(manifest.stdout.contains("example.com/test"), "{manifest}");
}

fn a_layout_may_have_a_yaml_manifest(env: &Env) {
    let yaml = "acKind: ImageManifest\nacVersion: 0.8.11\nname: example.com/yaml # as YAML\n\
                app: {exec: [/bin/app], user: \"0\", group: \"0\"}\n";
    let json = "{\"acKind\":\"ImageManifest\",\"acVersion\":\"0.8.11\",\"name\":\"example.com/yaml\",\
                \"app\":{\"exec\":[\"/bin/app\"],\"user\":\"0\",\"group\":\"0\"}}\n";
    for name in ["manifest.yaml", "manifest.yml"] {
        let layout = layout(env, "layout", "");
        fs::remove_file(layout.join("manifest")).expect("it is ours");
        env.write(format!("layout/{name}"), yaml);
        aci(env, ["validate", "layout", &format!("layout/{name}")]).succeeds().quietly();
        aci(env, ["build", "--overwrite", "layout", "x.aci"]).succeeds().quietly();
        aci(env, ["cat-manifest", "x.aci"]).succeeds().prints(json);
        assert_eq!(
            entries(&env.path("x.aci")).last().map(|it| it.path.as_str()),
            Some("manifest"),
            "only JSON is stored"
        );
        fs::remove_file(layout.join(name)).expect("it is ours");
    }
    let other = env.write("other.yaml", yaml);
    layout(env, "layout", "");
    aci(env, [OsStr::new("build"), "--manifest".as_ref(), other.as_ref(), "layout".as_ref(), "y.aci".as_ref()])
        .succeeds();
    aci(env, ["cat-manifest", "y.aci"]).succeeds().prints(json);
    env.write("layout/manifest.yaml", yaml);
    aci(env, ["build", "layout", "z.aci"]).refuses("unrecognized file path in layout: \"manifest.yaml\"");
    let bad = env.write("bad.yaml", "app: {user: 0\n");
    aci(env, [OsStr::new("build"), "--manifest".as_ref(), bad.as_ref(), "layout".as_ref(), "z.aci".as_ref()])
        .refuses("line ");
}

fn long_names_and_sparse_files(env: &Env) {
    needs!(place(Place::Host));
    let long = "d/".repeat(60) + &"n".repeat(200);
    let script = format!(
        "mkdir -p {dirs}; echo long >{long}; ln -s {target} link; truncate -s 40M sparse; \
         printf end | dd of=sparse bs=1M seek=20 conv=notrunc status=none; printf 'a\\nb' >'new\nline'",
        dirs = "d/".repeat(60),
        target = "t".repeat(300),
    );
    layout(env, "layout", &script);
    aci(env, ["build", "--no-compression", "layout", "x.aci"]).succeeds().quietly();
    let size = fs::metadata(env.path("x.aci")).expect("it was built").len();
    assert!(size < 10 << 20, "holes take no room: {size}");
    aci(env, ["validate", "x.aci"]).succeeds().quietly();
    aci(env, ["extract", "x.aci", "out"]).succeeds().quietly();
    sh(env, "diff -r --no-dereference layout/rootfs out/rootfs && cmp layout/rootfs/sparse out/rootfs/sparse")
        .succeeds();
    sh(env, "mkdir gnu && tar xf x.aci -C gnu && diff -r --no-dereference layout/rootfs gnu/rootfs").succeeds();
    let blocks = fs::metadata(env.path("out/rootfs/sparse")).expect("it was extracted").blocks();
    assert!(blocks * 512 < 10 << 20, "the holes are back: {blocks} blocks");
    // Where the holes are depends on the file system, so a reproducible image knows none.
    aci(env, ["build", "--reproducible", "layout", "y.aci"]).succeeds().quietly();
    assert_eq!(unpacked(&env.path("y.aci")).len() >> 20, 40);
}

fn a_busybox_image_runs(env: &Env) {
    let tar = env.write("busybox.tar", busybox().tar());
    layout(env, "layout", &format!("tar xf {}", tar.display()));
    let manifest = MANIFEST.replace("[\"/bin/app\"]", "[\"/bin/sh\",\"-c\",\"echo built; ls /bin | wc -l\"]");
    let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "aarch64" };
    env.write("layout/manifest", manifest.replace("amd64", arch));
    aci(env, ["build", "--owner-root", "layout", "busybox.aci"]).succeeds().quietly();
    let ran = env.run(&env.path("busybox.aci"), &[]).outcome().succeeds();
    assert!(ran.stdout.starts_with("built\n"), "{ran}");
}

fn an_unreadable_file_is_named(env: &Env) {
    if env.user() == User::Root {
        return; // Root reads everything.
    }
    layout(env, "layout", "echo x >secret; chmod 0 secret");
    aci(env, ["build", "layout", "x.aci"]).refuses("rootfs/secret: Permission denied");
    assert!(!env.path("x.aci").exists());
}

/// A tree of many small files and one of a single large one: memory does not grow with either.
#[test]
fn memory_does_not_grow_with_the_tree() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    layout(&env, "layout", "mkdir d; cd d; for n in $(seq 2000); do echo $n >$n; done; truncate -s 200M ../zeros");
    let proa = integration_tests::binaries::proa();
    let words = ["aci", "build", "--reproducible", "layout", "x.aci"].map(OsStr::new);
    let peak = peak_memory(&env, &[&[proa.as_os_str()][..], &words[..]].concat());
    assert!(peak < 64 << 10, "{peak} KiB");
}

/// Archives that name the same place in two ways, so that a build made of their pieces is refused, too.
#[test]
fn rootfs_through_a_link_is_refused() {
    let env = needs!(Env::of(User::WithRange));
    layout(&env, "real", "echo x >x");
    sh(&env, "mkdir layout && cp real/manifest layout && ln -s ../real/rootfs layout/rootfs").succeeds();
    aci(&env, ["build", "layout", "x.aci"]).refuses("rootfs is not a directory");
    // The manifest may be a link; a fifo in its place must not block.
    sh(&env, "rm layout/* && ln -s ../real/manifest layout/manifest && mkdir layout/rootfs").succeeds();
    aci(&env, ["build", "layout", "x.aci"]).succeeds();
    sh(&env, "rm layout/manifest && mkfifo layout/manifest").succeeds();
    aci(&env, ["build", "layout", "y.aci"]).refuses("layout/manifest is not a regular file");
    let tree = Tree::new().symlink("manifest", "/etc/hostname").dir("rootfs", 0o755);
    env.write("link.aci", tree.tar());
    aci(&env, ["cat-manifest", "link.aci"]).refuses("the manifest is not a regular file");
}
