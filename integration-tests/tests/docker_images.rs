//! docker's commands for images that travel in archives, for what is not used any more, and what volumes begin with.

use integration_tests::images::{Aci, Layout, busybox};
use integration_tests::{Env, Outcome, User, each_user, needs};
use serde_json::json;
use std::fs::File;
use std::process::Command;

fn docker(env: &Env, words: &[&str]) -> Outcome {
    env.proa(["docker"].iter().chain(words)).outcome()
}

/// An image with something at /data, stored as `name`.
fn image(env: &Env, name: &str) -> String {
    let tree = busybox().dir("data", 0o750).file("data/file", format!("of {name}\n"), 0o640);
    let tree = tree.dir("data/deep", 0o755).file("data/deep/program", "x", 0o4755).symlink("data/link", "deep/program");
    let folder = name.replace(['/', ':'], "-");
    let layout = Layout::new(&folder).layer(tree).config("Cmd", json!(["sh"])).build(env);
    let id = env.proa(["fetch", &format!("oci:{}", layout.display())]).outcome().succeeds().line().to_owned();
    docker(env, &["tag", &id, name]).succeeds();
    id
}

each_user! {
    a_named_volume_begins_with_the_images_content,
    a_filling_that_was_cut_off_is_made_good,
    images_travel_in_archives,
    an_aci_is_given_names_and_loses_them,
    what_is_not_used_goes,
    how_an_image_came_to_be,
    what_is_asked_about_the_program_and_containers,
    a_terminal_has_a_kind,
}

fn a_named_volume_begins_with_the_images_content(env: &Env) {
    image(env, "first");
    image(env, "second");
    let run = |volume: &str, image: &str, script: &str| {
        docker(env, &["run", "--rm", "-v", volume, image, "sh", "-c", script]).succeeds().stdout
    };
    let look = "cd /data && find . | sort && stat -c '%a %n' . file deep/program && readlink link && cat file";
    let content =
        ".\n./deep\n./deep/program\n./file\n./link\n750 .\n640 file\n4755 deep/program\ndeep/program\nof first\n";
    assert_eq!(run("data:/data", "first", look), content);
    assert_eq!(run("data:/data", "second", "cat /data/file"), "of first\n", "what is there stays");
    run("data:/data", "first", "echo changed >/data/file");
    assert_eq!(run("data:/data:ro", "second", "cat /data/file"), "changed\n");
    // Docker has it so: a volume that was emptied is an empty one.
    run("data:/data", "first", "rm -r /data/*");
    assert_eq!(run("data:/data:ro", "second", "cat /data/file; ls -A /data"), "of second\ndeep\nfile\nlink\n");
    assert_eq!(run("none:/data:nocopy", "first", "ls -A /data"), "");
    let mount =
        ["run", "--rm", "--mount", "type=volume,src=none,dst=/data,volume-nocopy", "first", "ls", "-A", "/data"];
    docker(env, &mount).succeeds().prints("");
    // Where the image has nothing, and where it has a file, there is nothing to copy.
    assert_eq!(run("other:/nowhere", "first", "ls -A /nowhere"), "");
    // The volumes of others are theirs: a directory of the host stays as it is.
    let host = env.path("host");
    env.make_dir(&host);
    assert_eq!(run(&format!("{}:/data", host.display()), "first", "ls -A /data"), "");
    // The command that --dry-run prints does the same.
    let printed = docker(env, &["run", "--dry-run", "-v", "dry:/data", "first", "cat", "/data/file"]).succeeds();
    assert!(printed.stdout.contains("proa.local/filled"), "{printed}");
    docker(env, &["volume", "rm", "data", "none", "other", "dry"]).succeeds();
}

fn a_filling_that_was_cut_off_is_made_good(env: &Env) {
    image(env, "first");
    let run = |volume: &str, script: &str| {
        docker(env, &["run", "--rm", "-v", volume, "first", "sh", "-c", script]).succeeds().stdout
    };
    // As it is when the copy was not complete,
    run("data:/data:nocopy", "mkdir -p /data/.proa-filling/deep && echo half >/data/.proa-filling/deep/half");
    assert_eq!(run("data:/data", "ls -A /data; cat /data/file"), "deep\nfile\nlink\nof first\n");
    // and when it was, and some of its entries had been moved.
    run("data:/data:nocopy", "cd /data && mkdir .proa-filled && mv deep file .proa-filled");
    assert_eq!(run("data:/data", "ls -A /data; cat /data/file"), "deep\nfile\nlink\nof first\n");
    docker(env, &["volume", "rm", "data"]).succeeds();
}

fn images_travel_in_archives(env: &Env) {
    image(env, "first");
    let second = image(env, "team/second:2");
    let archive = env.path("both.tar").display().to_string();
    docker(env, &["save", "-o", &archive, "first", "team/second:2"]).succeeds().prints("");
    docker(env, &["save", "nosuch"])
        .exits(1)
        .stderr_shows("Error response from daemon: reference does not exist: nosuch");
    docker(env, &["rmi", "-f", "first", &second]).succeeds();
    env.proa(["image", "list", "--no-legend"]).outcome().succeeds().prints("");
    let loaded = docker(env, &["load", "-i", &archive]).succeeds();
    loaded.prints("Loaded image: first:latest\nLoaded image: team/second:2\n");
    docker(env, &["run", "--rm", "team/second:2", "cat", "/data/file"]).succeeds().prints("of team/second:2\n");
    let saved = env.proa(["docker", "save", "first"]).through(["sh", "-c", "\"$@\" >piped.tar", "sh"]).outcome();
    saved.succeeds();
    docker(env, &["rmi", "-f", "first"]).succeeds();
    let file = File::open(env.path("piped.tar")).expect("it was written");
    let loaded = env.proa(["docker", "image", "load"]).stdin(file).outcome().succeeds();
    assert_eq!(loaded.stdout, "Loaded image: first:latest\n");
    let bytes = std::fs::read(env.path("piped.tar")).expect("it was written");
    env.proa(["docker", "load", "-q"]).outcome_with_input(&bytes).succeeds().prints("Loaded image: first:latest\n");
    docker(env, &["run", "--rm", "first", "cat", "/data/file"]).succeeds().prints("of first\n");
    docker(env, &["load"]).exits(1).stderr_shows("requested load from stdin, but stdin is empty");
    env.proa(["docker", "load"]).outcome_with_input(b"no archive").exits(1);
    docker(env, &["load", "-i", "/nosuch"]).exits(1).stderr_shows("/nosuch");
    env.assert_nothing_left();
}

fn an_aci_is_given_names_and_loses_them(env: &Env) {
    let of_oci = image(env, "first");
    let aci = Aci::new("own", busybox().file("n", "aci\n", 0o644)).exec(["/bin/cat"]).build(env);
    let id = env
        .proa(["--insecure-options=image".as_ref(), "fetch".as_ref(), aci.as_os_str()])
        .outcome()
        .succeeds()
        .line()
        .to_owned();
    let digits = &id["sha512-".len()..][..12];
    docker(env, &["tag", "example.com/own", "mine"]).succeeds().prints("");
    docker(env, &["tag", digits, "team/mine:2"]).succeeds();
    let listed = |words: &[&str]| {
        let words = [&["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"], words].concat();
        docker(env, &words).succeeds().stdout
    };
    assert_eq!(listed(&["mine"]), format!("mine:latest {digits}\n"));
    assert_eq!(listed(&["-f", "reference=team/*"]), format!("team/mine:2 {digits}\n"));
    assert_eq!(listed(&["example.com/own"]), format!("example.com/own:latest {digits}\n"));
    docker(env, &["run", "--name=c", "mine", "/n"]).succeeds().prints("aci\n");
    docker(env, &["ps", "-a", "--format", "{{.Image}}"]).succeeds().prints("mine\n");
    docker(env, &["rm", "c"]).succeeds();
    let tags = ["inspect", "-f", "{{.RepoTags}}", "team/mine:2"];
    docker(env, &tags).succeeds().prints("[example.com/own:latest team/mine:2 mine:latest]\n");
    docker(env, &["rmi", "mine"]).succeeds().prints("Untagged: mine:latest\n");
    docker(env, &["rmi", "mine"]).exits(1).stderr_shows("No such image: mine:latest\n");
    docker(env, &["run", "--rm", "team/mine:2", "/n"]).succeeds().prints("aci\n");
    let shown = docker(env, &["images", "-q", "--no-trunc", "team/mine:2"]).succeeds().line().to_owned();
    docker(env, &["run", "--rm", &shown, "/n"]).succeeds().prints("aci\n");
    // What its manifest says nobody can take from it.
    let refused = docker(env, &["rmi", "example.com/own"]).exits(1);
    refused.stderr_shows("unable to take the name example.com/own:latest").stderr_shows("team/mine:2");
    // A name that another image has is taken from it, of whatever kind the two are.
    docker(env, &["tag", "team/mine:2", "first"]).succeeds();
    assert_eq!(listed(&["first"]), format!("first:latest {digits}\n"));
    docker(env, &["run", "--rm", "first", "/n"]).succeeds().prints("aci\n");
    docker(env, &["tag", &of_oci, "first"]).succeeds();
    docker(env, &["run", "--rm", "first", "cat", "/data/file"]).succeeds().prints("of first\n");
    docker(env, &["rmi", "team/mine:2"]).succeeds();
    let gone = docker(env, &["rmi", "example.com/own"]).succeeds();
    assert!(gone.stdout.starts_with("Untagged: example.com/own:latest\nDeleted: sha256:"), "{gone}");
    docker(env, &["rmi", "first"]).succeeds();
    assert_eq!(listed(&[]), "");
    env.assert_nothing_left();
}

fn how_an_image_came_to_be(env: &Env) {
    let top = busybox().file("top", vec![b'x'; 1000], 0o644);
    let layout = Layout::new("told").layer(busybox()).layer(top).config("Cmd", json!(["sh"])).build(env);
    let id = env.proa(["fetch", &format!("oci:{}", layout.display())]).outcome().succeeds().line().to_owned();
    docker(env, &["tag", &id, "told"]).succeeds();
    let format = "{{.ID}}|{{.CreatedBy}}|{{.Comment}}";
    // Nothing is said of how: a line for each layer, the last one first.
    let lines = docker(env, &["history", "--format", format, "told"]).succeeds().stdout;
    assert_eq!(lines, format!("{}||\n<missing>||\n", &id[7..19]));
    let shown = docker(env, &["history", "told"]).succeeds().stdout;
    assert!(shown.starts_with("IMAGE          CREATED"), "{shown}");
    docker(env, &["image", "history", "-q", "--no-trunc", "told"]).succeeds().prints(&format!("{id}\n<missing>\n"));
    let bytes = docker(env, &["history", "--human=false", "--format={{.Size}}", "told"]).succeeds().stdout;
    let bytes: Vec<u64> = bytes.lines().map(|line| line.parse().expect("bytes")).collect();
    assert_eq!(bytes[0], bytes[1] + 1000, "the files of a layer");
    docker(env, &["history", "nosuch"]).exits(1).stderr_shows("No such image: nosuch");
}

fn what_is_not_used_goes(env: &Env) {
    let id = image(env, "kept");
    docker(env, &["run", "--name", "ended", &id, "true"]).succeeds();
    docker(env, &["run", "-d", "--name", "lives", &id, "sleep", "1000"]).succeeds();
    let ended = docker(env, &["ps", "-aq", "--no-trunc", "--filter", "name=ended"]).succeeds().line().to_owned();
    // Who does not agree keeps everything.
    docker(env, &["container", "prune"]).succeeds().shows("WARNING! This will remove all stopped containers.");
    let pruned = docker(env, &["container", "prune", "-f"]).succeeds();
    assert!(pruned.stdout.starts_with(&format!("Deleted Containers:\n{ended}\n\nTotal reclaimed space: ")), "{pruned}");
    docker(env, &["ps", "-a", "--format", "{{.Names}}"]).succeeds().prints("lives\n");
    docker(env, &["image", "prune", "-af"]).succeeds().prints("Total reclaimed space: 0B\n");
    // An image with several names is shown with the one that was typed.
    docker(env, &["tag", &id, "newer"]).succeeds();
    docker(env, &["run", "-d", "--name", "named", "kept", "sleep", "1000"]).succeeds();
    docker(env, &["ps", "--filter", "name=named", "--format", "{{.Image}}"]).succeeds().prints("kept\n");
    docker(env, &["rm", "-f", "lives", "named"]).succeeds();
    let pruned = docker(env, &["image", "prune", "-a", "--force"]).succeeds();
    assert!(pruned.stdout.starts_with("Deleted Images:\nuntagged: newer:latest\nuntagged: "), "{pruned}");
    assert!(pruned.stdout.contains("\ndeleted: sha256:"), "{pruned}");
    docker(env, &["images", "-q"]).succeeds().prints("");
    docker(env, &["container-prune"]).exits(1).stderr_shows("is not a docker command");
    env.assert_nothing_left();
}

fn what_is_asked_about_the_program_and_containers(env: &Env) {
    let version = docker(env, &["version"]).succeeds();
    assert!(version.stdout.starts_with("Client: proa\n Version:           0.1.0\n"), "{version}");
    docker(env, &["version", "--format", "{{.Server.Version}}"]).succeeds().prints("0.1.0\n");
    let id = image(env, "busy");
    docker(env, &["run", "-d", "--name", "busy", &id, "sh", "-c", "while :; do :; done"]).succeeds();
    let stats = docker(env, &["stats", "--no-stream"]).succeeds();
    let head: Vec<&str> =
        stats.stdout.lines().next().unwrap_or_default().split("  ").filter(|it| !it.is_empty()).collect();
    let head: Vec<&str> = head.into_iter().map(str::trim).collect();
    assert_eq!(
        head,
        ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"],
        "{stats}"
    );
    let used =
        docker(env, &["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.CPUPerc}}", "busy"]).succeeds();
    let cells: Vec<&str> = used.line().split(' ').collect();
    assert_eq!(cells[..2], ["busy", "1"], "{used}");
    let percent: f64 = cells[2].trim_end_matches('%').parse().unwrap_or_else(|e| panic!("{e}: {used}"));
    assert!(percent > 0.0, "it does nothing but compute: {used}");
    docker(env, &["stats", "--no-stream", "nosuch"]).exits(1).stderr_shows("No such container: nosuch");
    docker(env, &["rm", "-f", "busy"]).succeeds();
}

fn a_terminal_has_a_kind(env: &Env) {
    let id = image(env, "terminal");
    let term = |words: &[&str]| {
        let script = [id.as_str(), "sh", "-c", "echo \"[$TERM]\""];
        docker(env, &[words, &script].concat()).succeeds().stdout
    };
    assert_eq!(term(&["run", "--rm", "-t"]), "[xterm]\r\n");
    assert_eq!(term(&["run", "--rm", "-t", "-e", "TERM=dumb"]), "[dumb]\r\n");
    assert_eq!(term(&["run", "--rm"]), "[]\n");
    docker(env, &["run", "-d", "--name", "lives", &id, "sleep", "1000"]).succeeds();
    let exec = docker(env, &["exec", "-t", "lives", "sh", "-c", "echo \"[$TERM]\""]).succeeds();
    assert_eq!(exec.stdout, "[xterm]\r\n");
    docker(env, &["rm", "-f", "lives"]).succeeds();
}

/// Archives of files become images: from a file or a stream, packed or not, with what a Dockerfile would say.
#[test]
fn archives_of_files_are_imported() {
    let env = &needs!(Env::of(User::WithRange));
    let layout = Layout::new("shell").layer(busybox().file("seen", "x\n", 0o644)).config("Cmd", json!(["sh"]));
    let image = format!("oci:{}", layout.build(env).display());
    docker(env, &["create", "--name=from", &image, "true"]).succeeds();
    let tar = env.path("files.tar");
    docker(env, &["export", "-o", tar.to_str().unwrap(), "from"]).succeeds();
    docker(env, &["rm", "from"]).succeeds();
    let changes = ["-c", "CMD [\"cat\", \"/seen\"]", "--change", "ENV A=b", "-m", "of a file"];
    let words = [&["import"][..], &changes, &[tar.to_str().unwrap(), "files:1"]].concat();
    let id = docker(env, &words).succeeds().quietly().line().to_owned();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    docker(env, &["run", "--rm", "--network=none", "files:1"]).succeeds().prints("x\n");
    let shown = "{{.Id}} {{.RepoTags}} {{.Config.Env}} {{.Os}} {{len .RootFS.Layers}}";
    docker(env, &["inspect", "-f", shown, "files:1"]).succeeds().prints(&format!("{id} [files:1] [A=b] linux 1\n"));
    docker(env, &["history", "--format", "{{.Comment}}", "files:1"]).succeeds().prints("of a file\n");
    // Packed, and as a stream; without a name, and so without a command.
    let packed = Command::new("gzip").arg("-c").arg(&tar).output().expect("gzip").stdout;
    let id = env.proa(["docker", "import", "-"]).outcome_with_input(&packed).succeeds().line().to_owned();
    docker(env, &["run", "--rm", "--network=none", &id, "cat", "/seen"]).succeeds().prints("x\n");
    docker(env, &["images", "-q", "--no-trunc", "-f", "dangling=true"]).succeeds().prints(&format!("{id}\n"));
    docker(env, &["history", "--format", "{{.Comment}}", &id]).succeeds().prints("Imported from -\n");
    // What is no archive, or is not there, makes no image.
    let text = env.write("text", "no archive");
    for (file, text) in [
        (text.to_str().unwrap(), "not a tar archive: it begins with \"no archive\""),
        ("nosuch.tar", "open nosuch.tar: No such file"),
        ("https://example.com/x.tar", "a file or - is imported"),
    ] {
        docker(env, &["import", file, "bad"]).exits(1).stderr_shows(text);
    }
    env.proa(["docker", "import", "-"]).outcome_with_input(b"").exits(1).stderr_shows("stdin is empty");
    docker(env, &["import", "-c", "RUN x", tar.to_str().unwrap(), "bad"]).exits(1).stderr_shows("RUN x");
    docker(env, &["images", "-q", "bad"]).succeeds().prints("");
    docker(env, &["rmi", "files:1", &id]).succeeds();
    env.assert_nothing_left();
}
