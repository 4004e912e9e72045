//! Images by name: which URL is asked for, and which of those that are stored counts.

use integration_tests::needs;

use crate::{TAGS, World, place};

#[test]
fn an_image_is_fetched_by_name() {
    let world = needs!(World::new());
    let at = place("latest");
    world.publish("1.2.3", &at);
    let name = "appc://example.com/app";
    let id = world.fetch(&[name]).succeeds().line().to_owned();
    let page = "example.com/app?ac-discovery=1".to_owned();
    assert_eq!(world.urls(), [page.clone(), at.clone(), format!("{at}.asc")]);
    // A name without a scheme, whose host is no registry.
    for name in ["appc://example.com/app", "example.com/app", "example.com/app:1.2.3", "example.com/app,os=linux"] {
        world.runs(name).prints("version 1.2.3\n");
    }
    assert_eq!(world.urls(), Vec::<String>::new(), "it is stored");
    world.net.proa(&["image", "rm", &id]).succeeds();
    world.runs("example.com/app").prints("version 1.2.3\n");
    let urls = world.urls();
    assert!(urls.contains(&page) && urls.iter().any(|it| it.ends_with("/v2/")), "{urls:?}");
    // Only what is stored.
    world.net.proa(&["run", "--pull-policy=never", "--net=none", "appc://example.com/none"]).rejects("is stored");
    world.net.proa(&["run", "--pull-policy=never", "--net=none", "https://example.com/none.aci"]).rejects("is stored");
    assert_eq!(world.urls(), Vec::<String>::new());
}

#[test]
fn another_image_than_was_asked_for_is_refused() {
    let world = needs!(World::new());
    // The server gives 1.2.3 whatever it is asked for.
    for version in ["2.0.0", "1.2.3"] {
        world.publish("1.2.3", &place(version));
    }
    world
        .fetch(&["appc://example.com/app:2.0.0"])
        .rejects("requested value for label \"version\": \"2.0.0\" differs from fetched aci label value: \"1.2.3\"");
    world.net.page(
        "example.com/other",
        &[&format!(r#"name="ac-discovery" content="example.com https://{}#{{ext}}""#, place("1.2.3")), TAGS[1]],
    );
    let other = ["--insecure-options=image", "fetch", "appc://example.com/other"];
    world
        .net
        .proa(&other)
        .rejects("error when reading the app name: \"example.com/other\" expected but \"example.com/app\" found");
    world
        .fetch(&["appc://example.com/app:1.2.3,channel=alpha"])
        .rejects("requested label \"channel\" not provided by the image manifest");
    assert_eq!(std::fs::read_dir(world.net.env.data().join("store/images")).expect("a store").count(), 0);
    world.fetch(&["appc://example.com/app:1.2.3"]).succeeds();
}

#[test]
fn what_was_fetched_as_the_latest_counts_when_no_version_is_asked_for() {
    let world = needs!(World::new());
    world.publish("2.0.1", &place("latest"));
    world.publish("1.0.0", &place("1.0.0"));
    world.fetch(&["appc://example.com/app"]).succeeds();
    world.fetch(&["appc://example.com/app:1.0.0"]).succeeds();
    let runs = |name: &str, version: &str| {
        world.net.proa(&["run", "--net=none", name]).succeeds().prints(&format!("version {version}\n"));
    };
    for name in ["example.com/app", "appc://example.com/app", "example.com/app,os=linux"] {
        runs(name, "2.0.1");
    }
    runs("example.com/app:1.0.0", "1.0.0");
    runs("appc://example.com/app:1.0.0", "1.0.0");
    runs("appc://example.com/app:2.0.1", "2.0.1");
    // The other way round: then nothing was fetched as the latest, and the last one counts.
    for name in ["example.com/app:1.0.0", "example.com/app:2.0.1"] {
        world.net.proa(&["image", "rm", name]).succeeds();
    }
    world.publish("2.0.1", &place("2.0.1"));
    world.fetch(&["appc://example.com/app:2.0.1"]).succeeds();
    world.fetch(&["appc://example.com/app:1.0.0"]).succeeds();
    runs("example.com/app", "1.0.0");
}

#[test]
fn endpoints_are_tried_in_order_until_one_has_the_image() {
    let world = needs!(World::new());
    let tags = [
        r#"name="ac-discovery" content="example.com https://gone.example.com/{name}.{ext}""#,
        r#"name="ac-discovery" content="example.com hdfs://dist.example.com/{name}.{ext}""#,
        TAGS[0],
        r#"name="ac-discovery" content="example.com https://never.example.com/{name}.{ext}""#,
    ];
    world.net.page("example.com/app", &tags);
    world.publish("1.0.0", &place("latest"));
    world.fetch(&["appc://example.com/app"]).succeeds();
    let urls = world.urls();
    assert!(
        urls.iter().any(|it| it.starts_with("gone.")) && !urls.iter().any(|it| it.starts_with("never.")),
        "{urls:?}"
    );
    // One error when none has it.
    world.net.page("example.com/app", &tags[..2]);
    world
        .fetch(&["appc://example.com/app"])
        .rejects("https://gone.example.com/example.com/app.aci: bad HTTP status code: 404");
}
