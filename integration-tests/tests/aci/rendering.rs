//! `render`: an image file and its dependencies become what an app would see.

use std::fs;
use std::path::Path;

use integration_tests::images::{Aci, Tree};
use integration_tests::{Env, Outcome, each_user};
use serde_json::{Value, json};

use crate::aci;

each_user! {
    a_later_dependency_covers_an_earlier_one,
    lists_of_paths_leave_out,
    dependencies_come_from_the_store_and_nothing_goes_there,
    what_cannot_be_rendered_leaves_nothing,
    large_images_leave_nothing_either,
}

/// An image of this name, which depends on those and keeps these paths.
fn image(env: &Env, name: &str, tree: Tree, dependencies: &[&str], whitelist: &[&str]) -> String {
    let dependencies: Value =
        dependencies.iter().map(|it| json!({ "imageName": format!("example.com/{it}") })).collect();
    let file = Aci::new(name, tree).manifest(|manifest| {
        manifest["dependencies"] = dependencies;
        manifest["pathWhitelist"] = json!(whitelist);
    });
    file.build(env).to_str().expect("UTF-8").to_owned()
}

fn render(env: &Env, args: &[&str]) -> Outcome {
    aci(env, [&["render"], args].concat())
}

/// The content of a file below the test's folder.
fn read(env: &Env, path: &str) -> String {
    fs::read_to_string(env.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("it is there");
    let mut names: Vec<_> = entries.map(|it| it.expect("readable").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

fn a_later_dependency_covers_an_earlier_one(env: &Env) {
    // A needs B and C, C needs D: what is in several comes from A, else C, else D, else B.
    let file = |names: &[&str], content: &str| {
        names.iter().fold(Tree::new(), |tree, name| tree.file(*name, format!("{content}\n"), 0o644))
    };
    let a = image(env, "a", file(&["abcd"], "a"), &["b", "c"], &[]);
    let b = image(env, "b", file(&["abcd", "bcd", "bd", "b"], "b"), &[], &[]);
    let c = image(env, "c", file(&["abcd", "bcd", "cd"], "c").dir("kept", 0o701), &["d"], &[]);
    let d = image(env, "d", file(&["abcd", "bcd", "bd", "cd", "d"], "d"), &[], &[]);
    render(env, &["--with", &b, "--with", &c, "--with", &d, &a, "out"]).succeeds().quietly();
    assert_eq!(names(&env.path("out")), ["manifest", "rootfs"]);
    assert_eq!(names(&env.path("out/rootfs")), ["abcd", "b", "bcd", "bd", "cd", "d", "kept"]);
    for (name, from) in [("abcd", "a"), ("bcd", "c"), ("bd", "d"), ("b", "b"), ("cd", "c"), ("d", "d")] {
        assert_eq!(read(env, &format!("out/rootfs/{name}")), format!("{from}\n"), "{name}");
    }
    let manifest: Value = serde_json::from_str(&read(env, "out/manifest")).expect("JSON");
    assert_eq!(manifest["name"], "example.com/a");
    // Once more in its place, as a root file system.
    render(env, &["--with", &b, "--with", &c, "--with", &d, &a, "out"]).rejects("output directory exists");
    let again = ["--overwrite", "--rootfs-only", "--with", &b, "--with", &c, "--with", &d, &a, "out"];
    render(env, &again).succeeds().quietly();
    assert_eq!(read(env, "out/cd"), "c\n");
}

fn lists_of_paths_leave_out(env: &Env) {
    let base = Tree::new().file("keep", "x", 0o600).file("drop", "x", 0o644).dir("d", 0o755).file("d/f", "x", 0o644);
    let base = image(env, "base", base, &[], &["/keep", "/drop", "/d/f"]);
    let top = Tree::new().file("own", "x", 0o644).file("own-dropped", "x", 0o644);
    let top = image(env, "top", top, &["base"], &["/own", "/keep", "/d/f"]);
    render(env, &["--rootfs-only", "--with", &base, &top, "out"]).succeeds().quietly();
    assert_eq!(names(&env.path("out")), ["d", "keep", "own"]);
    assert_eq!(names(&env.path("out/d")), ["f"]);
}

fn dependencies_come_from_the_store_and_nothing_goes_there(env: &Env) {
    let base = image(env, "base", Tree::new().file("base", "stored\n", 0o644), &[], &[]);
    env.store(&base);
    let app = image(env, "app", Tree::new().file("app", "x", 0o644), &["base"], &[]);
    let store = || names(&env.data().join("store/images"));
    let before = store();
    render(env, &[&app, "out"]).succeeds().quietly();
    assert_eq!(read(env, "out/rootfs/base"), "stored\n");
    assert_eq!(store(), before);
    // What is given counts more than what is stored.
    let other = image(env, "base", Tree::new().file("base", "given\n", 0o644), &[], &[]);
    render(env, &["--overwrite", "--with", &other, &app, "out"]).succeeds().quietly();
    assert_eq!(read(env, "out/rootfs/base"), "given\n");
    assert_eq!(store(), before);
}

fn what_cannot_be_rendered_leaves_nothing(env: &Env) {
    let before = names(&env.path(""));
    let a = image(env, "a", Tree::new(), &["b"], &[]);
    render(env, &[&a, "out"]).refuses("example.com/a depends on example.com/b").stderr_shows("--with=FILE.aci");
    let b = image(env, "b", Tree::new(), &["a"], &[]);
    render(env, &["--with", &b, &a, "out"])
        .refuses("dependency cycle: example.com/a -> example.com/b -> example.com/a");
    render(env, &["--with", "nosuch.aci", &a, "out"]).refuses("nosuch.aci");
    render(env, &[&a, "nosuch/out"]).rejects("nosuch");
    env.write("text.aci", "no image");
    render(env, &["text.aci", "out"]).refuses("text.aci");
    fs::remove_file(env.path("text.aci")).expect("it is ours");
    let added = |name: &String| !before.contains(name) && !["images", "data", "tmp"].contains(&name.as_str());
    assert_eq!(names(&env.path("")).into_iter().filter(added).collect::<Vec<_>>(), Vec::<String>::new());
}

/// Images that are unpacked by several threads.
fn large_images_leave_nothing_either(env: &Env) {
    let large = image(env, "large", Tree::new().file("large", vec![7; 3 << 20], 0o644), &[], &[]);
    let before = names(&env.path(""));
    render(env, &[&large, "out"]).succeeds().quietly();
    assert_eq!(fs::metadata(env.path("out/rootfs/large")).expect("it is there").len(), 3 << 20);
    let mut after = names(&env.path(""));
    after.retain(|name| name != "out");
    assert_eq!(after, before);
}
