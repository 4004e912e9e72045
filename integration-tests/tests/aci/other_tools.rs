//! What other readers and writers of tar make of our images, and we of theirs.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use integration_tests::needs::{Place, place, tool};
use integration_tests::{Env, User, needs};
use rustix::fs::{XattrFlags, setxattr};

use crate::{MANIFEST, aci, entries, layout, run, sh};

/// Everything an image can hold, but for devices.
const TREE: &str = r#"
    mkdir -p bin d/e/f; mkdir -m 1777 tmp; mkdir -m 700 private; echo app >bin/app; chmod 4755 bin/app; chown 1:2 bin/app
    ln bin/app d/hard; ln -s ../bin/app d/soft; ln -s "$(printf 't%.0s' $(seq 150))" long-target; mkfifo -m 640 fifo
    long=$(printf 'd%.0s' $(seq 120)); mkdir -p $long/$long; echo long >$long/$long/file; ln $long/$long/file long-hard
    truncate -s 5M sparse; printf middle | dd of=sparse bs=1M seek=3 conv=notrunc status=none
    : >empty; printf 'x' >'with space'; printf 'y' >"$(printf 'new\nline')"; printf 'z' >'grün'; chown 3000000:4000000 d/e
    head -c 100000 /dev/zero | tr '\0' 'a' >bin/large
    find . -exec touch -h -d 2011-12-13T14:15:16Z {} +
"#;

/// What `find` sees of a tree, without what archives do not keep (the size of a directory, whole blocks).
fn listing(dir: &Path) -> String {
    let mut script = "cd \"$1\" && find . -printf '%P|%y|%m|%U:%G|%l|%n|%Ts|' \\( -type f -printf '%s' -o -printf - \\) -printf '\\0' | sort -z | tr '\\n\\0' '\\1\\n'".to_owned();
    script.push_str(" && find . -type f -print0 | sort -z | xargs -0 sha256sum -z | tr '\\n\\0' '\\1\\n'");
    run(Path::new("/bin/sh"), &["-ec".as_ref(), script.as_ref(), "sh".as_ref(), dir.as_ref()])
}

/// Root's environment: owners can be compared.
fn env() -> Result<Env, String> {
    Env::of(User::Root).map_err(|_| "root is missing".to_owned())
}

#[test]
fn what_is_built_is_what_gnu_tar_unpacks() {
    needs!(place(Place::Host));
    let (env, tar) = (needs!(env()), needs!(tool("tar")));
    let layout = layout(&env, "layout", TREE);
    setxattr(layout.join("rootfs/empty"), "user.note", b"kept", XattrFlags::empty()).expect("as root");
    aci(&env, ["build", "layout", "x.aci"]).succeeds().quietly();
    env.make_dir(&env.path("out"));
    let (image, out) = (env.path("x.aci"), env.path("out"));
    let words = ["--xattrs", "--numeric-owner", "-xpf"].map(OsStr::new).into_iter();
    run(&tar, &words.chain([image.as_ref(), "-C".as_ref(), out.as_ref()]).collect::<Vec<_>>());
    assert_eq!(listing(&env.path("out/rootfs")), listing(&env.path("layout/rootfs")));
    let mut value = [0; 10];
    assert_eq!(rustix::fs::getxattr(env.path("out/rootfs/empty"), "user.note", &mut value), Ok(4));
    // And back: built again of what GNU tar unpacked, it is the same archive.
    let id = |dir: &str, image: &str| aci(&env, ["build", "--reproducible", dir, image]).succeeds().line().to_owned();
    assert_eq!(id("layout", "1.aci"), id("out", "2.aci"));
    // `tar tvf` reads every line of it without a word on stderr.
    sh(&env, "tar tvf x.aci --quoting-style=escape | wc -l")
        .succeeds()
        .quietly()
        .prints(&format!("{}\n", entries(&image).len()));
}

#[test]
fn what_is_built_is_what_bsdtar_unpacks() {
    needs!(place(Place::Host));
    let (env, bsdtar) = (needs!(env()), needs!(tool("bsdtar")));
    layout(&env, "layout", TREE);
    aci(&env, ["build", "layout", "x.aci"]).succeeds().quietly();
    env.make_dir(&env.path("out"));
    let (image, out) = (env.path("x.aci"), env.path("out"));
    let words = ["--numeric-owner", "-xpf"].map(OsStr::new).into_iter();
    run(&bsdtar, &words.chain([image.as_ref(), "-C".as_ref(), out.as_ref()]).collect::<Vec<_>>());
    assert_eq!(listing(&env.path("out/rootfs")), listing(&env.path("layout/rootfs")));
}

#[test]
fn what_is_built_is_what_python_reads() {
    needs!(place(Place::Host));
    let (env, python) = (needs!(env()), needs!(tool("python3")));
    layout(&env, "layout", TREE);
    aci(&env, ["build", "layout", "x.aci"]).succeeds().quietly();
    let script = "import tarfile, sys, hashlib\n\
                  for m in tarfile.open(sys.argv[1]):\n\
                  \x20   f = tarfile.open(sys.argv[1]).extractfile(m.name) if m.isreg() else None\n\
                  \x20   print(repr(m.name), m.type.decode(), oct(m.mode), m.uid, m.gid, int(m.mtime), m.size, repr(m.linkname),\n\
                  \x20         hashlib.sha256(f.read()).hexdigest() if f else '')";
    let of = |image: &str| run(&python, &["-c".as_ref(), script.as_ref(), env.path(image).as_ref()]);
    // GNU tar packs the same tree in the same order; Python must see the same in both.
    sh(
        &env,
        "LC_ALL=C tar --sort=name --sparse --format=pax --pax-option=delete=atime,delete=ctime,delete=mtime \
              --numeric-owner -cf gnu.aci -C layout rootfs",
    )
    .succeeds();
    let ours = of("x.aci");
    let (ours, manifest) = ours.trim_end().rsplit_once('\n').expect("several lines");
    assert!(manifest.starts_with("'manifest' 0 0o644 0 0 "), "{manifest}");
    // Sparse and hard-linked members are of other types in GNU tar's archive or come in another order.
    let plain = |text: &str| {
        let line = |line: &&str| !line.contains("'rootfs/sparse'");
        let mut lines: Vec<_> = text.lines().filter(line).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(plain(ours), plain(&of("gnu.aci")));
    assert!(ours.contains("'rootfs/sparse' 0 0o644 0 0 1323785716 5242880 "), "{ours}");
}

#[test]
fn what_others_pack_is_read() {
    needs!(place(Place::Host));
    let (env, _bsdtar) = (needs!(env()), needs!(tool("bsdtar")));
    layout(&env, "layout", TREE);
    env.write("layout/manifest", MANIFEST);
    let expected = listing(&env.path("layout/rootfs"));
    for (n, pack) in [
        "tar --format=gnu -cf",
        "tar --format=pax -cf",
        "tar --format=gnu --sparse -cf",
        "tar --format=pax --sparse --sparse-version=1.0 -cf",
        "tar --format=pax --sparse --sparse-version=0.1 -cf",
        "bsdtar --format=pax -cf",
        "bsdtar --format=gnutar -cf",
    ]
    .into_iter()
    .enumerate()
    {
        sh(&env, &format!("{pack} x.aci --numeric-owner -C layout manifest rootfs")).succeeds();
        aci(&env, ["validate", "x.aci"]).succeeds().quietly();
        aci(&env, ["extract", "x.aci", &format!("out{n}")]).succeeds().quietly();
        let found = listing(&env.path(format!("out{n}/rootfs")));
        // bsdtar's GNU format cuts ids that do not fit, by 0 or by their highest bits.
        let same =
            |text: &str| text.lines().filter(|line| !line.starts_with("d/e|")).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(same(&found), same(&expected), "{pack}");
        aci(&env, ["patch-manifest", "--overwrite", "--name=example.com/other", "x.aci", "y.aci"]).succeeds();
        aci(&env, ["extract", "y.aci", &format!("patched{n}")]).succeeds().quietly();
        assert_eq!(listing(&env.path(format!("patched{n}/rootfs"))), found, "{pack}, patched");
        fs::remove_file(env.path("x.aci")).expect("it is ours");
    }
}
