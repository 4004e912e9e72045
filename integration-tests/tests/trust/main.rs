//! Signed ACIs: `proa trust`, the keystore, and what of a signature counts. Every key and signature is gpg's.

mod signatures;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use integration_tests::images::{Aci, busybox};
use integration_tests::needs::tool;
use integration_tests::{Env, Gpg, Outcome, User, each_user, needs};

/// An image `example.com/NAME`.
fn image(env: &Env, name: &str) -> PathBuf {
    Aci::new(name, busybox()).sh("echo it runs").build(env)
}

/// `proa` with configuration directories of this test.
fn proa(env: &Env, args: &[&str]) -> Outcome {
    command(env, args).outcome()
}

fn command<'e>(env: &'e Env, args: &[&str]) -> integration_tests::Proa<'e> {
    let dirs = ["system", "local", "user"].map(|it| format!("--{it}-config={}", env.path(it).display()));
    env.proa(dirs.iter().map(String::as_str).chain(args.iter().copied()))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn run(env: &Env, image: &Path) -> Outcome {
    proa(env, &["run", "--net=none", text(image)])
}

fn runs(env: &Env, image: &Path) -> Outcome {
    run(env, image).succeeds().prints("it runs\n").stderr_shows("signature verified:\n")
}

fn trust(env: &Env, args: &[&str]) -> Outcome {
    proa(env, &[&["trust", "--skip-fingerprint-review"], args].concat())
}

/// Nothing of a refused image may be in the store.
fn assert_store_is_empty(env: &Env) {
    let images = env.data().join("images");
    let left = fs::read_dir(&images).map(|it| it.count()).unwrap_or_default();
    assert_eq!(left, 0, "images are left in {}", images.display());
}

each_user! {
    unsigned_images_are_refused,
    a_trusted_signature_is_all_it_takes,
    prefixes_limit_what_a_key_may_sign,
    root_keys_sign_everything,
    later_directories_mask_keys,
    keys_are_listed_and_removed,
    usage_of_trust,
}

fn unsigned_images_are_refused(env: &Env) {
    let image = image(env, "unsigned");
    run(env, &image).refuses("the image has no signature");
    proa(env, &["fetch", text(&image)]).refuses("the image has no signature");
    assert_store_is_empty(env);
    proa(env, &["--insecure-options=image", "run", "--net=none", text(&image)]).succeeds().prints("it runs\n");
}

fn a_trusted_signature_is_all_it_takes(env: &Env) {
    let gpg = needs!(Gpg::new());
    gpg.key("signer", "ed25519", "never");
    let key = gpg.export(env, "signer", "key.asc");
    let image = image(env, "signed");
    let signature = gpg.sign(env, "signer", &image);
    let fingerprint = gpg.fingerprints("signer").remove(0);

    run(env, &image).refuses("no key is trusted");
    let outcome = trust(env, &["--prefix=example.com/signed", text(&key)]).succeeds().prints("");
    let own = if env.user() == User::Root { "local" } else { "user" };
    let stored = env.path(own).join("trustedkeys/prefix.d/example.com/signed").join(&fingerprint);
    let grouped: Vec<String> =
        fingerprint.to_uppercase().as_bytes().chunks(4).map(|it| String::from_utf8_lossy(it).into_owned()).collect();
    let expected = format!(
        "prefix: \"example.com/signed\"\nkey: \"{}\"\ngpg key fingerprint is: {}  {}\n\tsigner\n\
         Trusting \"{}\" for prefix \"example.com/signed\" without fingerprint review.\n\
         Added key for prefix \"example.com/signed\" at \"{}\"\n",
        key.display(),
        grouped[..5].join(" "),
        grouped[5..].join(" "),
        key.display(),
        stored.display()
    );
    assert_eq!(outcome.stderr, expected);
    assert_eq!(fs::metadata(&stored).expect("it was stored").permissions().mode() & 0o777, 0o644);

    let outcome = runs(env, &image);
    assert_eq!(outcome.stderr, "proa: signature verified:\n  signer\n");
    // Once stored it runs by its ID, as ever.
    let id = proa(env, &["fetch", text(&image)]).succeeds().line().to_owned();
    proa(env, &["run", "--net=none", &id]).succeeds().prints("it runs\n").quietly();

    // The signature may lie elsewhere, and be binary.
    let elsewhere = env.path("elsewhere.sig");
    fs::rename(&signature, &elsewhere).expect("it is ours");
    run(env, &image).refuses("the image has no signature");
    let option = format!("--signature={}", elsewhere.display());
    proa(env, &["run", "--net=none", text(&image), &option]).succeeds().prints("it runs\n");
    proa(env, &["fetch", &option, text(&image)]).succeeds();
    proa(env, &["fetch", &option, text(&image), text(&image)]).refuses("--signature");
    proa(env, &["fetch", &option, "hello"]).refuses("hello");
    gpg.sign_with(env, &image, &["--local-user", "signer"]);
    runs(env, &image);
}

fn prefixes_limit_what_a_key_may_sign(env: &Env) {
    let gpg = needs!(Gpg::new());
    gpg.key("signer", "ed25519", "never");
    gpg.key("other", "ed25519", "never");
    let (key, other) = (gpg.export(env, "signer", "key.asc"), gpg.export(env, "other", "other.asc"));
    let image = image(env, "app");
    gpg.sign(env, "signer", &image);
    let fingerprint = gpg.fingerprints("signer").remove(0);

    for wrong in ["example.com/ap", "example.com/apple", "other.org", "example.com/app/below"] {
        trust(env, &[&format!("--prefix={wrong}"), text(&key)]).succeeds();
        let outcome = run(env, &image).refuses("not for example.com/app");
        assert!(outcome.stderr.contains(&fingerprint) && outcome.stderr.contains(wrong), "{outcome}");
    }
    assert_store_is_empty(env);
    trust(env, &["--prefix=example.com", text(&other)]).succeeds();
    run(env, &image).refuses("not for example.com/app");
    trust(env, &["--prefix=example.com", text(&key)]).succeeds();
    runs(env, &image);
    // By a key that nobody trusts for anything.
    gpg.key("stranger", "ed25519", "never");
    gpg.sign(env, "stranger", &image);
    let stranger = gpg.fingerprints("stranger").remove(0);
    run(env, &image).refuses(&format!("signed by key {stranger}, which is not trusted"));
}

fn root_keys_sign_everything(env: &Env) {
    let gpg = needs!(Gpg::new());
    gpg.key("signer", "rsa2048", "never");
    let key = gpg.export(env, "signer", "key.asc");
    let image = image(env, "any");
    gpg.sign(env, "signer", &image);
    trust(env, &["--root", text(&key)]).succeeds().stderr_shows("Added root key at \"");
    runs(env, &image);
}

fn later_directories_mask_keys(env: &Env) {
    let gpg = needs!(Gpg::new());
    gpg.key("signer", "ed25519", "never");
    let image = image(env, "masked");
    gpg.sign(env, "signer", &image);
    let fingerprint = gpg.fingerprints("signer").remove(0);
    let system = env.path("system/trustedkeys/root.d");
    fs::create_dir_all(&system).expect("the folder is ours");
    let key = gpg.export(env, "signer", "key.asc");
    let stored = system.join(&fingerprint);
    fs::copy(&key, &stored).expect("it is there");
    runs(env, &image);
    // For one prefix, and for all.
    for folder in ["user/trustedkeys/prefix.d/example.com", "local/trustedkeys/root.d"] {
        let mask = env.path(folder).join(&fingerprint);
        env.make_dir(mask.parent().expect("it has a folder"));
        env.write(&mask, "");
        let outcome = run(env, &image);
        assert_eq!(outcome.status.code(), Some(254), "{outcome}");
        fs::remove_file(&mask).expect("it is ours");
        runs(env, &image);
    }
    // Under another key's name, or where everybody could have put it, it is no key.
    let wrong = system.join("0".repeat(40));
    fs::rename(&stored, &wrong).expect("it is ours");
    run(env, &image).refuses("fingerprint mismatch");
    fs::rename(&wrong, &stored).expect("it is ours");
    fs::set_permissions(&stored, fs::Permissions::from_mode(0o666)).expect("it is ours");
    run(env, &image).refuses("can be written by everybody");
}

fn keys_are_listed_and_removed(env: &Env) {
    let gpg = needs!(Gpg::new());
    gpg.key("signer", "ed25519", "never");
    let key = gpg.export(env, "signer", "key.asc");
    let fingerprint = gpg.fingerprints("signer").remove(0);
    let image = image(env, "listed");
    gpg.sign(env, "signer", &image);
    let legend = "FINGERPRINT";
    assert_eq!(proa(env, &["trust", "--list"]).succeeds().shows(legend).stdout.lines().count(), 1);
    trust(env, &["--root", text(&key)]).succeeds();
    trust(env, &["--prefix=example.com/listed", text(&key)]).succeeds();
    let listed =
        proa(env, &["trust", "--list"]).succeeds().shows(&fingerprint).shows("(root)").shows("example.com/listed");
    assert_eq!(listed.stdout.lines().count(), 3);
    assert_eq!(proa(env, &["trust", "--list", "--root"]).succeeds().stdout.lines().count(), 2);

    let shouted = fingerprint.to_uppercase();
    proa(env, &["trust", "--root", "--remove", &shouted]).succeeds();
    runs(env, &image);
    proa(env, &["trust", "--prefix=example.com/listed", "--remove", &fingerprint]).succeeds();
    let folder = |own: &str| env.path(own).join("trustedkeys/prefix.d/example.com");
    assert!(["user", "local"].iter().all(|own| !folder(own).exists()), "the folders of a prefix go with its last key");
    run(env, &image).refuses("no key is trusted");
    proa(env, &["trust", "--root", "--remove", &fingerprint]).refuses(&fingerprint);
    proa(env, &["trust", "--root", "--remove", "8b86"]).refuses("8b86");
    // What another directory trusts is masked, not deleted.
    let system = env.path("system/trustedkeys/root.d");
    fs::create_dir_all(&system).expect("the folder is ours");
    fs::copy(&key, system.join(&fingerprint)).expect("it is there");
    proa(env, &["trust", "--root", "--remove", &fingerprint]).succeeds();
    assert!(system.join(&fingerprint).exists());
    run(env, &image).refuses("no key is trusted");
}

fn usage_of_trust(env: &Env) {
    let gpg = needs!(Gpg::new());
    gpg.key("signer", "ed25519", "never");
    let key = gpg.export(env, "signer", "key.asc");
    let key = text(&key);
    proa(env, &["trust", key]).refuses("aborting due to implicit unbounded trust (root domain)");
    proa(env, &["trust"]).refuses("aborting due to implicit unbounded trust (root domain)").prints("");
    proa(env, &["trust", "--skip-fingerprint-review"]).refuses("aborting due to implicit unbounded trust");
    let unclear = "for which images is the key not to be trusted any longer?";
    proa(env, &["trust", "--remove", &"8b".repeat(20)]).refuses(unclear);
    proa(env, &["trust", "--root", "--prefix=example.com", key])
        .refuses("--root and --prefix usage mutually exclusive");
    proa(env, &["trust", "--prefix=https://example.com", key])
        .refuses("--prefix must not contain a URL scheme, omit https://");
    proa(env, &["trust", "--prefix=Example.com", key]).refuses("\"Example.com\"");
    proa(env, &["trust", "--prefix=../../x", key]).refuses("../../x");
    // Nobody is there to compare the fingerprint.
    let outcome = proa(env, &["trust", "--prefix=example.com", key]).refuses("lack of tty");
    assert!(outcome.stderr.contains("gpg key fingerprint is: "), "{outcome}");
    trust(env, &["--prefix=example.com", "no-such-file"]).refuses("no-such-file");
    trust(env, &["--prefix=example.com", text(&env.write("empty.asc", ""))]).refuses("it is empty");
    trust(env, &["--prefix=example.com", text(&env.write("junk.asc", "junk"))]).refuses("no OpenPGP public key");
    let secret = env.write("secret.asc", gpg.run(["--armor", "--export-secret-keys", "signer"]));
    trust(env, &["--prefix=example.com", text(&secret)]).refuses("holds the secret key");
    assert_eq!(proa(env, &["trust", "--list"]).succeeds().stdout.lines().count(), 1, "nothing was trusted");
}

/// The review itself, on a terminal that script(1) makes.
#[test]
fn fingerprint_review_on_a_terminal() {
    let env = needs!(Env::of(User::WithRange).or_else(|_| Env::of(User::NoRange)));
    // Dropped before the environment, whose end wants all processes gone.
    let gpg = needs!(Gpg::new());
    let script = needs!(tool("script"));
    gpg.key("signer", "ed25519", "never");
    gpg.subkey("signer", "ed25519", "never");
    let key = gpg.export(&env, "signer", "key.asc");
    let review = |prefix: &str, answers: &str| {
        let line = format!(
            "{} --user-config {} trust --prefix={prefix} {}",
            integration_tests::binaries::proa().display(),
            env.path("user").display(),
            key.display()
        );
        let args = ["--quiet", "--return", "--command", &line, "/dev/null"].map(Into::into).to_vec();
        env.command(&script, args).outcome_with_input(answers.as_bytes())
    };
    let question = "Are you sure you want to trust this key (yes/no)?";
    review("a.com", "no\n").succeeds().shows(question).shows("Not trusting \"").shows("    subkey fingerprint: ");
    review("b.com", "perhaps\nyes\n")
        .succeeds()
        .shows("Please enter 'yes' or 'no'")
        .shows("for prefix \"b.com\" after fingerprint review.");
    let trusted = proa(&env, &["trust", "--list"]).succeeds();
    assert!(trusted.stdout.contains("b.com") && !trusted.stdout.contains("a.com"), "{trusted}");
}
