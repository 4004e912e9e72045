//! Signatures and keys of servers.

use integration_tests::needs;
use integration_tests::site::Answer;

use crate::{AT, URL, World, place};

#[test]
fn unsigned_and_tampered_images_of_servers_are_refused() {
    let world = needs!(World::new());
    let mut bytes = world.publish("1.0.0", AT);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    world.net.site.file(AT, bytes);
    world.fetch(&[URL]).rejects("bad signature of key");
    // A signature that is none, or nobody's, is known before the image is downloaded.
    world.net.site.page(&format!("{AT}.asc"), Answer::ok("no signature"));
    world.fetch(&[URL]).rejects("no OpenPGP signature");
    world.net.site.page(&format!("{AT}.asc"), Answer::ok(vec![b'x'; 100_000]));
    world.fetch(&[URL]).rejects("more than 65536 bytes");
    world.gpg.key("stranger", "ed25519", "never");
    let file = world.image("1.0.0");
    let signature = world.gpg.sign(&world.net.env, "stranger", &file);
    world.net.site.file(&format!("{AT}.asc"), std::fs::read(signature).expect("it was just written"));
    world.fetch(&[URL]).rejects("which is not trusted");
    world.net.site.page(&format!("{AT}.asc"), Answer::status(404));
    world.fetch(&[URL]).refuses("error downloading the signature file: ").stderr_shows("bad HTTP status code: 404");
    assert_eq!(std::fs::read_dir(world.net.env.data().join("store/images")).expect("a store").count(), 0);

    // Without a signature on the operator's word. That does not make it signed for the next one who asks.
    let bytes = std::fs::read(&file).expect("it is ours");
    world.net.site.file(AT, bytes);
    world.net.proa(&["--insecure-options=image", "fetch", URL]).succeeds();
    world.fetch(&["--pull-policy=new", URL]).rejects("bad HTTP status code: 404");
    // A signature of one's own.
    let own = world.gpg.sign(&world.net.env, "maker", &file);
    world.fetch(&["--signature", own.to_str().expect("UTF-8"), URL]).succeeds();
}

#[test]
fn deferred_signatures_are_asked_for_again_behind_the_image() {
    let world = needs!(World::new());
    world.publish("1.0.0", AT);
    let file = world.image("1.0.0");
    let signature = std::fs::read(world.gpg.sign(&world.net.env, "maker", &file)).expect("it was just written");
    let mut asked = 0;
    world.net.site.route(&format!("{AT}.asc"), move |_| {
        asked += 1;
        if asked == 1 { Answer::status(202) } else { Answer::ok(signature.clone()) }
    });
    let outcome = world.fetch(&[URL]).succeeds();
    assert!(outcome.stderr.contains("server requested deferring the signature download"), "{outcome}");
    assert!(outcome.stderr.contains("signature verified:"), "{outcome}");
    assert_eq!(world.urls(), [AT.to_owned(), format!("{AT}.asc"), format!("{AT}.asc")]);
    // For ever is too long.
    world.publish("2.0.0", AT);
    world.net.site.page(&format!("{AT}.asc"), Answer::status(202));
    world.fetch(&[URL]).exits(254).stderr_shows("server asked to defer the download again");
}

#[test]
fn keys_of_a_host_are_trusted_only_with_the_flag() {
    let world = needs!(World::new());
    let fingerprint = world.gpg.fingerprints("maker").remove(0);
    world.net.env.proa(["trust", "--root", "--remove", &fingerprint]).outcome().succeeds();
    world.publish("1.0.0", &place("latest"));
    world.net.site.page("example.com/pubkeys.gpg", Answer::ok(world.gpg.run(["--armor", "--export", "maker"])));
    world.fetch(&["appc://example.com/app"]).rejects("no key is trusted");
    assert!(!world.urls().iter().any(|it| it.contains("pubkeys")), "nobody is there to look at fingerprints");
    let outcome = world.net.proa(&["--trust-keys-from-https", "fetch", "appc://example.com/app"]).succeeds();
    assert!(outcome.stderr.contains("Trusting \"https://example.com/pubkeys.gpg\""), "{outcome}");
    assert!(outcome.stderr.contains("for prefix \"example.com/app\" without fingerprint review."), "{outcome}");
    world.urls();
    // There are keys now: no others are fetched.
    world.publish("2.0.0", &place("latest"));
    let again = ["--debug", "--trust-keys-from-https", "fetch", "appc://example.com/app"];
    let outcome = world.net.proa(&again).succeeds();
    assert!(outcome.stderr.contains("keys already exist for prefix"), "{outcome}");
    assert!(!world.urls().iter().any(|it| it.contains("pubkeys")));
}
