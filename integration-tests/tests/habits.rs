//! What users of docker and of shells are used to, beside docker's own command line: `top`, `system`, `login`, profiles,
//! completion and manual pages.

use integration_tests::images::{Layout, busybox};
use integration_tests::needs::tool;
use integration_tests::registry::Setup;
use integration_tests::{Env, User, each_user, needs};
use serde_json::{Value, json};
use std::fs;

fn shell(env: &Env) -> String {
    format!("oci:{}", Layout::new("shell").layer(busybox()).config("Cmd", json!(["sh"])).build(env).display())
}

each_user! {
    top_shows_the_processes_of_a_pod_and_no_others,
    system_df_info_and_prune,
    a_profile_adds_a_subcommand,
    help_may_be_asked_for_in_words,
}

fn help_may_be_asked_for_in_words(env: &Env) {
    for words in [&["run"][..], &["image", "list"], &[]] {
        let option = env.proa(words.iter().chain(&["--help"])).outcome().succeeds();
        let command = env.command(integration_tests::binaries::proa(), {
            std::iter::once("help").chain(words.iter().copied()).map(Into::into).collect()
        });
        assert_eq!(command.outcome().succeeds().stdout, option.stdout);
        // After global options, too: the tests' own --dir is one.
        let command = env.proa(["--debug", "help"].iter().chain(words)).outcome();
        assert_eq!(command.succeeds().stdout, option.stdout);
    }
    let refused = env.proa(["run", &shell(env), "--memory=64MB"]).outcome();
    refused.refuses("64MB").stderr_shows("64Mi, 1.5Gi or 500M");
}

fn top_shows_the_processes_of_a_pod_and_no_others(env: &Env) {
    env.proa(["run", "--detach", "--name=web", &shell(env), "--", "sh", "-c", "sleep 4711 & wait"])
        .outcome()
        .succeeds();
    env.proa(["run", "--detach", "--name=other", &shell(env), "--", "sleep", "4712"]).outcome().succeeds();
    let deadline = std::time::Instant::now() + integration_tests::limit();
    let shown = loop {
        let shown = env.proa(["top", "web"]).outcome().succeeds();
        if shown.stdout.contains("sleep 4711\n") {
            break shown;
        }
        assert!(std::time::Instant::now() < deadline, "{shown}");
    };
    let titles: Vec<&str> = shown.stdout.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(titles, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    assert!(!shown.stdout.contains("4712"), "{shown}");
    for pod in ["web", "other"] {
        env.proa(["stop", "--force", pod]).outcome().succeeds();
        env.proa(["rm", pod]).outcome().succeeds();
    }
    env.proa(["docker", "top", "web"]).outcome().exits(1).stderr_shows("web");
}

fn system_df_info_and_prune(env: &Env) {
    env.proa(["run", "--keep", &shell(env), "--", "sh", "-c", "head -c 5000 /dev/zero >/big"]).outcome().succeeds();
    let volume = env.proa(["volume", "create"]).outcome().succeeds().line().to_owned();
    let df = env.proa(["system", "df"]).outcome().succeeds();
    let rows: Vec<Vec<&str>> = df.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
    assert_eq!(
        (rows[1][..3].to_vec(), rows[2][..3].to_vec()),
        (vec!["Images", "1", "1"], vec!["Containers", "1", "0"])
    );
    assert_eq!(rows[3][..5], ["Local", "Volumes", "1", "0", "0B"], "{df}");
    let info = env.proa(["docker", "info"]).outcome().succeeds();
    assert!(info.stdout.starts_with("Containers: 1\n Running: 0\n Paused: 0\n Stopped: 1\nImages: 1\n"), "{info}");
    let json = env.proa(["system", "info", "--format=json"]).outcome().succeeds();
    let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(json["DockerRootDir"], env.data().to_str().expect("UTF-8"));
    // Nothing happens without consent.
    let asked = env.proa(["system", "prune"]).outcome_with_input(b"n\n").succeeds();
    assert!(asked.stdout.starts_with("WARNING! This will remove:\n") && asked.stdout.ends_with("[y/N] "), "{asked}");
    let pruned = env.proa(["docker", "system", "prune", "-f", "-a", "--volumes"]).outcome().succeeds();
    let volumes = format!("Deleted Volumes:\n{volume}\n");
    for part in ["Deleted Containers:\n", volumes.as_str(), "Deleted Images:\n", "\ndeleted: sha256:"] {
        assert!(pruned.stdout.contains(part), "{part:?} is missing: {pruned}");
    }
    assert!(!pruned.stdout.ends_with("reclaimed space: 0B\n"), "{pruned}");
    env.proa(["system", "prune", "-f"]).outcome().succeeds().prints("Total reclaimed space: 0B\n");
    env.assert_nothing_left();
}

fn a_profile_adds_a_subcommand(env: &Env) {
    let config = env.path("config");
    env.make_dir(&config);
    env.make_dir(&config.join("profiles"));
    let image = shell(env);
    let file = env.write(
        "config/profiles/greet.toml",
        format!("image = {image:?}\nrun = ['--rm', '-e', 'WHO=${{WHOM}}']\nentrypoint = 'sh'\nargs = ['-c', 'echo $WHO \"$@\"', 'sh']\n"),
    );
    let greet = |words: &[&str]| {
        let option = format!("--user-config={}", config.display());
        env.proa([option.as_str(), "greet"].iter().chain(words)).var("WHOM", "you").outcome()
    };
    greet(&["--and", "me"]).succeeds().prints("you --and me\n");
    let dry = greet(&["--dry-run", "x"]).succeeds();
    let first = dry.stdout.lines().next().unwrap_or_default();
    assert!(first.starts_with("proa run ") && first.contains("--set-env=WHO=you"), "{dry}");
    assert!(first.contains(" --exec=sh ") && first.ends_with(" -- -c 'echo $WHO \"$@\"' sh x"), "{dry}");
    fs::write(&file, "image = 'x'\nentry = 'y'\n").expect("it is ours");
    greet(&[]).refuses("greet.toml: line 2: ");
    env.proa(["nosuch"]).outcome().exits(254).stderr_shows("nosuch");
    env.assert_nothing_left();
}

#[test]
fn login_keeps_what_the_registry_knows() {
    let env = needs!(Env::of(User::WithRange).or_else(|_| Env::of(User::NoRange)));
    needs!(tool("docker-registry"));
    let registry = needs!(Setup::plain().user("anna", "secret").start(&env, "registry"));
    let file = env.path("auth/auth.json");
    let docker = |words: &[&str], input: &[u8]| {
        let line = ["--insecure-options=http", "docker"].iter().chain(words).map(|word| (*word).to_owned());
        env.proa(line).var("HOME", env.root()).var("REGISTRY_AUTH_FILE", &file).outcome_with_input(input)
    };
    let host = registry.host();
    docker(&["login", "-u", "anna", "--password-stdin", &host], b"wrong\n")
        .exits(1)
        .stderr_shows(&format!("{host} wants credentials, and refuses those that were given"));
    assert!(!file.exists(), "what is wrong is not kept");
    docker(&["login", "-u", "anna", "--password-stdin", &host], b"secret\n").succeeds().prints("Login Succeeded\n");
    let kept: Value = serde_json::from_slice(&fs::read(&file).expect("it was written")).expect("JSON");
    assert_eq!(kept["auths"][&host]["auth"], "YW5uYTpzZWNyZXQ=");
    // As `aws ecr get-login` prints it: a URL, and the password on the line.
    let url = format!("https://{host}");
    let warned = docker(&["login", "-u", "anna", "-p", "secret", "-e", "none", &url], b"").succeeds();
    assert!(warned.stdout == "Login Succeeded\n" && !warned.stderr.contains("secret"), "{warned}");
    docker(&["logout", &host], b"").succeeds().prints(&format!("Removing login credentials for {host}\n"));
    docker(&["logout", &host], b"").succeeds().prints(&format!("Not logged in to {host}\n"));
    docker(&["login", "-u", "anna", &host], b"").exits(1).stderr_shows("non TTY device");
}

#[test]
fn shells_complete_and_manuals_are_written() {
    let env = needs!(Env::of(User::WithRange).or_else(|_| Env::of(User::NoRange)));
    for (shell, part) in [("bash", "complete -F _proa"), ("zsh", "#compdef proa"), ("fish", "complete -c proa")] {
        let script = env.proa(["completion", shell]).outcome().succeeds();
        assert!(script.stdout.contains(part) && script.stdout.contains("run-prepared"), "{shell}");
    }
    env.proa(["completion", "tcsh"]).outcome().exits(254);
    // What bash completes with it.
    let script = "source <(\"$0\" completion bash) && COMP_WORDS=(proa volume '') COMP_CWORD=2 && _proa proa '' volume && echo ${COMPREPLY[@]}";
    let words = ["-c".into(), script.into(), integration_tests::binaries::proa().into()];
    let completed = env.command("bash", words.to_vec()).outcome().succeeds();
    assert!(
        ["create", "ls", "rm", "inspect", "prune"].iter().all(|name| completed.stdout.contains(name)),
        "{completed}"
    );
    let dir = env.path("man");
    env.make_dir(&dir);
    env.proa(["man", dir.to_str().expect("UTF-8")]).outcome().succeeds();
    for (page, part) in
        [("proa.1", "proa\\-run(1)"), ("proa-run.1", "exit\\-policy"), ("proa-image-list.1", ".SH NAME")]
    {
        let text = fs::read_to_string(dir.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains(part), "{page} has no {part}");
    }
    env.proa(["man", "/no/such"]).outcome().refuses("/no/such");
}
