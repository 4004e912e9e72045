//! What of a signature counts, and what does not.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use integration_tests::needs::{Why, tool};
use integration_tests::{Env, Gpg, User, needs};

use crate::{assert_store_is_empty, command, image, proa, run, runs, text, trust};

/// A world with one trusted key, for the signatures that do not count.
struct Signed {
    // Before the environment, whose end wants all processes gone.
    gpg: Gpg,
    env: Env,
    image: PathBuf,
    key: String,
}

impl Signed {
    fn new() -> Result<Self, Why> {
        Self::of(User::WithRange).or_else(|_| Self::of(User::NoRange))
    }

    fn of(user: User) -> Result<Self, Why> {
        let env = Env::of(user)?;
        let gpg = Gpg::new()?;
        gpg.key("signer", "ed25519", "never");
        let image = image(&env, "app");
        let this = Self { key: gpg.fingerprints("signer").remove(0), env, gpg, image };
        this.trust("signer");
        Ok(this)
    }

    fn trust(&self, user: &str) {
        let key = self.gpg.export(&self.env, user, "key.asc");
        trust(&self.env, &["--root", text(&key)]).succeeds();
    }

    fn sign(&self, options: &[&str]) -> PathBuf {
        self.gpg.sign_with(&self.env, &self.image, options)
    }

    fn signature(&self, bytes: impl AsRef<[u8]>) {
        self.env.write(format!("{}.asc", text(&self.image)), bytes);
    }

    #[track_caller]
    fn refused(&self, why: &str) {
        run(&self.env, &self.image).refuses(why);
        assert_store_is_empty(&self.env);
    }
}

#[test]
fn valid_passes_and_tampered_fails() {
    let it = needs!(Signed::new());
    it.sign(&[]);
    runs(&it.env, &it.image);
    let id = proa(&it.env, &["fetch", text(&it.image)]).succeeds().line().to_owned();
    assert!(id.starts_with("sha512-"), "{id}");
    // One bit of the image, and one byte more.
    let good = fs::read(&it.image).expect("it is ours");
    for change in [|bytes: &mut Vec<u8>| bytes[700] ^= 1, |bytes: &mut Vec<u8>| bytes.push(0)] {
        let mut bytes = good.clone();
        change(&mut bytes);
        it.env.write(&it.image, bytes);
        run(&it.env, &it.image).refuses(&format!("bad signature of key {}", it.key));
    }
    it.env.write(&it.image, good);
    runs(&it.env, &it.image);
}

#[test]
fn reg_08_only_a_detached_signature_over_these_bytes_counts() {
    let it = needs!(Signed::new());
    let other = it.env.write("other", "another file");
    it.signature("");
    it.refused("the signature file is empty");
    it.signature("no signature at all\n");
    it.refused("no OpenPGP signature");
    it.signature("-----BEGIN PGP SIGNATURE-----\n\n\u{1b}[31m\u{c}\n-----END PGP SIGNATURE-----\n");
    it.refused("no OpenPGP signature");
    for options in [&["--armor", "--sign"][..], &["--compress-level=0", "--sign"], &["--store"]] {
        it.signature(it.gpg.run([options, &["--output", "-", text(&other)]].concat()));
        it.refused("not a detached signature");
    }
    it.signature(it.gpg.run(["--output", "-", "--clear-sign", text(&other)]));
    it.refused("not a detached signature");
    it.signature(it.gpg.run(["--armor", "--export", "signer"]));
    it.refused("is a key, not a detached signature");
    it.signature(it.gpg.run(["--textmode", "--output", "-", "--detach-sign", text(&other)]));
    it.refused("not a detached signature");
    it.signature(fs::read(it.gpg.sign_with(&it.env, &other, &[])).expect("it was just written"));
    it.refused(&format!("bad signature of key {}", it.key));
    // A good signature and a bad one of the same key, in either order.
    let good = fs::read(it.sign(&[])).expect("it was just written");
    let bad = fs::read(it.gpg.sign_with(&it.env, &other, &[])).expect("it was just written");
    for both in [[good.as_slice(), &bad].concat(), [bad.as_slice(), &good].concat()] {
        it.signature(both);
        it.refused(&format!("bad signature of key {}", it.key));
    }
    // Beside one of an unknown key it stands.
    it.gpg.key("stranger", "ed25519", "never");
    let stranger = fs::read(it.sign(&["--local-user", "stranger"])).expect("it was just written");
    it.signature(&stranger);
    it.refused("which is not trusted");
    it.signature([stranger.as_slice(), &good].concat());
    runs(&it.env, &it.image);
}

#[test]
fn reg_08_floods_are_bounded() {
    let it = needs!(Signed::new());
    let good = fs::read(it.sign(&[])).expect("it was just written");
    it.signature(good.repeat(100));
    it.refused("holds more than 16 signatures");
    it.signature(good.repeat(10_000));
    it.refused("larger than 65536 bytes");
    // A packet that says it is longer than the file, an endless one, and one of unknown length.
    for head in [&[0xc2, 0xff, 0xff, 0xff, 0xff, 0xff][..], &[0x8b], &[0xc2, 0xef], &[0x88, 0x03]] {
        it.signature([head, &[4; 1000]].concat());
        it.refused("the signature file");
    }
    let huge = it.env.path("images/app.aci.asc");
    fs::File::create(&huge).and_then(|it| it.set_len(1 << 30)).expect("a file with a hole");
    it.refused("larger than 65536 bytes");
    fs::remove_file(&huge).expect("it is ours");
    assert!(Command::new("mkfifo").arg(&huge).status().expect("mkfifo runs").success());
    it.env.own(&huge);
    it.refused("not a regular file");
}

#[test]
fn keys_and_signatures_that_expired_or_were_revoked_do_not_count() {
    let it = needs!(Signed::new());
    // Made in 2021, when the key was valid: until 2022.
    let past = ["--faked-system-time", "20210101T000000!"];
    let generate = ["--passphrase", "", "--quick-generate-key", "expired", "ed25519", "sign", "1y"];
    it.gpg.run(past.into_iter().chain(generate));
    let expired = it.gpg.export(&it.env, "expired", "expired.asc");
    trust(&it.env, &["--root", text(&expired)]).refuses("the key expired on 2022-01-01");
    // It was trusted before it expired.
    let fingerprint = it.gpg.fingerprints("expired").remove(0);
    let store = it.env.path("local/trustedkeys/root.d");
    it.env.make_dir(&store);
    let stored = store.join(&fingerprint);
    fs::copy(&expired, &stored).expect("it is there");
    it.sign(&["--local-user", "expired", past[0], past[1]]);
    it.refused(&format!("signature of key {fingerprint} does not count: the key expired on 2022-01-01"));

    // A signature that expires.
    it.gpg.run(past.into_iter().chain(["--passphrase", "", "--quick-generate-key", "old", "ed25519", "sign", "never"]));
    it.trust("old");
    it.sign(&["--local-user", "old", "--default-sig-expire", "1d", past[0], past[1]]);
    it.refused("does not count: the signature expired on 2021-01-02");
    // From the future.
    it.sign(&["--local-user", "old", "--faked-system-time", "20990101T000000!"]);
    it.refused("does not count: ");
    it.sign(&["--local-user", "old"]);
    runs(&it.env, &it.image);

    // A key that is revoked, in the keystore as well.
    let revocation = it.gpg.run_with_input(&["--output", "-", "--gen-revoke", "old"], "y\n1\n\ny\n");
    let revoked = it.gpg.run_with_input(&["--import", text(&it.env.write("revocation", revocation))], "");
    drop(revoked);
    let key = it.gpg.export(&it.env, "old", "revoked.asc");
    trust(&it.env, &["--root", text(&key)]).refuses("the key is revoked");
    let old = it.gpg.fingerprints("old").remove(0);
    fs::copy(&key, it.env.path("user/trustedkeys/root.d").join(&old)).expect("it is there");
    run(&it.env, &it.image).refuses(&format!("signature of key {old} does not count: the key is revoked"));
}

#[test]
fn subkeys_sign_for_their_key_as_long_as_they_are_valid() {
    let it = needs!(Signed::new());
    let past = ["--faked-system-time", "20210101T000000!"];
    it.gpg.run(past.into_iter().chain([
        "--passphrase",
        "",
        "--quick-generate-key",
        "parent",
        "ed25519",
        "cert",
        "never",
    ]));
    let parent = it.gpg.fingerprints("parent").remove(0);
    it.gpg.run(past.into_iter().chain(["--passphrase", "", "--quick-add-key", &parent, "ed25519", "sign", "1y"]));
    it.gpg.subkey("parent", "ed25519", "never");
    it.trust("parent");
    let subkeys = it.gpg.fingerprints("parent").split_off(1);
    it.sign(&["--local-user", &format!("{}!", subkeys[0]), past[0], past[1]]);
    it.refused(&format!("signature of key {parent} does not count: the signing key expired on 2022-01-01"));
    it.sign(&["--local-user", &format!("{}!", subkeys[1])]);
    runs(&it.env, &it.image);
}

#[test]
fn weak_hashes_and_keys_do_not_count() {
    let it = needs!(Signed::new());
    it.gpg.key("rsa", "rsa2048", "never");
    it.trust("rsa");
    for hash in ["SHA1", "RIPEMD160"] {
        let weak = ["--allow-weak-digest-algos", "--digest-algo", hash];
        it.sign(&[&["--local-user", "rsa"][..], &weak].concat());
        it.refused("it is too weak");
    }
    it.gpg.run(["--passphrase", "", "--quick-generate-key", "short", "rsa1024", "sign", "never"]);
    let short = it.gpg.export(&it.env, "short", "short.asc");
    trust(&it.env, &["--root", text(&short)]).refuses("RSA1024");
    it.sign(&["--local-user", "rsa", "--digest-algo", "SHA512"]);
    runs(&it.env, &it.image);
}

/// The verifier is a process of its own that can open, connect and start nothing once it parses.
#[test]
fn the_verifier_is_confined() {
    let it = needs!(Signed::of(User::Root).or_else(|_| Signed::of(User::NoRange)));
    let strace = needs!(tool("strace"));
    it.sign(&[]);
    let trace = it.env.path("trace");
    let wrapper = ["-f", "-qq", "-o", text(&trace), "-e", "trace=execve,seccomp,openat,open,socket,clone,clone3,fork"];
    let line: Vec<&str> = [text(&strace)].into_iter().chain(wrapper).collect();
    command(&it.env, &["fetch", text(&it.image)]).through(line).outcome().succeeds();
    let trace = fs::read_to_string(&trace).expect("strace wrote it");
    let verifier: Vec<&str> = {
        let start = trace.lines().find(|it| it.contains("\"proa-verifier\"")).expect("a verifier is started");
        let pid = start.split_whitespace().next().expect("a pid");
        trace.lines().filter(|it| it.split_whitespace().next() == Some(pid)).collect()
    };
    let confined = verifier.iter().position(|it| it.contains("SECCOMP_SET_MODE_FILTER")).expect("it loads a filter");
    let after: Vec<&&str> = verifier[confined + 1..].iter().filter(|it| !it.contains("+++ exited")).collect();
    assert!(after.is_empty(), "the verifier called {after:?} after it was confined");
}
