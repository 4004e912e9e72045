//! App Container discovery against a web site: `proa aci discover`, `actool discover`.

mod keys;

use std::ffi::OsString;

use integration_tests::site::{Answer, Internet};
use integration_tests::{Outcome, binaries, needs};
use serde_json::{Value, json};

struct World(Internet);

impl std::ops::Deref for World {
    type Target = Internet;

    fn deref(&self) -> &Internet {
        &self.0
    }
}

impl World {
    fn new() -> Result<Self, integration_tests::needs::Why> {
        Internet::new().map(Self)
    }

    /// `proa aci discover --no-default-labels`, which is what the library does.
    fn discover(&self, args: &[&str]) -> Outcome {
        let fixed = ["aci", "discover", "--no-default-labels"];
        self.with(self.env.proa(fixed.iter().chain(args))).outcome()
    }

    /// `actool discover`.
    fn actool(&self, args: &[&str]) -> Outcome {
        let link = self.env.path("actool");
        if !link.exists() {
            std::os::unix::fs::symlink(binaries::proa(), &link).expect("the folder is ours");
        }
        let args = std::iter::once("discover").chain(args.iter().copied()).map(OsString::from).collect();
        self.with(self.env.command(link, args)).outcome()
    }
}

const BOTH: [&str; 2] = [IMAGES, KEYS];
const IMAGES: &str =
    r#"name="ac-discovery" content="example.com https://storage.example.com/{name}-{version}-{os}-{arch}.{ext}""#;
const KEYS: &str = r#"name="ac-discovery-pubkeys" content="example.com https://example.com/pubkeys.gpg""#;

fn image(name: &str, version: &str) -> String {
    format!("https://storage.example.com/{name}-{version}-linux-amd64")
}

fn endpoint(url: &str) -> String {
    format!("ACI: {url}.aci, ASC: {url}.aci.asc\n")
}

/// One scenario: pages by path, the name, and what is printed; `None` where it must fail, and for lack of what.
type Scenario = (&'static [(&'static str, &'static [&'static str])], &'static str, Result<Vec<String>, &'static str>);

#[test]
fn scenarios_of_discovery() {
    const FULL: &str = "example.com/myapp:1.0.0,os=linux,arch=amd64";
    const MANY: &[&str] = &[
        r#"name="ac-discovery" content="example.com https://storage.example.com/{name}-{os}-{arch}-{other}.{ext}""#,
        r#"name="ac-discovery" content="example.com https://storage.example.com/{name}-{version}.{ext}?torrent""#,
        r#"name="ac-discovery" content="example.com hdfs://storage.example.com/{name}-{version}.{ext}""#,
        r#"name="ac-discovery" content="other.org https://other.org/{name}-{version}.{ext}""#,
        r#"name="ac-discovery" content="example.com https://mirror.example.com/{name}-{version}-{os}.{ext}""#,
        KEYS,
    ];
    let many = |version: &str| {
        vec![
            format!(
                "ACI: https://storage.example.com/example.com/myapp-{version}.aci?torrent, \
                 ASC: https://storage.example.com/example.com/myapp-{version}.aci.asc?torrent\n"
            ),
            endpoint(&format!("hdfs://storage.example.com/example.com/myapp-{version}")),
        ]
    };
    let found = |name| Ok(vec![endpoint(&image(name, "1.0.0"))]);
    let scenarios: Vec<Scenario> = vec![
        // Both at the name itself, at a parent, nowhere.
        (&[("/myapp", &BOTH)], FULL, found("example.com/myapp")),
        (&[("/", &BOTH)], "example.com/myapp/foobar:1.0.0,os=linux,arch=amd64", found("example.com/myapp/foobar")),
        (&[("/elsewhere", &BOTH)], "example.com/myapp/foobar/bazzer:1.0.0,os=linux,arch=amd64", Err("endpoints")),
        // Images and keys are looked for independently.
        (&[("/", &[IMAGES]), ("/myapp", &[KEYS])], FULL, found("example.com/myapp")),
        (&[("/", &[KEYS]), ("/myapp", &[IMAGES])], FULL, found("example.com/myapp")),
        (&[("/", &[IMAGES])], FULL, Err("public keys")),
        (&[("/", &[KEYS])], FULL, Err("endpoints")),
        // The nearest page counts.
        (
            &[
                ("/", &[r#"name="ac-discovery" content="example.com https://far.example.com/{name}.{ext}""#, KEYS]),
                ("/myapp", &[IMAGES]),
            ],
            FULL,
            found("example.com/myapp"),
        ),
        // Templates: those that the labels complete, in the order of the page, whatever their scheme.
        (&[("/myapp", MANY)], "example.com/myapp:1.0.0", Ok(many("1.0.0"))),
        (&[("/myapp", MANY)], "example.com/myapp", Ok(many("latest"))),
        (
            &[("/myapp", MANY)],
            "example.com/myapp:1.0.0,os=linux",
            Ok([many("1.0.0"), vec![endpoint("https://mirror.example.com/example.com/myapp-1.0.0-linux")]].concat()),
        ),
        (&[("/myapp", &BOTH)], "example.com/myapp:1.0.0,os=linux", Err("endpoints")),
        (
            &[(
                "/myapp",
                &[r#"name="ac-discovery" content="example.com https://example.com/fixed-{version}.{ext}""#, KEYS],
            )],
            FULL,
            Ok(vec![endpoint("https://example.com/fixed-1.0.0")]),
        ),
    ];
    let world = needs!(World::new());
    for (pages, name, expected) in scenarios {
        for place in ["/", "/myapp", "/myapp/foobar", "/elsewhere"] {
            world.site.page(place, Answer::status(404));
        }
        pages.iter().for_each(|(place, tags)| world.page(place, tags));
        let outcome = world.discover(&[name]);
        match expected {
            Ok(lines) => {
                let keys = "PublicKeys: https://example.com/pubkeys.gpg\n";
                drop(outcome.succeeds().prints(&(lines.concat() + keys)));
            }
            Err(missing) => {
                let outcome = outcome.rejects("discovery failed");
                assert_eq!(outcome.stdout, "", "{outcome}");
                assert_eq!(missing == "public keys", outcome.stderr.contains("public keys"), "{outcome}");
            }
        }
    }
}

#[test]
fn a_label_called_name_is_not_the_name() {
    // It cannot be written in an app string, where `name` is the name: a second one is refused.
    let world = needs!(World::new());
    world.discover(&["example.com/myapp,name=other"]).rejects("label name with multiple values");
}

#[test]
fn app_strings() {
    let world = needs!(World::new());
    world.page("/", &BOTH);
    for good in ["example.com/reduce-worker:1.0.0", "example.com/reduce-worker,channel=alpha,label=value"] {
        let args = [good.to_owned() + ",os=linux,arch=amd64"];
        world.discover(&[&args[0]]).succeeds();
    }
    let special = "example.com/a:1,os=linux,arch=amd64,special=!*'();@&+$/?#[]";
    world.page("/a", &[r#"name="ac-discovery" content="example.com https://x/{special}.{ext}""#, KEYS]);
    world.discover(&[special]).succeeds().shows("ACI: https://x/!*'();@&+$/?#[].aci, ");
    for bad in [
        "not an app name",
        "example.com/app:1.2.3:4",
        "example.com/app,a=b:1",
        "example.com/app,version=1,version=2",
        "example.com/app:1,version=2",
        "garbage%8 939",
    ] {
        world.discover(&[bad]).rejects(bad);
        let outcome = world.actool(&[bad]).exits(1).prints("");
        assert!(outcome.stderr.starts_with(bad), "{outcome}");
    }
    world.discover(&["example.com/app,a=b:1"]).rejects("colon may appear only right after the app name");
    world.discover(&["example.com/app:1:2"]).rejects("colon may appear at most once");
}

#[test]
fn plain_http_only_with_the_flag_and_credentials_only_to_their_host() {
    let world = needs!(World::new());
    // HTTPS is broken, HTTP works: a certificate that nobody trusts does for that.
    let html: String = BOTH.iter().map(|it| format!("<meta {it}>")).collect();
    world.site.route("example.com/app", move |hit| match hit.scheme {
        "http" => Answer::ok(html.clone()),
        _ => Answer::status(404),
    });
    let name = "example.com/app:1.0.0,os=linux,arch=amd64";
    world.discover(&[name]).rejects("expected a 200 OK got 404");
    let urls = world.site.urls();
    assert!(urls.iter().all(|url| url.starts_with("https://")), "{urls:?}");
    world.discover(&["--insecure", name]).succeeds();
    let option = ["--insecure-options=http", "aci", "discover", "--no-default-labels", name];
    world.with(world.env.proa(option)).outcome().succeeds();
    world.site.hits();
    // No certificate, no HTTP behind the user's back.
    let untrusted = world.with(world.env.proa(["aci", "discover", name])).without_var("SSL_CERT_FILE").outcome();
    untrusted.rejects("certificate");
    assert_eq!(world.site.hits(), []);

    // Credentials go to their host, and not on with a redirect.
    world.page("app", &[]);
    world.site.page("example.com/app", Answer::redirect("https://other.org/app?ac-discovery=1"));
    let html: String = BOTH.iter().map(|it| format!("<meta {it}>")).collect();
    world.site.page("other.org/app", Answer::ok(html));
    let auth = json!({"rktKind": "auth", "rktVersion": "v1", "domains": ["example.com"], "type": "basic",
        "credentials": {"user": "me", "password": "canary"}});
    world.env.make_dir(&world.env.path("home/.config/proa/auth.d"));
    world.env.write("home/.config/proa/auth.d/a.json", auth.to_string());
    let outcome = world.discover(&[name]).succeeds();
    assert!(!outcome.stderr.contains("canary"), "{outcome}");
    let seen: Vec<_> =
        world.site.hits().into_iter().map(|hit| (hit.host.clone(), hit.header("authorization").is_some())).collect();
    assert_eq!(seen, [("example.com".to_owned(), true), ("other.org".to_owned(), false)]);
}

#[test]
fn a_prefix_ends_at_a_slash() {
    let world = needs!(World::new());
    let tags = [
        r#"name="ac-discovery" content="example.co https://x/1.{ext}""#,
        r#"name="ac-discovery" content="example.com/ap https://x/2.{ext}""#,
        r#"name="ac-discovery" content="example.com/app https://x/3.{ext}""#,
        r#"name="ac-discovery-pubkeys" content="example.com/ap https://x/keys""#,
        KEYS,
    ];
    world.page("example.com/app", &tags);
    world
        .discover(&["example.com/app"])
        .succeeds()
        .prints("ACI: https://x/3.aci, ASC: https://x/3.aci.asc\nPublicKeys: https://example.com/pubkeys.gpg\n");
}

#[test]
fn redirects_are_followed_but_never_down_to_http() {
    let world = needs!(World::new());
    let name = "example.com/app:1.0.0,os=linux,arch=amd64";
    world.page("example.com/there", &BOTH);
    world.site.page("example.com/app", Answer::redirect("/there?ac-discovery=1"));
    world.discover(&[name]).succeeds();
    world.site.page("example.com/app", Answer::redirect("http://example.com/there?ac-discovery=1"));
    world.site.hits();
    world.discover(&[name]).rejects("refused a redirect to http://example.com/there");
    assert!(world.site.hits().iter().all(|hit| hit.scheme == "https"));
    // Redirected for ever.
    world.site.page("example.com/app", Answer::redirect("/app"));
    world.discover(&[name]).rejects("too many redirects");
}

#[test]
fn an_unresolvable_host_fails_once() {
    let world = needs!(World::new());
    let name = "no-such-host.invalid/a/b/c/d";
    let outcome = world.env.proa(["aci", "discover", name]).outcome().rejects("no-such-host.invalid");
    assert_eq!(outcome.stderr.matches("cannot be found").count(), 1, "{outcome}");
    assert_eq!(outcome.stderr.matches("https://no-such-host.invalid").count(), 1, "{outcome}");
    let link = world.env.path("actool");
    std::os::unix::fs::symlink(binaries::proa(), &link).expect("the folder is ours");
    let outcome = world.env.command(link, vec!["discover".into(), name.into()]).outcome().exits(1);
    assert_eq!(outcome.stderr, format!("error fetching endpoints for {name}: discovery failed\n"));
    assert_eq!(outcome.stdout.lines().count(), 1, "{outcome}");
    assert!(outcome.stdout.starts_with(&format!("discover endpoints walk: prefix: {name} error: ")), "{outcome}");
}

#[test]
fn a_page_is_asked_for_once_and_parents_only_as_far_as_needed() {
    let world = needs!(World::new());
    world.page("example.com/a", &BOTH);
    world.discover(&["example.com/a/b/c:1,os=linux,arch=amd64"]).succeeds();
    let asked = ["a/b/c", "a/b", "a"].map(|it| format!("https://example.com/{it}?ac-discovery=1"));
    assert_eq!(world.site.urls(), asked);
}

#[test]
fn actool_discover() {
    let world = needs!(World::new());
    world.page("example.com/", &BOTH);
    let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "aarch64" };
    let url = format!("https://storage.example.com/example.com/app-1.0.0-linux-{arch}");
    world.actool(&["example.com/app:1.0.0"]).succeeds().quietly().prints(&format!(
        "discover endpoints walk: prefix: example.com/app error: expected a 200 OK got 404\n\
         discover public keys walk: prefix: example.com/app error: expected a 200 OK got 404\n\
         ACI: {url}.aci, ASC: {url}.aci.asc\nPublicKeys: https://example.com/pubkeys.gpg\n"
    ));
    for outcome in [
        world.actool(&["--json", "example.com/app:1.0.0"]).succeeds(),
        world.with(world.env.proa(["aci", "discover", "--json", "example.com/app:1.0.0"])).outcome().succeeds(),
    ] {
        assert!(
            outcome.stdout.starts_with("{\n    \"ACIEndpoints\": [\n        {\n            \"ACI\": "),
            "{outcome}"
        );
        let printed: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
        let expected = json!({
            "ACIEndpoints": [{"ACI": format!("{url}.aci"), "ASC": format!("{url}.aci.asc")}],
            "PublicKeys": ["https://example.com/pubkeys.gpg"],
        });
        assert_eq!(printed, expected);
    }
    world.actool(&[]).exits(0).prints("").stderr_shows("discover: at least one name required\n");
    world
        .actool(&["other.org/x"])
        .exits(1)
        .stderr_shows("error fetching endpoints for other.org/x: discovery failed\n");
    world.page("other.org/x", &[r#"name="ac-discovery" content="other.org https://x/{name}.{ext}""#]);
    let outcome = world.actool(&["other.org/x"]).exits(1).prints("");
    assert_eq!(outcome.stderr, "error fetching public keys for other.org/x: discovery failed\n");
    world.actool(&["-port=x", "a"]).exits(2);
    world.actool(&["-nonsense"]).exits(2);
    // A port of its own, without the proxy.
    world.page(
        "localhost/app",
        &[
            r#"name="ac-discovery" content="localhost https://localhost/{name}.{ext}""#,
            r#"name="ac-discovery-pubkeys" content="localhost https://localhost/keys""#,
        ],
    );
    let port = world.site.port().to_string();
    let line = world.env.proa(["aci", "discover", "--port", &port, "localhost/app"]);
    line.var("SSL_CERT_FILE", world.site.authority()).outcome().succeeds().shows("https://localhost/localhost/app.aci");
}

#[test]
fn faults_51_and_57_pages_that_are_none() {
    let world = needs!(World::new());
    let name = "example.com/app:1.0.0,os=linux,arch=amd64";
    let fails = |what: &str| drop(world.discover(&[name]).rejects(what));
    for (answer, what) in [
        (Answer::ok(""), "no fitting meta tags"),
        (Answer::ok(vec![0xff; 1000]), "no fitting meta tags"),
        (Answer::ok(format!("<!-- <meta {IMAGES}> -->")), "no fitting meta tags"),
        (Answer::ok(format!("<script><meta {IMAGES}></script>")), "no fitting meta tags"),
        (Answer::ok(vec![b' '; (1 << 20) + 1]), "more than 1048576 bytes"),
        (Answer::ok(vec![b' '; 1000]).cut_after(10), "cut after 10 bytes"),
        (Answer::status(401), "got 401"),
        (Answer::status(204), "got 204"),
    ] {
        world.site.page("example.com/app", answer);
        fails(what);
    }
    // A hundred thousand templates are not a hundred thousand attempts.
    let tag = r#"<meta name="ac-discovery" content="example.com https://x/{name}.{ext}">"#;
    world.site.page("example.com/app", Answer::ok(format!("<meta {KEYS}>{}", tag.repeat(10_000))));
    let found = world.discover(&[name]).succeeds();
    assert!(found.stdout.lines().count() < 300, "{} lines", found.stdout.lines().count());
    // Control characters stay out of the terminal.
    let evil = "<meta name=\"ac-discovery\" content=\"example.com https://x/\u{1b}]0;owned\u{7}.{ext}\">";
    world.site.page("example.com/app", Answer::ok(format!("<meta {KEYS}>{evil}")));
    let found = world.discover(&[name]).succeeds();
    assert!(!found.stdout.contains('\u{1b}'), "{found}");
}
