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
    let section = text.lines().skip_while(|line| !["## Example", "## Examples"].contains(line)).skip(1);
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

/// A page, and what its reader has who tries the examples.
#[derive(Default)]
struct Page {
    name: &'static str,
    /// What is done in the page's directory before.
    before: &'static str,
    /// What is done before each line.
    each: &'static str,
    /// What stands for something of the reader's.
    swaps: &'static [(&'static str, &'static str)],
    /// Lines that go on until they are stopped, by a part of them.
    endless: &'static [&'static str],
    /// Lines that cannot be tried here, by a part of them, and why.
    left_out: &'static [(&'static str, &'static str)],
}

/// The reader's pods run: `web`, whose app is called nginx, and `logs`. They survive the signals of the examples.
const PODS_RUN: &str = "for p in web logs; do proa docker ps -q --filter name=$p | grep -q . || { proa rm $p; proa run --detach \
    --name $p oci:layout --name nginx -- sh -c 'trap : HUP USR1; while :; do sleep 1; done'; } >/dev/null 2>&1; done";

/// They have ended, and so has another one.
const PODS_HAVE_ENDED: &str =
    "for p in web logs other; do proa run --detach --name $p oci:layout -- true; proa wait $p; done";

const PODS_ARE_PREPARED: &str = "for p in web other; do proa prepare --name $p oci:layout -- true; done";

/// ACIs of the reader's.
const ACIS: &str = "proa image export --format=aci brief busybox.aci; cp busybox.aci redis.aci";

const WEB: (&str, &str) = ("5c8f2f6e", "web");
const OTHER: (&str, &str) = ("5c8f2f6e", "other");
const LAYOUT: (&str, &str) = ("oci:layout:v1", "oci:layout");

fn pages() -> Vec<Page> {
    let page = |name| Page { name, ..Page::default() };
    let of_pods = |name| Page { each: PODS_RUN, swaps: &[WEB], ..page(name) };
    vec![
        Page {
            before: "rm layout; mkdir layout; proa image render --rootfs-only brief layout/rootfs; \
                echo '{\"acKind\":\"ImageManifest\",\"acVersion\":\"0.8.11\",\"name\":\"example.com/worker\",\
                \"labels\":[{\"name\":\"os\",\"value\":\"linux\"},{\"name\":\"arch\",\"value\":\"amd64\"}],\
                \"app\":{\"exec\":[\"/bin/true\"],\"user\":\"0\",\"group\":\"0\"}}' >layout/manifest",
            ..page("aci.md")
        },
        Page { before: "proa docker tag brief example.com/redis", ..page("app.md") },
        Page { endless: &["attach web", "--mode stdout", "attach shell"], swaps: &[LAYOUT], ..of_pods("attach.md") },
        of_pods("cat-manifest.md"),
        // Its first line returns before the app has written.
        Page { each: "sleep 0.3", swaps: &[LAYOUT], ..page("commit.md") },
        page("completion.md"),
        page("config.md"),
        of_pods("cp.md"),
        page("docker.md"),
        Page {
            left_out: &[("proa doctor", "it fails where the machine lacks something, as it should")],
            ..page("doctor.md")
        },
        page("eci.md"),
        of_pods("enter.md"),
        Page { endless: &["proa events"], ..of_pods("events.md") },
        page("export.md"),
        Page {
            before: ACIS,
            swaps: &[LAYOUT],
            left_out: &[
                ("docker.io", "the internet; registries.rs has registries of its own"),
                ("proa run \"$id\"", "the line before it sets id"),
            ],
            ..page("fetch.md")
        },
        page("gc.md"),
        page("identity.md"),
        Page {
            each: "proa docker tag brief example.com/redis:7",
            swaps: &[("sha256:0c4f", "brief")],
            left_out: &[("image push", "a registry of one's own; pushes.rs")],
            ..page("image.md")
        },
        of_pods("kill.md"),
        of_pods("list.md"),
        Page { left_out: &[("quay.io", "the internet; registries.rs logs in to its own")], ..page("login.md") },
        Page { endless: &["--follow"], ..of_pods("logs.md") },
        Page { endless: &["metadata-service"], ..page("metadata-service.md") },
        // Its pods have no network of their own that anything could lead into; port_changes.rs has.
        Page { left_out: &[("proa port", "pasta and a pod with it; port_changes.rs")], ..page("port.md") },
        Page { before: ACIS, ..page("prepare.md") },
        Page { before: PODS_HAVE_ENDED, swaps: &[OTHER], ..page("rm.md") },
        Page { before: PODS_ARE_PREPARED, swaps: &[OTHER], ..page("run-prepared.md") },
        Page {
            before: "mkdir web; proa image export --format=aci brief busybox.aci",
            swaps: &[
                ("sha256:4bcff63911fc", "brief"),
                ("source=/etc/web", "source=$PWD/web"),
                ("oci:layout:v1", "oci:../brief"),
                ("oci:layout:worker", "oci:../brief --name worker"),
                ("oci:layout:logger", "oci:../brief"),
            ],
            ..page("run.md")
        },
        Page {
            left_out: &[("proa stats", "control groups, which this machine may not have; resources.rs in the guest")],
            ..page("stats.md")
        },
        Page { endless: &["--wait"], ..of_pods("status.md") },
        of_pods("stop.md"),
        page("system.md"),
        of_pods("top.md"),
        Page { left_out: &[("proa trust", "it asks; trust/ answers")], ..page("trust.md") },
        Page { left_out: &[("proa update", "control groups; resources.rs in the guest")], ..page("update.md") },
        page("version.md"),
        page("volume.md"),
        Page { before: PODS_HAVE_ENDED, ..page("wait.md") },
    ]
}

/// The command lines of a page's examples: with a prompt or without, over several lines or one.
fn commands(page: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let examples = examples(page);
    // With a prompt, what has none is output.
    let prompts = examples.iter().any(|line| line.starts_with("$ "));
    for line in examples.into_iter().filter(|line| !prompts || line.starts_with("$ ")) {
        if let Some(open) = commands.last_mut().filter(|open| open.ends_with('\\')) {
            open.pop();
            open.push_str(line.trim_start());
        } else if ["proa ", "$ proa ", "tar ", "id=$(proa"].iter().any(|begins| line.starts_with(begins)) {
            commands.push(line.trim_start_matches("$ ").to_owned());
        }
    }
    commands
}

/// What a reader of the pages has: an image, stored as busybox and in a layout directory, and one whose app ends at once.
fn reader(env: &Env) {
    let tree = || {
        busybox().script("bin/nginx", "exit 0").file(
            "etc/passwd",
            "root:x:0:0::/:/bin/sh\nwww-data:x:33:33::/:/bin/sh\n",
            0o644,
        )
    };
    let layout = Layout::new("busybox").layer(tree()).config("Cmd", json!(["sleep", "1000"])).build(env);
    fs::rename(layout, env.path("layout")).expect("it is ours");
    let brief = Layout::new("brief").layer(tree().script("entry", "true")).config("Entrypoint", json!(["/entry"]));
    fs::rename(brief.build(env), env.path("brief")).expect("it is ours");
    let script = format!("#!/bin/sh\nexec '{}' --dir '{}' \"$@\"\n", binaries::proa().display(), env.data().display());
    env.make_dir(&env.path("bin"));
    let wrapper = env.write("bin/proa", script);
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(wrapper, fs::Permissions::from_mode(0o755)).expect("it is ours");
    for image in ["layout", "brief"] {
        env.proa(["fetch", &format!("oci:{}", env.path(image).display())]).outcome().succeeds();
    }
    env.proa(["docker", "tag", "layout", "busybox"]).outcome().succeeds();
}

/// Every example of every page, but for those that say why not.
#[test]
fn examples_of_pages_work() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    reader(&env);
    let run = |dir: &str, line: &str| {
        let (bin, dir) = (env.path("bin"), env.path(dir));
        let script = format!("PATH={}:$PATH; cd {}; {line}", bin.display(), dir.display());
        env.command("sh", vec!["-c".into(), script.into()]).outcome()
    };
    let mut known: Vec<String> = fs::read_dir(docs())
        .expect("the checkout's")
        .map(|entry| entry.expect("the checkout's").file_name().into_string().expect("UTF-8"))
        .filter(|name| name != "README.md")
        .collect();
    known.sort();
    let pages = pages();
    assert_eq!(pages.iter().map(|page| page.name).collect::<Vec<_>>(), known, "each page is in the list, by its name");
    let (mut tried, mut failed) = (0, Vec::new());
    for page in &pages {
        let dir = page.name.trim_end_matches(".md");
        env.make_dir(&env.path(dir));
        std::os::unix::fs::symlink("../layout", env.path(dir).join("layout")).expect("it is ours");
        run(dir, page.before);
        let mut left_out: Vec<&str> = page.left_out.iter().map(|(part, _)| *part).collect();
        for line in commands(page.name) {
            if page.left_out.iter().any(|(part, _)| line.contains(part)) {
                left_out.retain(|part| !line.contains(part));
                continue;
            }
            let swapped = page.swaps.iter().fold(line.clone(), |line, (from, to)| line.replace(from, to));
            run(dir, page.each);
            tried += 1;
            if page.endless.iter().any(|part| line.contains(part)) {
                let stopped = run(dir, &format!("timeout -s KILL 0.3 {swapped}"));
                if ![Some(0), Some(137), None].contains(&stopped.status.code()) {
                    failed.push(format!("{}: {stopped}", page.name));
                }
            } else {
                let tried = run(dir, &swapped);
                if !tried.status.success() {
                    failed.push(format!("{}: {line}: {tried}", page.name));
                }
            }
        }
        assert!(left_out.is_empty(), "{} has no line any more with {left_out:?}", page.name);
        run(dir, "proa docker ps -aq | xargs -r proa docker rm -f");
        let cleared = run(dir, "proa gc --grace-period=0; proa gc --expire-prepared=0");
        assert!(cleared.status.success(), "{}: {cleared}", page.name);
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(tried >= 75, "{tried} examples were tried");
    env.end_metadata_service();
    env.assert_nothing_left();
}
