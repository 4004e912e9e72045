//! Who an app is, as it can prove: the socket of its own, from inside pods.

use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use integration_tests::images::{Aci, busybox, with_probe};
use integration_tests::needs::{Place, file, place, tool};
use integration_tests::{Env, User, each_user, needs, process};
use rustix::process::Signal;
use serde_json::Value;

each_user! {
    each_app_gets_its_own_identity,
    whoever_enters_an_app_is_that_app,
}

const ASK: &str = "/probe ask /run/proa/identity.sock '/v1/identity?audience=test'";

fn image(env: &Env, name: &str, script: &str) -> PathBuf {
    Aci::new(name, with_probe(busybox())).sh(script).build(env)
}

/// The claims of a token in `answer`, a line of `probe ask`. Its signature is the metadata server's own tests' matter.
fn claims(answer: &str) -> Value {
    let token = answer.trim().strip_prefix("200 ").unwrap_or_else(|| panic!("no token: {answer:?}"));
    let claims = token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64")).expect("JSON")
}

fn each_app_gets_its_own_identity(env: &Env) {
    needs!(place(Place::Host));
    // Each says for itself that it is the other one, in every way that a request has.
    // They share a stream: each says all that it has to say at once.
    let at_once = |script: &str| format!("all=$({script}); echo \"$all\"");
    let other = ASK.replace("audience", "app=two&pod=x&audience");
    let one = image(env, "one", &at_once(&format!("{ASK}; {other}")));
    let two = image(env, "two", &at_once(ASK));
    let path = |image: &PathBuf| image.to_str().expect("UTF-8").to_owned();
    let args = ["--insecure-options=image".into(), "run".into(), "--net=none".into(), path(&one), path(&two)];
    let outcome = env.proa(args).outcome().succeeds();
    let (tokens, refused): (Vec<_>, Vec<_>) = outcome.stdout.lines().partition(|line| line.starts_with("200 "));
    let mut apps: Vec<String> = tokens.into_iter().map(claims).map(|it| it["app"].as_str().unwrap().into()).collect();
    apps.sort_unstable();
    assert!(apps == ["one", "one", "two"] || (apps == ["one", "two"] && refused.len() == 1), "{outcome}");
}

fn whoever_enters_an_app_is_that_app(env: &Env) {
    needs!(place(Place::Host));
    let image = image(env, "server", "sleep 600");
    let image = image.to_str().expect("UTF-8");
    let outcome = env.proa(["--insecure-options=image", "run", "--detach", "--name=pod", image]).outcome().succeeds();
    let uuid = outcome.line().to_owned();
    // A child of what came in, through a shell.
    let entered = env.proa(["enter", "pod", "/bin/sh", "-c", &format!("({ASK})")]).outcome().succeeds();
    let claims = claims(entered.line());
    assert_eq!(claims["app"], "server");
    assert_eq!(claims["pod"], uuid.as_str());
    assert_eq!(claims["aud"], "test");
    assert!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap() <= 600);
    // Over TCP there are no identities, and the answer says where.
    let tcp = "exec /probe ask $AC_METADATA_URL '/v1/identity?audience=test' /acMetadata/v1/pod/uuid";
    let outcome = env.proa(["enter", "pod", "/bin/sh", "-c", tcp]).outcome().succeeds();
    outcome.shows("404 ").shows("/run/proa/identity.sock").shows(&format!("200 {uuid}"));
    env.proa(["stop", "pod"]).outcome().succeeds();
    env.proa(["rm", "pod"]).outcome().succeeds();
}

/// An app looks for the other's socket where it is: behind the other's root, and in the directory that pid 1 has.
#[test]
fn another_apps_socket_is_out_of_reach() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let there = image(&env, "there", "while [ ! -e /v/done ]; do sleep 0.05; done");
    // Its own processes are those whose root it can name.
    let seeker = "until [ $(ls /proc | grep -c '^[0-9]') -gt 3 ]; do sleep 0.05; done
        for pid in $(ls /proc | grep '^[0-9]'); do
            readlink /proc/$pid/root >/dev/null && continue
            for path in root/run/proa root/identity/0 root/identity/1 cwd/run/proa; do
                /probe ask /proc/$pid/$path/identity.sock '/v1/identity?audience=x' | grep '^200'
                tried=1
            done
        done
        echo own $(/probe ask /run/proa/identity.sock '/v1/identity?audience=x' | cut -c1-3) $tried; touch /v/done";
    let seeker = image(&env, "seeker", seeker);
    let args = ["--insecure-options=image", "run", "--net=none", "--volume=v,kind=empty,mode=1777"];
    let mount = ["--mount=volume=v,target=/v"];
    let images = [there.to_str().expect("UTF-8"), seeker.to_str().expect("UTF-8")];
    let outcome = env.proa(args.iter().chain(&mount).chain(&images)).outcome().succeeds();
    assert_eq!(outcome.stdout, "own 200 1\n", "{outcome}");
}

/// The guide's examples, as they stand: curl at the app's socket, and a verifier of another program with PyJWT.
#[test]
fn the_documents_verifier_works() {
    needs!(place(Place::Host));
    needs!(tool("curl"));
    // Debian's, which has the package python3-jwt; another one may come first in PATH.
    let python = needs!(file("/usr/bin/python3"));
    needs!(file("/usr/lib/python3/dist-packages/jwt"));
    let env = needs!(Env::of(User::WithRange));
    let page = include_str!("../../docs/identity.md");
    let curl = page.lines().find_map(|line| line.strip_prefix("    curl ")).expect("the page has an example");
    let verifier = page.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).expect("and a verifier");
    let jwks = page.lines().find_map(|line| line.strip_prefix("    proa ")).expect("and how to get the keys");
    let image = image(&env, "server", "exec /probe sleep 600");
    let args = ["--insecure-options=image", "run", "--net=none", "--name=pod", image.to_str().expect("UTF-8")];
    let mut running = env.proa(args).start();
    running.wait_for("ready");
    // The test is root's: it sees the app's root, where the socket is.
    let app = process::descendants(running.pid()).into_iter().find(|it| it.name == "probe").expect("the app runs");
    let curl = curl.replace("/run/proa/identity.sock", &format!("/proc/{}/root/run/proa/identity.sock", app.pid));
    let asked = Command::new("sh").args(["-c", &format!("curl {curl}")]).output().expect("a shell");
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let token = String::from_utf8(asked.stdout).expect("ASCII");
    let (command, target) = jwks.split_once(" >").expect("into a file");
    assert_eq!(target, "jwks.json");
    let keys = env.proa(command.split(' ')).outcome().succeeds();
    env.write(target, &keys.stdout);
    let verify = |token: &str, verifier: &str| {
        let program = env.write("verify.py", verifier);
        env.command(&python, vec![program.into()]).outcome_with_input(token.as_bytes())
    };
    let id = {
        let shown = claims(&format!("200 {token}"));
        shown["image"].as_str().expect("an ID").to_owned()
    };
    verify(&token, verifier).succeeds().prints(&format!("{} server {id}\n", env.account().name));
    // The controls: another verifier's name, another app's name, and a signature of nothing.
    let other = verifier.replace("https://vault.example.com", "https://other.example.com");
    verify(&token, &other).exits(1).stderr_shows("InvalidAudienceError");
    let parts: Vec<&str> = token.split('.').collect();
    let forged = URL_SAFE_NO_PAD.encode(r#"{"aud":"https://vault.example.com","user":"x","app":"x","image":"x"}"#);
    verify(&format!("{}.{forged}.{}", parts[0], parts[2]), verifier).exits(1).stderr_shows("InvalidSignatureError");
    running.kill(Signal::TERM);
    running.wait();
}
