//! Keys that discovery finds, and where it leads nobody.

use integration_tests::site::Answer;
use integration_tests::{Gpg, Outcome, needs};

use crate::{KEYS, World};

/// `proa trust` with an answer for every fingerprint.
fn trust(world: &World, args: &[&str]) -> Outcome {
    let fixed = ["trust", "--skip-fingerprint-review"];
    world.with(world.env.proa(fixed.iter().chain(args))).outcome()
}

#[test]
fn keys_are_trusted_by_discovery_and_by_url() {
    let world = needs!(World::new());
    let gpg = needs!(Gpg::new());
    gpg.key("maker", "ed25519", "never");
    let key = gpg.run(["--armor", "--export", "maker"]);
    let fingerprint = gpg.fingerprints("maker").remove(0);
    let listed = |prefix: &str| {
        let list = world.env.proa(["trust", "--list"]).outcome().succeeds();
        list.stdout.lines().any(|line| line.contains(&fingerprint) && line.contains(prefix))
    };
    world.site.page("example.com/pubkeys.gpg", Answer::ok(key.clone()));
    world.page("example.com/", &[KEYS]);
    let outcome = trust(&world, &["--prefix=example.com/app"]).succeeds();
    assert!(outcome.stderr.contains("key: \"https://example.com/pubkeys.gpg\"\n"), "{outcome}");
    assert!(listed("example.com/app"));
    let outcome = trust(&world, &["--prefix=other.org", "https://example.com/pubkeys.gpg"]).succeeds();
    assert!(outcome.stderr.contains("Added key for prefix \"other.org\" at \""), "{outcome}");
    assert!(listed("other.org"));

    // What does not work, and says so.
    trust(&world, &["--root"]).rejects("error determining key location: empty prefix");
    trust(&world, &["--prefix=nothing.example.com"])
        .rejects("error determining key location: prefix meta discovery error");
    trust(&world, &["--root", "http://example.com/pubkeys.gpg"])
        .rejects("--insecure-allow-http required for http URLs");
    trust(&world, &["--root", "ftp://example.com/pubkeys.gpg"]).rejects("only local files and http or https URLs");
    trust(&world, &["--root", "https://example.com/none"]).rejects("404");
    assert!(!listed("(root)"));
    trust(&world, &["--root", "--insecure-allow-http", "http://example.com/pubkeys.gpg"]).succeeds();
    assert!(listed("(root)"));
    // A key that is larger than any, a page instead of one, a certificate nobody trusts.
    world.site.page("example.com/large", Answer::ok(vec![b'x'; (1 << 20) + 1]));
    trust(&world, &["--root", "https://example.com/large"]).rejects("more than 1048576 bytes");
    trust(&world, &["--root", "https://example.com/"]).rejects("no OpenPGP public key");
    let line = world.with(world.env.proa(["trust", "--prefix=example.com/x", "--skip-fingerprint-review"]));
    line.without_var("SSL_CERT_FILE").outcome().rejects("certificate");
}

/// A page out there must not make us look around in here.
#[test]
fn reg_04_certificates_count_on_every_way() {
    let world = needs!(World::new());
    // The certificate is good for one name below example.com, not for two, nor for anything else.
    let templates = [
        r#"name="ac-discovery" content="example.com/image https://a.b.example.com/{name}.{ext}""#,
        r#"name="ac-discovery" content="example.com/signature https://{ext}.example.com/image""#,
        r#"name="ac-discovery-pubkeys" content="example.com https://a.b.example.com/keys""#,
    ];
    world.page("example.com/", &templates);
    world.site.page("aci.example.com/image", Answer::ok("whatever"));
    let wrong_name = |outcome: Outcome| {
        outcome.exits(254).stderr_shows("the certificate is not trusted: it is for localhost, 127.0.0.1, example.com")
    };
    wrong_name(world.proa(&["fetch", "appc://wrong.net/app"]));
    wrong_name(world.proa(&["fetch", "https://wrong.net/app.aci"]));
    wrong_name(world.proa(&["fetch", "appc://example.com/image"]));
    wrong_name(world.proa(&["fetch", "appc://example.com/signature"]));
    wrong_name(trust(&world, &["--prefix=wrong.net/app"]));
    wrong_name(trust(&world, &["--prefix=example.com"]));
    wrong_name(trust(&world, &["--root", "https://wrong.net/keys"]));
    let hits = world.site.hits();
    let good = |host: &str| host == "example.com" || host == "aci.example.com";
    assert!(hits.iter().all(|hit| hit.scheme == "https" && good(&hit.host)), "{hits:?}");
    // The same with an authority that nobody trusts: nothing is asked for at all.
    for args in [
        &["fetch", "appc://example.com/image"][..],
        &["fetch", "https://aci.example.com/image"],
        &["trust", "--prefix=example.com"],
        &["trust", "--root", "https://example.com/keys"],
    ] {
        let line = world.with(world.env.proa(args)).without_var("SSL_CERT_FILE");
        line.outcome().exits(254).stderr_shows("the certificate is not trusted");
    }
    assert_eq!(world.site.hits(), []);
}

#[test]
fn reg_10_discovered_urls_lead_to_no_internal_address() {
    let world = needs!(World::new());
    for target in [
        "https://127.0.0.1/keys",
        "https://[::1]/keys",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/keys",
        "https://0.0.0.0/keys",
        "https://2130706433/keys",
        "https://[::ffff:127.0.0.1]/keys",
    ] {
        world.page("example.com/", &[&format!(r#"name="ac-discovery-pubkeys" content="example.com {target}""#)]);
        trust(&world, &["--prefix=example.com"]).rejects("internal address");
    }
    for target in ["file:///etc/passwd", "/etc/passwd", "ftp://x/y"] {
        world.page("example.com/", &[&format!(r#"name="ac-discovery-pubkeys" content="example.com {target}""#)]);
        let outcome = trust(&world, &["--prefix=example.com"]).exits(254);
        assert!(!outcome.stderr.contains("root:x"), "{outcome}");
        assert!(outcome.stderr.contains(target), "{outcome}");
    }
    world.page("example.com/", &[r#"name="ac-discovery-pubkeys" content="example.com http://example.com/keys""#]);
    trust(&world, &["--prefix=example.com"]).rejects("--insecure-allow-http required");
    assert!(world.site.hits().iter().all(|hit| hit.host == "example.com"));
}
