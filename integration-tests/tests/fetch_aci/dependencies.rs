//! Images that depend on others.

use integration_tests::images::{Aci, Tree, busybox, sha512};
use integration_tests::needs;
use integration_tests::site::Answer;
use serde_json::json;

use crate::{TAGS, World, arch};

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
