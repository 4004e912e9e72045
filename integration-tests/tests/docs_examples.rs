//! Every subcommand has a page in docs/subcommands, and the examples of these pages work as they stand.

use integration_tests::images::{Layout, busybox};
use integration_tests::needs::{Place, place};
use integration_tests::{Env, User, binaries, needs};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout").join("docs/subcommands")
}

/// The lines of a page's examples, whether they stand in one block or several.
fn examples(page: &str) -> Vec<String> {
    let text = fs::read_to_string(docs().join(page)).expect("the checkout's");
    let section = text.lines().skip_while(|line| *line != "## Examples").skip(1);
    let lines = section.take_while(|line| !line.starts_with("## "));
    lines.filter_map(|line| line.strip_prefix("    ").map(str::to_owned)).collect()
}

#[test]
fn every_subcommand_has_a_page_with_examples() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let help = env.proa(["--help"]).outcome().succeeds();
    let listed = help.stdout.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed.take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("    "));
    let titles: String = fs::read_dir(docs())
        .expect("the checkout's")
        .map(|entry| fs::read_to_string(entry.expect("the checkout's").path()).expect("text"))
        .filter_map(|text| text.lines().next().map(|title| format!("{title},\n")))
        .collect();
    let mut without = Vec::new();
    for name in names.filter_map(|line| line.split_whitespace().next()) {
        let of_image = matches!(name, "images" | "rmi");
        if !of_image && !titles.contains(&format!("proa {name},")) {
            without.push(name.to_owned());
        }
    }
    assert!(without.is_empty(), "no page has the title of: {without:?}");
}

/// Pages whose examples need nothing but an image: stored as busybox, and in the layout of the current directory.
#[test]
fn examples_of_pages_work() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let layout = Layout::new("busybox").layer(busybox()).config("Cmd", json!(["sleep", "1000"])).build(&env);
    fs::rename(layout, env.path("layout")).expect("it is ours");
    let script = format!("#!/bin/sh\nexec '{}' --dir '{}' \"$@\"\n", binaries::proa().display(), env.data().display());
    let wrapper = env.write("bin-proa", script);
    fs::create_dir(env.path("bin")).expect("it is ours");
    fs::rename(wrapper, env.path("bin/proa")).expect("it is ours");
    std::os::unix::fs::chown(env.path("bin"), Some(env.account().uid), Some(env.account().gid)).expect("it is ours");
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(env.path("bin/proa"), fs::Permissions::from_mode(0o755)).expect("it is ours");
    env.proa(["docker", "run", "--rm", "oci:layout", "true"]).outcome().succeeds();
    env.proa(["docker", "tag", "layout", "busybox"]).outcome().succeeds();
    let run = |line: &str| {
        let script = format!("PATH={}:$PATH; {line}", env.path("bin").display());
        env.command("sh", vec!["-c".into(), script.into()]).outcome()
    };
    // What the reader has: a pod that runs, one that was prepared.
    run("proa run --detach --name web oci:layout").succeeds();
    let mut tried = 0;
    for page in
        ["top.md", "status.md", "list.md", "cat-manifest.md", "volume.md", "docker.md", "system.md", "completion.md"]
    {
        if page == "docker.md" {
            // It makes a pod of that name.
            run("proa stop web; proa rm web").succeeds();
        }
        let lines = examples(page);
        assert!(!lines.is_empty(), "{page} has no examples");
        for line in lines.iter().filter(|line| line.starts_with("proa ")) {
            // A pod of the reader's, an image of his, and an end that is waited for.
            let skipped = ["5c8f2f6e", "oci:layout:v1", "--wait"].iter().any(|part| line.contains(part));
            if !skipped {
                run(line).succeeds();
                tried += 1;
            }
        }
    }
    assert!(tried >= 20, "{tried} examples were tried");
    for line in examples("commit.md") {
        let line = line.replace("oci:layout:v1", "oci:layout");
        run(&line).succeeds();
    }
    run("proa rm work").succeeds();
    env.assert_nothing_left();
}
