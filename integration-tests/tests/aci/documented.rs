//! The worked example of docs/formats/appc.md does what the page says.

use std::os::unix::fs::PermissionsExt;

use integration_tests::needs::file;
use integration_tests::{Env, User, binaries, needs};

const PAGE: &str = include_str!("../../../docs/formats/appc.md");

/// A command line of the page, and the lines below it: what it prints, or, of `cat >FILE`, what is typed.
fn steps() -> Vec<(String, String)> {
    let (_, section) = PAGE.split_once("## From a manifest to a running image").expect("the page has this section");
    let section = section.split("\n## ").next().expect("a first part");
    let mut steps: Vec<(String, String)> = Vec::new();
    let mut shown = false;
    for line in section.lines() {
        match (line.starts_with("```"), line.strip_prefix("$ ")) {
            (true, _) => shown = !shown,
            (_, Some(command)) if shown => steps.push((command.to_owned(), String::new())),
            _ if shown => {
                let (_, below) = steps.last_mut().expect("a block begins with a command");
                *below += &format!("{line}\n");
            }
            _ => {}
        }
    }
    steps
}

#[test]
fn the_worked_example() {
    needs!(file("/bin/busybox"));
    let env = needs!(Env::of(User::WithRange).or_else(|_| Env::of(User::NoRange)));
    env.make_dir(&env.path("tools"));
    let script = format!("#!/bin/sh\nexec {} --dir {} \"$@\"\n", binaries::proa().display(), env.data().display());
    let proa = env.write("tools/proa", script);
    std::fs::set_permissions(&proa, PermissionsExt::from_mode(0o755)).expect("it was just written");
    let steps = steps();
    assert!(steps.len() >= 7, "{steps:?}");
    for (command, below) in steps {
        let typed = command.starts_with("cat >");
        let input = if typed { format!(" <<'END'\n{below}END") } else { String::new() };
        let script = format!("PATH={}:$PATH\n{command}{input}", env.path("tools").display());
        let outcome = env.command("/bin/sh", vec!["-ec".into(), script.into()]).outcome().succeeds();
        match below.strip_suffix("…\n") {
            _ if typed => {}
            Some(beginning) => assert!(outcome.stdout.starts_with(beginning), "{command}: {outcome}"),
            None => assert_eq!(outcome.stdout, below, "{command}: {}", outcome.stderr),
        }
    }
}
