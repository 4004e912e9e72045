//! Trees that are no longer what was extracted: each kind of change is found and named (STO-04, STO-07, store table 72
//! and 80).

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::XattrFlags;
use store::extract::{Extracted, Lower};
use store::verify::{self, Damage};
use store::{AsUser, ImageRecord, Keep, Store};

use crate::archive::{Archive, Entry};
use crate::bed::can_chown;
use crate::imports::{import_aci, import_oci, map};

/// Looks at the trees of an image, the lowest first.
fn look(store: &Store, image: &ImageRecord) -> Vec<Result<Extracted, Damage>> {
    let mut below = Vec::new();
    let mut found = Vec::new();
    for layer in &image.layers {
        let tree = store.tree(layer, &map()).unwrap().unwrap();
        let recipe = store.recipe(&tree).unwrap().expect("it has a recipe");
        let mut import = store.begin().unwrap();
        let pending = import.new_layer(&map(), None, Keep::Recipe).unwrap();
        let root = tree.dir().try_clone_to_owned().unwrap();
        let job = pending.verification(*layer, root, recipe, true, Vec::clone(&below)).unwrap();
        found.push(verify::run(job));
        import.abandon(&AsUser).unwrap();
        let owners = tree.record().unwrap().owners;
        below.push(Arc::new(Lower { root: tree.dir().try_clone_to_owned().unwrap(), owners }));
    }
    found
}

fn layer() -> Vec<u8> {
    Archive::new()
        .dir("etc")
        .file("etc/passwd", "root:x:0:0\n")
        .file("etc/empty", "")
        .hard_link("etc/passwd-", "etc/passwd")
        .symlink("link", "etc/passwd")
        .entry(Entry::new("locked", b'0').mode(0).data("secret"))
        .pax(&[("SCHILY.xattr.user.note", b"kept")])
        .file("noted", "x")
        .file("a/.wh.gone", "")
        .file("a/.wh..wh..opq", "")
        .entry(Entry::new("pipe", b'6'))
        .file("twice", "first")
        .file("twice", "second")
        .end()
}

/// Lets `change` have its way with the tree, and returns what is found wrong.
fn found(change: impl FnOnce(&Path)) -> String {
    let data = tempfile::tempdir().unwrap();
    let store = Store::ensure(data.path()).unwrap();
    let image = import_oci(&store, &[layer()], "{}", &[]).unwrap();
    let tree = fs::read_dir(data.path().join("store/trees")).unwrap().next().unwrap().unwrap().path();
    let before = fs::metadata(tree.join("rootfs")).unwrap().modified().unwrap();
    change(&tree.join("rootfs"));
    // What was changed in the root itself shows in its time; that is not what is looked for.
    let root = File::open(tree.join("rootfs")).unwrap();
    root.set_modified(before).unwrap();
    look(&store, &image).remove(0).expect_err("it was changed").to_string()
}

#[test]
fn what_was_not_changed_is_whole() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::ensure(data.path()).unwrap();
    let aci = crate::archive::aci(|archive| {
        archive.dir("rootfs/d").file("rootfs/d/f", "x").hard_link("rootfs/g", "rootfs/d/f")
    });
    // The upper layer implies a directory of the lower one.
    let upper = Archive::new().file("etc/new", "x").file("etc/.wh.passwd", "").end();
    let images = [import_aci(&store, &aci, &[]).unwrap(), import_oci(&store, &[layer(), upper], "{}", &[]).unwrap()];
    for image in images {
        for (layer, found) in image.layers.iter().zip(look(&store, &image)) {
            let known = store.tree(layer, &map()).unwrap().unwrap().record().unwrap();
            let found = found.unwrap_or_else(|damage| panic!("{layer}: {damage}"));
            assert_eq!((found.entries, found.content, found.owners), (known.entries, known.content, known.owners));
        }
    }
}

#[test]
fn sto_07_contents() {
    let same_length = found(|root| {
        let time = fs::metadata(root.join("etc/passwd")).unwrap().modified().unwrap();
        fs::write(root.join("etc/passwd"), "ROOT:x:0:0\n").unwrap();
        File::open(root.join("etc/passwd")).unwrap().set_modified(time).unwrap();
    });
    assert!(same_length.starts_with("contents of files were changed: the archive they give back has"), "{same_length}");
    assert_eq!(
        found(|root| fs::write(root.join("etc/passwd"), "x").unwrap()),
        "file \"etc/passwd\": it is 10 bytes shorter than it was"
    );
    assert_eq!(found(|root| fs::remove_file(root.join("noted")).unwrap()), "file \"noted\": No such file or directory");
    assert_eq!(
        found(|root| {
            fs::remove_file(root.join("noted")).unwrap();
            symlink("/etc/passwd", root.join("noted")).unwrap();
        }),
        "file \"noted\": Too many levels of symbolic links"
    );
}

#[test]
fn names_and_kinds() {
    assert_eq!(found(|root| fs::write(root.join("new"), "").unwrap()), "\"new\": it does not belong there");
    assert_eq!(found(|root| fs::remove_file(root.join("link")).unwrap()), "\"link\": it is missing");
    let other = found(|root| {
        fs::remove_file(root.join("link")).unwrap();
        symlink("/etc/shadow", root.join("link")).unwrap();
    });
    assert!(other.starts_with("\"link\": it"), "{other}");
    let kind = found(|root| {
        fs::remove_file(root.join("pipe")).unwrap();
        fs::write(root.join("pipe"), "").unwrap();
    });
    assert_eq!(kind, "\"pipe\": it is RegularFile instead of Fifo");
    let longer = found(|root| fs::write(root.join("etc/empty"), "not any more").unwrap());
    assert_eq!(longer, "\"etc/empty\": its size is 12 instead of 0");
    let whiteout = found(|root| fs::remove_file(root.join("a/gone")).unwrap());
    assert!(whiteout.starts_with("\"a"), "{whiteout}");
}

#[test]
fn attributes() {
    let mode = |path: &'static str, mode| {
        move |root: &Path| fs::set_permissions(root.join(path), Permissions::from_mode(mode)).unwrap()
    };
    assert_eq!(found(mode("etc/passwd", 0o4755)), "\"etc/passwd\": its mode is 4755 instead of 0644");
    assert_eq!(found(mode("locked", 0o644)), "\"locked\": its mode is 0644 instead of 0000");
    assert_eq!(found(mode("etc", 0o777)), "\"etc\": its mode is 0777 instead of 0755");
    assert_eq!(found(mode("", 0o777)), "\"/\": its mode is 0777 instead of 0755");
    let touched =
        found(|root| File::open(root.join("etc/empty")).unwrap().set_modified(std::time::SystemTime::now()).unwrap());
    assert_eq!(touched, "\"etc/empty\": its modification time is another");
    let xattr = |name: &'static str, value: &'static str| {
        move |root: &Path| {
            rustix::fs::setxattr(root.join("noted"), name, value.as_bytes(), XattrFlags::empty()).unwrap()
        }
    };
    for (name, value) in [("user.note", "changed"), ("user.more", "x")] {
        assert_eq!(found(xattr(name, value)), "\"noted\": its extended attributes are others");
    }
    let opaque = found(|root| rustix::fs::removexattr(root.join("a"), "user.overlay.opaque").unwrap());
    assert_eq!(opaque, "\"a\": its extended attributes are others");
    if can_chown() {
        let owner = found(|root| std::os::unix::fs::chown(root.join("etc/empty"), Some(7), Some(8)).unwrap());
        assert_eq!(owner, "\"etc/empty\": its owner is 7:8 instead of 0:0");
    }
}

#[test]
fn hard_links() {
    let apart = found(|root| {
        let time = fs::metadata(root.join("etc")).unwrap().modified().unwrap();
        let of_file = fs::metadata(root.join("etc/passwd")).unwrap().modified().unwrap();
        fs::remove_file(root.join("etc/passwd-")).unwrap();
        fs::copy(root.join("etc/passwd"), root.join("etc/passwd-")).unwrap();
        File::open(root.join("etc/passwd-")).unwrap().set_modified(of_file).unwrap();
        File::open(root.join("etc")).unwrap().set_modified(time).unwrap();
    });
    assert!(apart.ends_with("its hard links are others"), "{apart}");
}

#[test]
fn what_is_damaged_is_taken_away_and_comes_again() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::ensure(data.path()).unwrap();
    let image = import_oci(&store, &[layer()], "{}", &["name"]).unwrap();
    let tree = store.tree(&image.layers[0], &map()).unwrap().unwrap();
    assert!(!store.discard_tree(&image.layers[0], &map(), &AsUser).unwrap(), "somebody uses it");
    drop(tree);
    for _ in 0..2 {
        assert!(store.discard_tree(&image.layers[0], &map(), &AsUser).unwrap());
        assert!(store.tree(&image.layers[0], &map()).unwrap().is_none());
    }
    let config = image.blobs.last().unwrap().digest;
    for _ in 0..2 {
        assert!(store.discard_blob(&config).unwrap());
        assert!(store.blob(&config).unwrap().is_none());
    }
    import_oci(&store, &[layer()], "{}", &["name"]).unwrap();
    assert!(look(&store, &image).iter().all(Result::is_ok));

    fs::write(data.path().join("store/images").join(format!("{}.json", image.id.file_name())), "{").unwrap();
    let bad = store.list().unwrap().bad;
    let id = bad[0].damaged_image().expect("it names its image");
    store.set_record_aside(&id).unwrap();
    assert!(store.list().unwrap().bad.is_empty());
}
