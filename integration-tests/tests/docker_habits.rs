//! What docker's users do every day and appc's rules forbid or do not know: mounts in mounts, working directories that
//! are made, groups of the image, names of hosts, templates, filters of images.

use integration_tests::images::{Layout, busybox};
use integration_tests::needs::{Place, place};
use integration_tests::registry::Setup;
use integration_tests::{Env, Outcome, User, each_user, needs};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::process::Command;

const GROUPS: &str =
    "root:x:0:\nwheel:x:10:root\nweb:x:1000:\naudio:x:63:web,other\ndocker:x:990:web\nfar:x:70000:web\n";

/// An image with a few users and groups, and content at /app; stored as `shell`.
fn image(env: &Env) -> &'static str {
    let tree = busybox().dir("app", 0o755).file("app/index", "of the image\n", 0o644);
    let tree = tree.dir("app/modules", 0o755).file("app/modules/one", "1\n", 0o644);
    let tree = tree.file("etc/group", GROUPS, 0o644);
    let tree = tree.file("etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n", 0o644);
    let layout = Layout::new("shell").layer(tree).config("Cmd", json!(["sh"]));
    let layout = layout.config("Env", json!(["PATH=/bin", "1ST=odd", "b%c=d"])).config("Labels", json!({"a.b": "c"}));
    let id =
        env.proa(["fetch", &format!("oci:{}", layout.build(env).display())]).outcome().succeeds().line().to_owned();
    docker(env, &["tag", &id, "shell"]).succeeds();
    "shell"
}

fn docker(env: &Env, words: &[&str]) -> Outcome {
    env.proa(["docker"].iter().chain(words)).outcome()
}

/// Runs a script in a container that goes with it.
fn run(env: &Env, options: &[&str], script: &str) -> Outcome {
    docker(env, &[&["run", "--rm"], options, &["shell", "sh", "-c", script]].concat())
}

each_user! {
    mounts_lie_in_each_other_in_any_order,
    anonymous_volumes_begin_with_the_images_content,
    a_working_directory_is_made,
    a_container_knows_its_id_and_its_variables,
}

fn mounts_lie_in_each_other_in_any_order(env: &Env) {
    image(env);
    for name in ["outer", "outer/sub", "inner"] {
        env.make_dir(&env.path(name));
    }
    env.write("outer/sub/hidden", "x");
    env.write("inner/seen", "y");
    let (outer, inner) = (env.path("outer"), env.path("inner"));
    let (outer, inner) = (outer.to_str().unwrap(), inner.to_str().unwrap());
    let (around, within) = (format!("{outer}:/data"), format!("{inner}:/data/sub"));
    // Only root of the host is nobody's owner of what he shares: his pods have ids of their own.
    let writes = env.user() != User::Root;
    for options in [["-v", &around, "-v", &within], ["-v", &within, "-v", &around]] {
        run(env, &options, "cd /data; find . | sort").succeeds().prints(".\n./sub\n./sub/seen\n").quietly();
    }
    let read_only = format!("{outer}:/data:ro");
    let script = "test -e /data/sub/seen && ! touch /data/x 2>/dev/null";
    run(env, &["-v", &read_only, "-v", &within], script).succeeds();
    if writes {
        // As with docker, the place is made where it is missing, and belongs to the caller.
        let deep = format!("{inner}:/data/made/here");
        run(env, &["-v", &around, "-v", &deep], "ls /data/made/here; touch /data/made/here/new")
            .succeeds()
            .prints("seen\n");
        let made = fs::metadata(env.path("outer/made/here")).unwrap();
        assert_eq!((made.uid(), made.mode() & 0o777), (env.account().uid, 0o755));
        assert!(fs::read_dir(env.path("outer/made/here")).unwrap().next().is_none());
        assert!(env.path("inner/new").exists());
    }
    let missing = format!("{inner}:/data/missing");
    run(env, &["-v", &read_only, "-v", &missing], "true").exits(125).stderr_shows("Read-only file system");
    // What is in the way belongs to somebody.
    run(env, &["-v", &around, "-v", &format!("{inner}:/data/sub/hidden")], "true")
        .exits(125)
        .stderr_shows("there is a file in the volume around it");
    assert_eq!(fs::read(env.path("outer/sub/hidden")).unwrap(), b"x");
    docker(env, &["run", "--rm", "-v", &around, "-v", &format!("{inner}:/data/"), "shell", "true"])
        .exits(125)
        .stderr_shows("Duplicate mount point: /data");
    // Links in the outer volume lead through the container's root, not the host's.
    env.make_dir(&env.path("secret"));
    for (link, target) in
        [("to-host", env.path("secret")), ("up", "../../../../secret".into()), ("round", "round".into())]
    {
        symlink(target, env.path("outer").join(link)).unwrap();
        env.own(&env.path("outer/sub"));
    }
    for link in ["to-host", "up"] {
        let leads = format!("{inner}:/data/{link}/there");
        run(env, &["-v", &around, "-v", &leads], "true").succeeds();
    }
    assert!(fs::read_dir(env.path("secret")).unwrap().next().is_none(), "nothing was made on the host");
    run(env, &["-v", &around, "-v", &format!("{inner}:/data/round/x")], "true")
        .exits(125)
        .stderr_shows("symbolic links");
    // Elsewhere appc's rule holds.
    let (a, b) = (format!("a,kind=host,source={outer}"), format!("b,kind=host,source={inner}"));
    let mounts = ["--mount", "volume=a,target=/data", "--mount", "volume=b,target=/data/sub"];
    env.proa([&["run", "--volume", &a, "--volume", &b, "shell"], &mounts[..]].concat())
        .outcome()
        .refuses_with(254, "overlap");
    env.assert_nothing_left();
}

fn anonymous_volumes_begin_with_the_images_content(env: &Env) {
    image(env);
    env.make_dir(&env.path("work"));
    env.write("work/own", "x");
    env.make_dir(&env.path("work/modules"));
    let work = format!("{}:/app", env.path("work").display());
    run(env, &["-v", "/app"], "ls -A /app; touch /app/x").succeeds().prints("index\nmodules\n").quietly();
    // The way in which projects keep what was installed in the image beside their own files.
    run(env, &["-v", &work, "-v", "/app/modules"], "ls /app /app/modules; touch /app/modules/two")
        .succeeds()
        .prints("/app:\nmodules\nown\n\n/app/modules:\none\n");
    assert!(fs::read_dir(env.path("work/modules")).unwrap().next().is_none(), "the volume is not the host's");
    // A place for the app's own socket is found in a scratch directory, and none is made on the host.
    run(env, &["--tmpfs", "/run"], "ls /run/proa").succeeds().prints("identity.sock\n").quietly();
    let host = format!("{}:/run", env.path("work").display());
    run(env, &["-v", &host], "true").succeeds();
    assert!(!env.path("work/proa").exists());
    env.assert_nothing_left();
}

fn a_working_directory_is_made(env: &Env) {
    image(env);
    run(env, &["-w", "/new/deep"], "pwd; stat -c %a:%u . ..").succeeds().prints("/new/deep\n755:0\n755:0\n");
    run(env, &["-w", "/new", "--read-only"], "pwd").succeeds().prints("/new\n");
    run(env, &["-w", "/scratch/a", "--tmpfs", "/scratch"], "pwd").succeeds().prints("/scratch/a\n");
    run(env, &["-w", "/etc/passwd"], "pwd").exits(125).stderr_shows("Not a directory");
    run(env, &["-w", "/proc/x"], "pwd").exits(125).stderr_shows("No such file or directory");
    // Elsewhere appc's rule holds.
    env.proa(["run", "shell", "--working-dir=/new", "--", "true"]).outcome().refuses_with(254, "/new");
    env.assert_nothing_left();
}

fn a_container_knows_its_id_and_its_variables(env: &Env) {
    image(env);
    let id = docker(env, &["run", "-d", "--name", "named", "shell", "sleep", "1000"]).succeeds().line().to_owned();
    let inside = docker(env, &["exec", "named", "sh", "-c", "hostname; echo $HOSTNAME"]).succeeds();
    inside.prints(&format!("{0}\n{0}\n", &id[..12]));
    docker(env, &["inspect", "-f", "{{.Name}} {{.Config.Hostname}}", &id[..12]])
        .succeeds()
        .prints(&format!("/named {}\n", &id[..12]));
    let text = format!("Conflict. The container name \"/named\" is already in use by container \"{id}\".");
    docker(env, &["run", "--name", "named", "shell"]).exits(125).stderr_shows(&text);
    docker(env, &["rm", "-f", "named"]).succeeds();
    run(env, &["-h", "chosen"], "echo $HOSTNAME; hostname").succeeds().prints("chosen\nchosen\n");
    run(env, &["-e", "HOSTNAME=other"], "echo $HOSTNAME").succeeds().prints("other\n");
    // Names that no manifest has a place for.
    let file = env.write("variables", "2ND=from a file\n");
    let given = ["-e", "1ST=replaced", "-e", "a.b-c=x", "-e", "%=y", "--env-file", file.to_str().unwrap()];
    // No shell: it would keep to itself what it cannot use.
    let seen = docker(env, &[&["run", "--rm"], &given[..], &["shell", "env"]].concat()).succeeds();
    for line in ["%=y", "1ST=replaced", "2ND=from a file", "a.b-c=x", "b%c=d"] {
        assert!(seen.stdout.lines().any(|known| known == line), "{line}: {seen}");
    }
    run(env, &["-e", "a b=x"], "true").exits(125).stderr_shows("blank");
    env.assert_nothing_left();
}

/// As many groups as the C library finds in the same files, around the numbers at which libraries went wrong.
#[test]
fn usr_06_a_user_of_many_groups() {
    needs!(place(Place::Host));
    let env = &needs!(Env::of(User::WithRange));
    let passwd = "root:x:0:0::/root:/bin/sh\nanna:x:1000:1000::/:/bin/sh\n";
    for count in [0, 1, 1023, 1024, 1025] {
        let named = (2000..2000 + count).map(|gid| format!("g{gid}:x:{gid}:other,anna\n"));
        let groups = format!("anna:x:1000:\n{}", named.collect::<String>());
        let tree = busybox().file("etc/passwd", passwd, 0o644).file("etc/group", groups.as_str(), 0o644);
        let layout = Layout::new("many").layer(tree).config("User", json!("anna")).build(env);
        let image = format!("oci:{}", layout.display());
        let words = ["run", "--net=none", &image, "--", "sed", "-n", "s/^Groups://p", "/proc/self/status"];
        let seen = numbers(&env.proa(words).outcome().succeeds().stdout);

        let (own_passwd, own_group) = (env.write("passwd", passwd), env.write("group", &groups));
        let script = "mount --bind $0 /etc/passwd && mount --bind $1 /etc/group && getent initgroups anna";
        let expected =
            Command::new("unshare").args(["--mount", "sh", "-c", script]).args([own_passwd, own_group]).output();
        let expected = String::from_utf8(expected.unwrap().stdout).unwrap();
        let expected = numbers(expected.strip_prefix("anna").expect("getent knows her"));
        assert_eq!(seen, expected, "{count} groups");
        assert_eq!(expected.len(), count, "getent has found them");
    }
    env.assert_nothing_left();
}

/// Groups but for the user's own.
fn numbers(text: &str) -> BTreeSet<u32> {
    text.split_whitespace().map(|gid| gid.parse().unwrap()).filter(|gid| *gid != 1000).collect()
}

#[test]
fn groups_are_those_of_the_image() {
    let env = &needs!(Env::of(User::WithRange));
    image(env);
    let groups = |options: &[&str]| run(env, options, "id -G").succeeds().stdout.trim().to_owned();
    assert_eq!(groups(&["-u", "root"]), "0 10");
    // Of the pod's ids alone: 70000 is none.
    assert_eq!(groups(&["-u", "web"]), "1000 63 990");
    assert_eq!(groups(&["-u", "1000"]), "1000 63 990");
    assert_eq!(groups(&["-u", "web:audio"]), "63", "a group that is named is the only one");
    assert_eq!(groups(&["-u", "4711"]), "0");
    assert_eq!(groups(&["-u", "web:web", "--group-add", "audio", "--group-add", "7"]), "1000 7 63");
    run(env, &["--group-add", "nosuch"], "true")
        .exits(125)
        .stderr_shows("no group \"nosuch\" in the image's /etc/group");
    docker(env, &["run", "-d", "--name", "c", "-u", "web", "shell", "sleep", "1000"]).succeeds();
    docker(env, &["exec", "c", "id", "-G"]).succeeds().prints("1000 63 990\n");
    docker(env, &["exec", "-u", "root", "c", "id", "-G"]).succeeds().prints("0 10\n");
    docker(env, &["rm", "-f", "c"]).succeeds();
    // The same of an OCI image without docker's words.
    env.proa(["run", "shell", "--user=web", "--", "id", "-G"]).outcome().succeeds().prints("1000 63 990\n");
    env.proa(["run", "shell", "--user=web", "--group=web", "--", "id", "-G"]).outcome().succeeds().prints("1000\n");
    env.assert_nothing_left();
}

#[test]
fn images_are_filtered_and_templates_are_gos() {
    let env = &needs!(Env::of(User::WithRange));
    image(env);
    docker(env, &["tag", "shell", "team/tool:2"]).succeeds();
    let names = |words: &[&str]| {
        let listed = docker(env, &[&["images", "--format", "{{.Repository}}:{{.Tag}}"], words].concat()).succeeds();
        let mut lines: Vec<String> =
            listed.stdout.lines().filter(|line| !line.contains("hello")).map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    for (words, expected) in [
        (&["s*"][..], &["shell:latest"][..]),
        (&["team/*"], &["team/tool:2"]),
        (&["team/tool:3"], &[]),
        (&["-f", "reference=*/tool"], &["team/tool:2"]),
        (&["-f", "reference=shell", "-f", "reference=team/tool:2"], &["shell:latest", "team/tool:2"]),
        (&["-f", "dangling=true"], &[]),
        (&["-f", "label=a.b=c", "s*"], &["shell:latest"]),
        (&["-f", "label=a.b=d"], &[]),
        (&["-f", "before=shell"], &[]),
    ] {
        assert_eq!(names(words), expected, "{words:?}");
    }
    docker(env, &["images", "--digests", "shell"]).succeeds().shows("DIGEST").shows("<none>");
    docker(env, &["images", "-f", "nonsense=1"]).exits(1).stderr_shows("invalid filter 'nonsense'");
    docker(
        env,
        &["create", "-q", "--name", "c", "--annotation", "note=x", "--platform", "linux/amd64", "-v", "/app", "shell"],
    )
    .succeeds();
    let inspect = |template: &str| docker(env, &["inspect", "-f", template, "c"]).succeeds().stdout;
    assert_eq!(inspect("{{range .Mounts}}{{.Destination}}{{end}}"), "/app\n");
    assert_eq!(inspect("{{range $name, $net := .NetworkSettings.Networks}}{{$name}}{{end}}"), "none\n");
    assert_eq!(inspect("{{index .Config.Labels \"a.b\"}}{{if .State.Running}}up{{else}} down{{end}}"), "c down\n");
    docker(env, &["inspect", "-f", "{{nosuch .Name}}", "c"]).exits(1).stderr_shows("\"nosuch\" is not known here");
    docker(env, &["rm", "c"]).succeeds();
    env.assert_nothing_left();
}

#[test]
fn wrong_counts_of_arguments_have_dockers_words() {
    let env = &needs!(Env::of(User::WithRange));
    for (words, text) in [
        (&["exec", "c"][..], "\"docker exec\" requires at least 2 arguments."),
        (&["ps", "x"], "\"docker ps\" accepts no arguments."),
        (&["logs"], "\"docker logs\" requires exactly 1 argument."),
        (&["rename", "x"], "\"docker rename\" requires exactly 2 arguments."),
        (&["rm"], "\"docker rm\" requires at least 1 argument."),
        (&["images", "a", "b"], "\"docker images\" requires at most 1 argument."),
    ] {
        docker(env, words).exits(1).stderr_shows(text);
    }
    // No hints that name options which docker does not have.
    let refused = docker(env, &["pull", "127.0.0.1:1/x"]).exits(1);
    assert!(!refused.stderr.contains("see `proa"), "{refused}");
}

#[test]
fn nothing_is_paused_and_that_is_said() {
    let env = &needs!(Env::of(User::WithRange));
    image(env);
    docker(env, &["run", "-d", "--name=c", "shell", "sleep", "1000"]).succeeds();
    let refused = docker(env, &["pause", "c", "nosuch"]).exits(1).stderr_shows("cannot pause container ");
    refused.stderr_shows("hint: `docker kill -s STOP`").stderr_shows("No such container: nosuch");
    docker(env, &["ps", "--format", "{{.State}}"]).succeeds().prints("running\n");
    // What the hint says instead.
    for (signal, state) in [("STOP", "T"), ("CONT", "S")] {
        docker(env, &["kill", "-s", signal, "c"]).succeeds();
        let look =
            format!("until grep -q 'State:.{state}' /proc/$(pidof sleep | cut -d' ' -f1)/status; do usleep 9999; done");
        docker(env, &["exec", "c", "sh", "-c", &look]).succeeds();
    }
    docker(env, &["container", "unpause", "c"]).exits(1).stderr_shows(" is not paused");
    docker(env, &["rm", "-f", "c"]).succeeds();
    docker(env, &["pause"]).exits(1).stderr_shows("\"docker pause\" requires at least 1 argument.");
    env.assert_nothing_left();
}

#[test]
fn what_is_read_only_is_not_copied_to() {
    let env = &needs!(Env::of(User::WithRange));
    image(env);
    env.make_dir(&env.path("shared"));
    let kept = env.write("shared/kept", "kept\n");
    let bind = format!("{}:/bound:ro", env.path("shared").display());
    let words = ["run", "-d", "--network=none", "--name=c", "--read-only", "--tmpfs=/tmp", "-v", &bind, "shell"];
    docker(env, &[&words[..], &["sleep", "1000"]].concat()).succeeds();
    for place in ["/new", "/bin/busybox", "/bound/new", "/bound/kept", "/etc/hosts", "/bound"] {
        let copied = docker(env, &["cp", &kept.display().to_string(), &format!("c:{place}")]).exits(1);
        let place = if place == "/bound" { "/bound/kept" } else { place };
        copied
            .stderr_shows(&format!("Error response from daemon: {place}: Read-only file system\n"))
            .stderr_shows("hint: what is mounted there is read-only, or all of the pod is");
    }
    // What may be written to is as ever.
    docker(env, &["cp", &kept.display().to_string(), "c:/tmp/new"]).succeeds();
    docker(env, &["exec", "c", "cat", "/tmp/new", "/bound/kept"]).succeeds().prints("kept\nkept\n");
    docker(env, &["rm", "-f", "c"]).succeeds();
    env.assert_nothing_left();
}

#[test]
fn options_that_change_nothing_are_taken() {
    let env = &needs!(Env::of(User::WithRange));
    image(env);
    let labels = env.write("labels", "# of the container\none=1\n\ntwo=2\n");
    env.make_dir(&env.path("shared"));
    env.write("shared/file", "x");
    let mount =
        format!("type=bind,src={},dst=/x,bind-propagation=rprivate,consistency=cached", env.path("shared").display());
    let quiet = ["-a", "stdout", "--attach=stderr", "--runtime=runc", "--isolation=default", "--disable-content-trust"];
    let quiet = [&quiet[..], &["--cgroupns=private", "--health-interval=1s", "--mount", &mount]].concat();
    run(env, &quiet, "ls /x").succeeds().prints("file\n").quietly();
    let noted =
        run(env, &["--cpuset-cpus=0", "--memory-reservation=1m", "--oom-kill-disable", "--domainname=x"], "true");
    for option in ["--cpuset-cpus 0", "--memory-reservation 1m", "--oom-kill-disable", "--domainname x"] {
        assert!(noted.stderr.contains(&format!("{option} is not held")), "{option}: {noted}");
    }
    for option in ["--pid=host", "--uts=host", "--cgroupns=host"] {
        run(env, &[option], "true").exits(125).stderr_shows("a namespace of its own");
    }
    docker(env, &["create", "--name=c", "--label-file", labels.to_str().unwrap(), "shell"]).succeeds();
    docker(env, &["inspect", "-f", "{{json .Config.Labels}}", "c"])
        .succeeds()
        .prints("{\"a.b\":\"c\",\"one\":\"1\",\"two\":\"2\"}\n");
    docker(env, &["ps", "-as", "--format", "{{.Names}}"]).succeeds().prints("c\n");
    docker(env, &["rm", "c"]).succeeds();
    env.assert_nothing_left();
}

#[test]
fn registries_of_this_machine_may_speak_plain_http() {
    needs!(place(Place::Host));
    let env = &needs!(Env::of(User::WithRange));
    image(env);
    let registry = needs!(Setup::plain().start(env, "registry"));
    let name = registry.name("shell:1");
    let name = name.as_str();
    docker(env, &["tag", "shell", name]).succeeds();
    docker(env, &["push", "-q", name]).succeeds();
    docker(env, &["rmi", "-f", "shell", name]).succeeds();
    docker(env, &["pull", "-q", "--platform", "linux/amd64", name]).succeeds().quietly();
    docker(env, &["images", "--digests", "--format", "{{.Digest}}", name]).succeeds().shows("sha256:");
    docker(env, &["pull", "--platform", "linux/sparc", name]).exits(1).stderr_shows("linux/sparc");
    // Elsewhere it takes a word.
    env.proa(["fetch", &format!("docker://{name}"), "--pull-policy=update"]).outcome().refuses("TLS handshake failed");
}
