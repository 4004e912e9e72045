//! What is trusted for what, and who may say so.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn prefix(text: &str) -> Scope {
    Scope::Prefix(text.parse().unwrap())
}

fn name(text: &str) -> AcIdentifier {
    text.parse().unwrap()
}

/// Three configuration directories with these files (path below the directory's `trustedkeys`, content).
fn keystore(files: &[(usize, &str, &str)]) -> (tempfile::TempDir, Keystore) {
    let root = tempfile::tempdir().unwrap();
    let dirs = ["system", "local", "user"].map(|dir| root.path().join(dir));
    for (dir, path, content) in files {
        let path = dirs[*dir].join("trustedkeys").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let keystore = Keystore::new(dirs.iter().map(PathBuf::as_path));
    (root, keystore)
}

#[test]
fn reg_09_prefixes_match_whole_components() {
    let scope = prefix("example.com/foo");
    for (image, covered) in [
        ("example.com/foo", true),
        ("example.com/foo/x", true),
        ("example.com/foobar", false),
        ("example.com/fo", false),
        ("example.com", false),
        ("example.com/x/foo", false),
        ("example.community/foo", false),
    ] {
        assert_eq!(scope.covers(&name(image)), covered, "{image}");
        assert!(Scope::Root.covers(&name(image)));
    }
    // What is no identifier never gets here.
    for image in ["example.com/foo/", "example.com/FOO", "example.com/foo%2fx", "exämple.com/foo"] {
        assert!(image.parse::<AcIdentifier>().is_err(), "{image}");
    }
}

#[test]
fn every_directory_and_prefix_counts() {
    let (_root, keystore) = keystore(&[
        (0, &format!("root.d/{A}"), "a"),
        (2, &format!("prefix.d/example.com/foo/{B}"), "b"),
        (1, &format!("prefix.d/other.org/{B}"), "b"),
    ]);
    let trust = keystore.read().unwrap();
    assert!(trust.trusts(A, &name("anything/at/all")));
    assert!(trust.trusts(B, &name("example.com/foo/bar")));
    assert!(trust.trusts(B, &name("other.org")));
    assert!(!trust.trusts(B, &name("example.com")));
    assert_eq!(trust.scopes(B), [&prefix("example.com/foo"), &prefix("other.org")]);
    let keys: Vec<_> = trust.keys().unwrap().into_iter().map(|key| (key.fingerprint, key.bytes)).collect();
    assert_eq!(keys, [(A.to_owned(), b"a".to_vec()), (B.to_owned(), b"b".to_vec())]);
}

#[test]
fn an_empty_file_takes_trust_away() {
    let (_root, keystore) = keystore(&[
        (0, &format!("root.d/{A}"), "a"),
        (0, &format!("root.d/{B}"), "b"),
        (1, &format!("root.d/{A}"), ""),
        (2, &format!("prefix.d/example.com/{B}"), ""),
        (0, &format!("prefix.d/example.com/sub/{B}"), "b"),
    ]);
    let trust = keystore.read().unwrap();
    assert!(!trust.trusts(A, &name("x")), "masked by a later directory");
    assert!(trust.trusts(B, &name("x")));
    assert!(!trust.trusts(B, &name("example.com/app")), "masked for a prefix");
    assert!(trust.trusts(B, &name("example.com/sub/app")), "the longest prefix decides");
    assert_eq!(trust.trusted().count(), 2);
}

#[test]
fn foreign_files_mean_nothing_and_are_told_of() {
    let (root, keystore) = keystore(&[
        (1, "root.d/key.asc", "x"),
        (1, &format!("root.d/.{A}.5"), "x"),
        (1, &format!("root.d/folder/{A}"), "x"),
        (1, &format!("prefix.d/{A}"), "x"),
        (1, &format!("prefix.d/Not-A-Name/{A}"), "x"),
        (1, &format!("root.d/{}", A.to_uppercase()), "x"),
    ]);
    let trust = keystore.read().unwrap();
    assert_eq!(trust.trusted().count(), 0);
    let mut strangers: Vec<_> = trust.strangers().iter().map(|p| p.file_name().unwrap()).collect();
    strangers.sort();
    assert_eq!(strangers, [A.to_uppercase().as_str(), A, "key.asc"]);
    drop(root);
}

#[test]
fn keys_that_others_could_have_written_are_refused() {
    let (root, keystore) = keystore(&[(1, &format!("root.d/{A}"), "a")]);
    let file = root.path().join("local/trustedkeys/root.d").join(A);
    fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    let error = keystore.read().unwrap_err().to_string();
    assert!(error.ends_with("can be written by everybody") && error.contains(A), "{error}");
}

#[test]
fn added_keys_are_readable_and_removal_masks_what_is_not_ones_own() {
    let (root, keystore) = keystore(&[(0, &format!("prefix.d/example.com/{A}"), "a")]);
    let user = root.path().join("user");
    let (scope, other) = (prefix("example.com"), prefix("example.com/b"));
    let path = add(&user, &other, B, "b").unwrap();
    assert_eq!(path, user.join("trustedkeys/prefix.d/example.com/b").join(B));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o755);
    assert!(keystore.read().unwrap().has(&other));

    remove(&keystore, &user, &other, B).unwrap();
    assert!(!path.exists() && !keystore.read().unwrap().has(&other));
    assert!(!path.parent().unwrap().exists(), "the folder goes with its last key");
    let mask = remove(&keystore, &user, &scope, A).unwrap();
    assert_eq!(fs::metadata(&mask).unwrap().len(), 0);
    assert!(!keystore.read().unwrap().has(&scope));
    assert!(matches!(remove(&keystore, &user, &scope, A), Err(KeystoreError::Absent { .. })));
    // Trusting it again replaces the mask.
    add(&user, &scope, A, "a").unwrap();
    assert!(keystore.read().unwrap().has(&scope));
    assert_eq!(fs::read_dir(mask.parent().unwrap()).unwrap().count(), 1, "no draft is left");
}
