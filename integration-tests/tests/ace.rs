//! The App Container validator's checks, from inside a pod: the program `ace-validator` in
//! the two images that the specification's repository builds of it.

use std::path::Path;

use integration_tests::images::{Aci, Tree, busybox};
use integration_tests::needs::{Place, place};
use integration_tests::{Env, Outcome, User, binaries, each_user, needs};
use serde_json::json;

fn tree() -> Tree {
    let validator = std::fs::read(binaries::ace_validator()).expect("the validator is readable");
    Tree::new().file("ace-validator", validator, 0o755).dir("opt", 0o755).dir("opt/acvalidator", 0o755)
}

/// As ace/image_manifest_main.json.in.
fn main_image() -> Aci {
    Aci::new("main", tree())
        .manifest(|manifest| {
            manifest["name"] = json!("coreos.com/ace-validator-main");
            manifest["annotations"] = json!([
                {"name": "created", "value": "2014-10-27T19:32:27.67021798Z"},
                {"name": "authors", "value": "Carly Container <carly@example.com>, Nat Network <[nat@example.com](mailto:nat@example.com)>"},
                {"name": "homepage", "value": "https://example.com"},
                {"name": "documentation", "value": "https://example.com/docs"},
                {"name": "lorem", "value": "ipsum"},
            ]);
        })
        .exec(["/ace-validator", "main"])
        .app(
            "eventHandlers",
            json!([
                {"name": "pre-start", "exec": ["/ace-validator", "prestart"]},
                {"name": "post-stop", "exec": ["/ace-validator", "poststop"]},
            ]),
        )
        .app("workingDirectory", json!("/opt/acvalidator"))
        .app("environment", json!([{"name": "IN_ACE_VALIDATOR", "value": "correct"}]))
        .app("mountPoints", json!([{"name": "database", "path": "/db", "readOnly": false}]))
        .app("ports", json!([{"name": "www", "protocol": "tcp", "port": 80}]))
}

/// As ace/image_manifest_sidekick.json.in.
fn sidekick_image() -> Aci {
    Aci::new("sidekick", tree())
        .manifest(|manifest| manifest["name"] = json!("coreos.com/ace-validator-sidekick"))
        .exec(["/ace-validator", "sidekick"])
        .app("mountPoints", json!([{"name": "database", "path": "/db"}]))
}

/// Runs these images with rkt's command line.
fn run(env: &Env, volume: &str, images: &[&str]) -> Outcome {
    let fixed = ["--insecure-options=image", "run", "--net=none", "--volume", volume];
    env.proa(fixed.iter().chain(images)).outcome()
}

const VOLUME: &str = "database,kind=empty";

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

each_user! {
    the_pair_passes_twice_in_a_row,
}

fn the_pair_passes_twice_in_a_row(env: &Env) {
    // The two wait five seconds for each other, as the original's do: not enough on an emulated processor.
    needs!(place(Place::Host));
    let (main, sidekick) = (main_image().build(env), sidekick_image().build(env));
    for _ in 0..2 {
        let outcome = run(env, VOLUME, &[path(&main), path(&sidekick)]).succeeds();
        let mut lines: Vec<&str> = outcome.stdout.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["main OK", "poststop OK", "prestart OK", "sidekick OK"], "{outcome}");
        assert!(!outcome.stderr.contains("==>"), "{outcome}");
        env.assert_nothing_left();
    }
}

#[test]
fn the_volume_is_gone_after_rm() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let (main, sidekick) = (main_image().build(&env), sidekick_image().build(&env));
    let fixed = ["--insecure-options=image", "run", "--net=none", "--keep", "--name=ace", "--volume", VOLUME];
    env.proa(fixed.into_iter().chain([path(&main), path(&sidekick)])).outcome().succeeds();
    env.proa(["rm", "ace"]).outcome().succeeds();
    env.assert_nothing_left();
}

#[test]
fn without_the_sidekick_main_fails() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let main = main_image().build(&env);
    let outcome = run(&env, VOLUME, &[path(&main)]).exits(1);
    outcome.shows("prestart OK").shows("main FAIL").stderr_shows("==> timed out waiting for /db/sidekick");
}

/// What the checks say when something is not as it should be: each was broken on purpose.
#[test]
fn what_is_broken_is_told() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let sidekick = sidekick_image().build(&env);
    let through_sh = |script: &str| {
        let mut image = Aci::new("main", busybox().then(tree()));
        image = image.manifest(|manifest| manifest["name"] = json!("coreos.com/ace-validator-main"));
        let handlers = json!([{"name": "pre-start", "exec": ["/ace-validator", "prestart"]}]);
        image
            .sh(script)
            .app("eventHandlers", handlers)
            .app("workingDirectory", json!("/opt/acvalidator"))
            .app("environment", json!([{"name": "IN_ACE_VALIDATOR", "value": "correct"}]))
            .app("mountPoints", json!([{"name": "database", "path": "/db"}]))
    };
    let no_handlers = json!([]);
    let cases: [(Aci, &[&str], &str, &[&str]); 10] = [
        (
            main_image(),
            &["--environment=IN_ACE_VALIDATOR=wrong"],
            VOLUME,
            &[r#"==> environment variable "IN_ACE_VALIDATOR" not set appropriately (need "correct", got "wrong")"#],
        ),
        (
            main_image(),
            &["--environment=PATH=/bin"],
            VOLUME,
            &[
                r#"==> PATH not set appropriately (need "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", got "/bin")"#,
            ],
        ),
        (
            main_image(),
            &["--working-dir=/opt"],
            VOLUME,
            &[r#"==> working directory not set appropriately (need "/opt/acvalidator", got /opt)"#],
        ),
        (main_image(), &["--name=other"], VOLUME, &["==> AC_APP_NAME not set appropriately"]),
        (
            main_image().app("eventHandlers", no_handlers),
            &[],
            VOLUME,
            &[r#"==> file "/prestart" does not exist as expected"#],
        ),
        (
            Aci::new("main", tree().file("main", "", 0o644)).exec(["/ace-validator", "prestart"]),
            &[],
            VOLUME,
            &[r#"==> file "/main" exists unexpectedly"#],
        ),
        (
            Aci::new("main", tree()).exec(["/ace-validator", "poststop"]),
            &[],
            VOLUME,
            &[r#"==> file "/prestart" does not exist as expected"#, r#"==> file "/main" does not exist as expected"#],
        ),
        (
            main_image(),
            &[],
            "database,kind=empty,readOnly=true",
            &[r#"==> "/db" mounted ro=true, want false"#, r#"==> error touching file "/db/main": "#],
        ),
        (through_sh("AC_METADATA_URL= exec /ace-validator main"), &[], VOLUME, &["==> AC_METADATA_URL is not set"]),
        (
            through_sh("AC_METADATA_URL=${AC_METADATA_URL%?}x exec /ace-validator main"),
            &[],
            VOLUME,
            &["==> failed to get v1/pod/manifest: status 401"],
        ),
    ];
    for (image, options, volume, told) in cases {
        let main = image.build(&env);
        // The first to fail ends the pod: a sidekick that cannot write either would keep main from telling.
        let other = (volume == VOLUME).then_some(path(&sidekick));
        let images: Vec<&str> = [path(&main)].iter().chain(options).copied().chain(other).collect();
        let outcome = run(&env, volume, &images);
        assert_ne!(outcome.status.code(), Some(0), "{outcome}");
        for line in told {
            assert!(outcome.stderr.contains(line), "{line:?} is missing in {outcome}");
        }
    }
    let usage = Aci::new("main", tree()).exec(["/ace-validator"]).build(&env);
    run(&env, VOLUME, &[path(&usage)]).exits(64).stderr_shows("[main|sidekick|preStart|postStop]");
    run(&env, VOLUME, &[path(&usage), "--", "x"]).exits(64).stderr_shows("unrecognized mode: x");
}

/// The environment of the app and of its handlers (appc ace.md, "Execution Environment").
#[test]
fn handlers_have_the_same_environment() {
    let env = needs!(Env::of(User::WithRange));
    let show = |name: &str| json!([{"name": name, "exec": ["/bin/sh", "-c", "env | sort | sed s/^/handler:/"]}]);
    for event in ["pre-start", "post-stop"] {
        let image = Aci::new("env", busybox()).sh("env | sort | sed s/^/main:/").app("eventHandlers", show(event));
        let outcome = env.run(&image.build(&env), &[]).outcome().succeeds();
        let of = |who: &str| -> Vec<String> {
            let lines = outcome.stdout.lines().filter_map(|line| line.strip_prefix(who)).map(str::to_owned);
            // What the shell sets by itself.
            lines.filter(|line| !["PWD=", "SHLVL=", "_=", "OLDPWD="].iter().any(|it| line.starts_with(it))).collect()
        };
        assert_eq!(of("main:"), of("handler:"), "{event}: {outcome}");
        let names: Vec<String> = of("main:").iter().filter_map(|it| Some(it.split_once('=')?.0.to_owned())).collect();
        for name in ["AC_APP_NAME", "AC_METADATA_URL", "PATH", "container"] {
            assert!(names.iter().any(|it| it == name), "{name} is missing: {outcome}");
        }
        let url = of("main:").into_iter().find(|it| it.starts_with("AC_METADATA_URL=")).expect("checked above");
        let token = url.strip_prefix("AC_METADATA_URL=http://169.254.169.254:18112/").expect("the address");
        assert!(token.len() >= 32 && token.chars().all(|c| c.is_ascii_alphanumeric()), "{url}");
    }
}
