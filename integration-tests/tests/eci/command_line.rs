//! Command lines that make no sense.

use super::*;

#[test]
fn bad_command_lines_fail() {
    let env = needs!(root_env());
    for (args, message) in [
        (&["fly"][..], "Error: unknown command \"fly\" for \"eci\"\nRun 'eci --help' for usage.\n"),
        (&["push", "--fly"], "Error: unknown flag: --fly\n"),
        (&["--fly", "push"], "Error: unknown flag: --fly\n"),
        (&["push", "--fly=1"], "Error: unknown flag: --fly\n"),
        (&["push", "-kernel", "k"], "Error: unknown shorthand flag: 'k' in -kernel\n"),
        (&["push", "x", "--kernel"], "Error: flag needs an argument: --kernel\n"),
        (
            &["pull", "--blocksize", "abc", "x"],
            "Error: invalid argument \"abc\" for \"--blocksize\" flag: strconv.ParseInt: parsing \"abc\": invalid syntax\n",
        ),
        (
            &["pull", "--blocksize=9223372036854775808", "x"],
            "Error: invalid argument \"9223372036854775808\" for \"--blocksize\" flag: \
             strconv.ParseInt: parsing \"9223372036854775808\": value out of range\n",
        ),
        (
            &["pull", "--verbose=perhaps", "x"],
            "Error: invalid argument \"perhaps\" for \"--verbose\" flag: strconv.ParseBool: parsing \"perhaps\": invalid syntax\n",
        ),
        (&["help", "fly"], "Unknown help topic [`fly`]\n"),
    ] {
        let outcome = eci(&env, args).exits(1);
        assert!(outcome.stderr.starts_with(message) && outcome.stdout.is_empty(), "{outcome}");
    }
    for args in [&[][..], &["help"], &["--help"], &["help", "push"], &["push", "--help"], &["help", "help"]] {
        eci(&env, args).succeeds().quietly().shows("Usage: eci");
    }
    let outcome = eci(&env, &["pull"]).exits(1);
    assert!(outcome.stderr.ends_with(" must be exactly one arg, the name of the image to download\n"), "{outcome}");
    // A name that is none ends the transfer, not the command line.
    for (command, failed) in [("push", "error pushing to registry"), ("pull", "error pulling from registry")] {
        for (image, reason) in [("", "must have valid image ref\n"), ("vm:", "tag \"\" is not of letters")] {
            let outcome = eci(&env, &[command, image]).exits(1);
            assert!(outcome.stderr.contains(&format!(" {failed}: {reason}")), "{outcome}");
        }
    }
    eci(&env, &["pullfiles", ""]).exits(1).stderr_shows(" error pulling from registry: must have valid image ref\n");
    assert!(proa(&env, &["fly"]).exits(254).stderr.contains("fly"));
}

/// Flags are Go's: switches have values, what is given again replaces what was given, and what is empty is not given.
#[test]
fn flags_are_the_originals() {
    let env = needs!(root_env());
    parts(&env);
    env.write("a,b", b"disk");
    let remote = layout(&env);
    let push = |more: &[&str]| {
        let args: Vec<&str> = ["push", "--remote", &remote].iter().chain(more).copied().chain(["vm"]).collect();
        eci(&env, &args).succeeds().quietly()
    };
    let files = || {
        let shown = eci(&env, &["inspect", "--format=json", "--remote", &remote, "vm"]).succeeds();
        let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
        let files = shown["files"].as_array().expect("a list");
        files.iter().map(|it| it["title"].as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    let of = |title: &str, file: &str| {
        let out = env.path("out");
        eci(&env, &["pull", "--remote", &remote, "--dir", out.to_str().expect("text"), "vm"]).succeeds();
        assert!(fs::read(out.join(title)).expect("it is there") == fs::read(env.path(file)).expect("ours"), "{file}");
        fs::remove_dir_all(out).expect("it is ours");
    };
    let said = push(&["--kernel", "i", "--kernel", "k", "--verbose", "--verbose=true", "--debug=false"]);
    assert!(said.stdout.starts_with("Downloaded "), "{said}");
    of("kernel", "k");
    let said = push(&["--kernel", "k", "--initrd", "", "--disk", "", "--verbose", "--verbose=false"]);
    assert!(said.stdout.starts_with("Pushed image "), "{said}");
    assert_eq!(files(), ["kernel"]);
    push(&["--disk", "k:raw,\"a,b:iso\"", "--disk", "i:raw"]);
    assert_eq!(files(), ["disk-0-k", "disk-1-a,b", "disk-2-i"]);
    of("disk-1-a,b", "a,b");
    // No folder is the working directory, which is the test's.
    eci(&env, &["pull", "--remote", &remote, "--dir", "", "vm"]).succeeds().shows("additional disk 1: ");
    assert_eq!(fs::read(env.path("disk-1-a,b")).expect("it is there"), b"disk");
}

#[test]
fn debug_tells_what_is_done_and_completion_is_for_shells() {
    let env = needs!(root_env());
    parts(&env);
    let registry = needs!(Setup::plain().start(&env, "registry"));
    let said = eci(&env, &["push", "--debug", "--kernel", "k", &registry.name("vm")]).succeeds();
    assert!(said.stdout.starts_with("Pushed image ") && said.stderr.contains("DEBUG"), "{said}");
    eci(&env, &["pullfiles", "--kernel", "out", &registry.name("vm")]).succeeds().quietly();
    for (shell, shown) in [("bash", "complete -F _eci"), ("zsh", "#compdef eci"), ("fish", "complete -c eci")] {
        let script = eci(&env, &["completion", shell]).succeeds().quietly().shows(shown).stdout;
        assert!(script.contains("pullfiles") && !script.contains("proa"), "{script}");
    }
    eci(&env, &["completion", "tcsh"]).exits(1).stderr_shows("tcsh");
}

/// Where files cannot be, nothing is asked of anybody.
#[test]
fn files_that_cannot_be_written_are_told_first() {
    let env = needs!(root_env());
    let asked = "localhost:1/vm";
    for (args, message) in [
        (
            &["--kernel", "nowhere/k"][..],
            "failed to open kernel file nowhere/k for writing: there is no folder nowhere",
        ),
        (&["--root", "/dev/null"], "failed to open root disk file /dev/null for writing: it is not a regular file"),
        (&["--kernel", "a", "--config", "./a"], "--kernel and --config name the same file ./a"),
    ] {
        let outcome = eci(&env, &[&["pullfiles"], args, &[asked]].concat()).exits(1);
        assert!(outcome.stderr.ends_with(&format!(" {message}\n")), "{outcome}");
    }
}
