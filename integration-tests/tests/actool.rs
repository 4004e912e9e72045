//! proa under the name `actool`: what it prints on either stream, its exit statuses, and what it makes.
//!
//! `actool/commands` lists the command lines, `actool/transcript` what they give, written down when actool itself and
//! ours said the same but for help texts, and for what docs/subcommands/aci.md lists as different. `PROA_BLESS=1`
//! rewrites it, for its author to read in the diff.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use integration_tests::needs::{Place, place};
use integration_tests::{Env, Outcome, User, binaries, needs};

/// An environment with `actool` in the folder `tools`, and a shell that finds it there.
struct Bench {
    env: Env,
}

impl Bench {
    fn new(env: Env) -> Self {
        env.make_dir(&env.path("tools"));
        symlink(binaries::proa(), env.path("tools/actool")).expect("the folder is ours");
        env.make_dir(&env.path("work"));
        let bench = Self { env };
        bench.sh(include_str!("actool/layouts.sh")).succeeds().quietly();
        bench
    }

    /// Runs a script in the folder `work`.
    fn sh(&self, script: &str) -> Outcome {
        let tools = self.env.path("tools");
        let around = format!("cd work && umask 022 && PATH={}:$PATH\n{script}", tools.display());
        self.env.command("/bin/sh", vec!["-c".into(), around.into()]).outcome()
    }
}

#[test]
fn version_and_unknown_subcommands() {
    needs!(place(Place::Host));
    let bench = Bench::new(needs!(Env::of(User::WithRange)));
    bench.sh("actool version").succeeds().prints("actool version 0.8.11+git\n");
    let unknown = bench.sh("actool ponies").exits(2).prints("");
    assert_eq!(unknown.stderr, "actool: unknown subcommand: \"ponies\"\nRun 'actool help' for usage.\n");
}

#[test]
fn to_g41_the_transcript_is_actools() {
    needs!(place(Place::Host));
    let bench = Bench::new(needs!(Env::of(User::WithRange)));
    let mut transcript = String::new();
    for line in include_str!("actool/commands").lines() {
        if line.is_empty() || line.starts_with('#') {
            writeln!(transcript, "{line}").expect("a String takes all");
            continue;
        }
        let outcome = bench.sh(line);
        writeln!(transcript, "$ {line}").expect("a String takes all");
        let mark = |mark: &str, text: &str| text.lines().map(|line| format!("{mark} {line}\n")).collect::<String>();
        transcript.push_str(&mark("1:", &outcome.stdout));
        transcript.push_str(&mark("2:", &outcome.stderr));
        writeln!(transcript, "= {}", outcome.status.code().unwrap_or(-1)).expect("a String takes all");
    }
    // The user's numbers, which `tar tvf` shows.
    let (uid, gid) = (bench.env.account().uid, bench.env.account().gid);
    let transcript = transcript.replace(&format!(" {uid}/{gid} "), " UID/GID ");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/actool/transcript");
    if std::env::var_os("PROA_BLESS").is_some_and(|value| value == "1") {
        fs::write(&file, &transcript).expect("the source is ours");
    }
    let expected = fs::read_to_string(&file).expect("it is part of the source");
    for (number, (is, should)) in transcript.lines().zip(expected.lines()).enumerate() {
        assert_eq!(is, should, "line {} of {}", number + 1, file.display());
    }
    assert_eq!(transcript.len(), expected.len(), "{} ends elsewhere", file.display());
}
