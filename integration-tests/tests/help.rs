//! Every subcommand explains itself, and what it shows as an example works.

use std::collections::BTreeSet;

use integration_tests::images::{Aci, busybox};
use integration_tests::{Env, User, needs};

/// The subcommands `--help` lists, with those of groups (`image list`).
fn subcommands(env: &Env, group: &[&str]) -> Vec<Vec<String>> {
    let outcome = env.proa(group.iter().copied().chain(["--help"])).outcome().succeeds();
    let listed = outcome.stdout.lines().skip_while(|it| *it != "Commands:").skip(1);
    let names = listed.take_while(|it| it.starts_with("  ")).filter(|it| !it.starts_with("    "));
    let names: Vec<String> = names.filter_map(|it| it.split_whitespace().next().map(str::to_owned)).collect();
    let mut all = Vec::new();
    for name in names.into_iter().filter(|it| it != "help") {
        let path: Vec<&str> = group.iter().copied().chain([name.as_str()]).collect();
        let below = subcommands(env, &path);
        match below.is_empty() {
            true => all.push(path.iter().map(|it| (*it).to_owned()).collect()),
            false => all.extend(below),
        }
    }
    all
}

/// The command lines of a help text's examples.
fn examples(help: &str) -> Vec<String> {
    let section = help.lines().skip_while(|it| !it.starts_with("Example")).skip(1);
    let lines = section.take_while(|it| it.is_empty() || it.starts_with(' '));
    lines.filter_map(|it| it.trim().trim_start_matches("$ ").strip_prefix("proa ").map(str::to_owned)).collect()
}

#[test]
fn every_subcommand_has_an_example() {
    let env = needs!(Env::of(User::WithRange).or_else(|_| Env::of(User::NoRange)));
    let all = subcommands(&env, &[]);
    let names: BTreeSet<String> = all.iter().map(|it| it.join(" ")).collect();
    for name in ["run", "fetch", "list", "rm", "gc", "version"] {
        assert!(names.contains(name), "{name} is not listed: {names:?}");
    }
    for path in all {
        let outcome = env.proa(path.iter().map(String::as_str).chain(["--help"])).outcome().succeeds().quietly();
        let examples = examples(&outcome.stdout);
        assert!(!examples.is_empty(), "`proa {} --help` has no example: {outcome}", path.join(" "));
        for example in &examples {
            // Names that are short for another command show that one's examples.
            let short = [("images", "image"), ("rmi", "image")].iter().find(|(name, _)| *name == path[0]);
            let shown = short.map_or(path[0].as_str(), |(_, command)| command);
            assert!(example.split(' ').any(|it| it == shown), "the example `{example}` is not of `{}`", path.join(" "));
        }
    }
}

/// Examples that need nothing but what a help text may assume: a file busybox.aci in the current directory.
#[test]
fn examples_work() {
    let env = needs!(Env::of(User::WithRange).or_else(|_| Env::of(User::NoRange)));
    let image = Aci::new("busybox", busybox()).sh("echo hello").build(&env);
    std::fs::rename(image, env.path("busybox.aci")).expect("it is ours");
    let mut tried = 0;
    for path in subcommands(&env, &[]) {
        let help = env.proa(path.iter().map(String::as_str).chain(["--help"])).outcome().succeeds();
        for example in examples(&help.stdout) {
            // Words in capitals stand for something of the reader's; a path or a reference for a file of his.
            let own = |word: &str| {
                (word.contains("/") && word != "./busybox.aci" && !word.starts_with("/bin/"))
                    || word.contains("oci:")
                    || word.starts_with("sha")
            };
            let placeholder = |word: &str| word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase() || c == '-');
            // It ends when it is told to; its own tests run it.
            let service = example.starts_with("metadata-service");
            // They take a pod that the reader has.
            let of_pods = [
                "rm",
                "status",
                "stop",
                "kill",
                "enter",
                "exec",
                "logs",
                "cat-manifest",
                "events",
                "wait",
                "stats",
                "update",
                "port",
                "run-prepared",
                "app",
                "attach",
                "volume",
                "top",
                "commit",
                "cp",
                "export",
                "login",
                "man",
            ];
            let pods = of_pods.iter().any(|it| example.split(' ').next() == Some(it));
            // These take an image, or files, that the reader has.
            let files = ["aci", "eci", "trust"].iter().any(|it| example.split(' ').next() == Some(it));
            let images =
                example.starts_with("image ") && !["image list", "image gc"].iter().any(|it| example.starts_with(it));
            let pods = pods || images || files;
            if pods || service || example.split_whitespace().any(|it| own(it) || placeholder(it)) {
                continue;
            }
            let script = format!("exec \"$0\" --dir \"$1\" {example}");
            let args = ["-c".into(), script.into(), integration_tests::binaries::proa().into(), env.data().into()];
            env.command("sh", args.to_vec()).outcome().succeeds();
            tried += 1;
        }
    }
    // What was prepared waits to be run.
    let listed = env.proa(["list", "--no-legend", "--full"]).outcome().succeeds();
    for uuid in listed.stdout.lines().filter_map(|line| line.split_whitespace().next()).filter(|it| it.len() == 36) {
        env.proa(["rm", uuid]).outcome().succeeds();
    }
    assert!(tried >= 4, "{tried} examples were tried");
}
