//! What scripts read of docker: fields of templates, filters of listings and of what is pruned, statuses of what goes wrong.

use std::time::Instant;

use integration_tests::images::{Layout, Tree, busybox};
use integration_tests::needs::tool;
use integration_tests::{Env, Outcome, User, binaries, each_user, limit, needs};
use serde_json::json;

fn docker(env: &Env, words: &[&str]) -> Outcome {
    env.proa(["docker"].iter().chain(words)).outcome()
}

/// An image that names a port; stored as `shell`.
fn image(env: &Env) -> &'static str {
    let layout = Layout::new("shell").layer(busybox()).config("Cmd", json!(["sh"]));
    let layout = layout.config("ExposedPorts", json!({"80/tcp": {}})).config("Labels", json!({"kind": "test,old"}));
    let id =
        env.proa(["fetch", &format!("oci:{}", layout.build(env).display())]).outcome().succeeds().line().to_owned();
    docker(env, &["tag", &id, "shell"]).succeeds();
    "shell"
}

each_user! {
    what_a_container_was_made_with_is_shown,
    what_there_is_not_is_an_error_of_dockers,
    a_container_has_as_long_to_stop_as_was_said,
    sizes_are_of_what_was_written,
    columns_of_processes_are_those_of_ps,
}

fn sizes_are_of_what_was_written(env: &Env) {
    let image = image(env);
    let write = "dd if=/dev/zero of=/big bs=1000 count=100 2>/dev/null; mkdir -m 0 /closed; dd if=/dev/zero of=/v/x bs=1k count=1";
    let (bind, volume) = (format!("{}:/b:ro", env.path("").display()), "data:/v");
    docker(env, &["run", "--name=one", "-v", volume, "-v", &bind, "-v", "/anon", image, "sh", "-c", write]).succeeds();
    let size = |format: &str| docker(env, &["ps", "-a", "--format", format]).succeeds().line().to_owned();
    assert!(size("{{.Size}}").starts_with("100kB (virtual "), "{}", size("{{.Size}}"));
    assert_eq!(size("{{.LocalVolumes}}"), "2", "what is the host's is no volume");
    let shown = docker(env, &["ps", "-a", "-s"]).succeeds();
    assert!(shown.stdout.lines().next().is_some_and(|head| head.ends_with("NAMES     SIZE")), "{shown}");
    shown.shows("100kB (virtual ");
    // Nobody looks for it who does not ask.
    docker(env, &["ps", "-a", "--format=json"]).succeeds().shows("\"Size\":\"0B\"");
    docker(env, &["ps", "-a", "-s", "-q"]).succeeds();
    let inspected = docker(env, &["inspect", "-s", "-f", "{{.SizeRw}} {{.SizeRootFs}}", "one"]).succeeds();
    let sizes: Vec<u64> = inspected.line().split(' ').map(|size| size.parse().expect("a number")).collect();
    assert!(sizes[0] == 100_000 && sizes[1] > sizes[0], "{inspected}");
    // Images that have a layer in common share it.
    let more = Layout::new("more").layer(busybox()).layer(Tree::new().file("more", vec![b'x'; 50_000], 0o644));
    env.proa(["fetch", &format!("oci:{}", more.build(env).display())]).outcome().succeeds();
    let df = docker(env, &["system", "df", "-v"]).succeeds();
    let row = df.stdout.lines().find(|line| line.starts_with("shell ")).expect("the image").to_owned();
    let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    let [_, _, _, _, whole, shared, unique, users] = cells[..] else { panic!("{df}") };
    assert!(whole != "0B" && shared != "0B" && shared != unique && users == "1", "{df}");
    docker(env, &["rm", "one"]).succeeds();
    docker(env, &["volume", "rm", "data"]).succeeds();
    env.assert_nothing_left();
}

fn columns_of_processes_are_those_of_ps(env: &Env) {
    let image = image(env);
    docker(env, &["run", "-d", "--name=one", image, "sh", "-c", "sleep 1000; true"]).succeeds();
    let rows = |options: &[&str]| {
        let top = docker(env, &[&["top", "one"], options].concat()).succeeds();
        let rows = top.stdout.lines().map(|line| line.split_whitespace().map(str::to_owned).collect());
        rows.collect::<Vec<Vec<String>>>()
    };
    assert_eq!(rows(&[])[0], ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    assert_eq!(rows(&["-ef"])[0], rows(&[])[0]);
    let sleeps = |rows: &Vec<Vec<String>>| rows.iter().any(|row| row[10..] == ["sleep", "1000"]);
    // Before it executes that, the shell's child is called as the shell.
    let deadline = Instant::now() + limit();
    let aux = std::iter::repeat_with(|| rows(&["aux"])).find(|aux| sleeps(aux) || Instant::now() > deadline);
    let aux = aux.expect("endless");
    assert_eq!(aux[0].join(" "), "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND");
    assert!(sleeps(&aux), "{aux:?}");
    let chosen = rows(&["-o", "ppid,pid,etimes,cmd"]);
    assert_eq!(chosen[0], ["PPID", "PID", "ELAPSED", "CMD"]);
    let pid = |command: &str| chosen.iter().find(|row| row[3] == command).expect("it runs").clone();
    assert_eq!(pid("sleep")[0], pid("sh")[1], "{chosen:?}");
    assert_eq!(rows(&["-o", "comm="]), [["sh"], ["sleep"]]);
    let top = |words: &[&str]| docker(env, &[&["top"], words].concat());
    top(&["one", "-Z"]).exits(1).stderr_shows("ps option \"-Z\" is not known").stderr_shows("hint: there are -ef");
    top(&["one", "-o", "pid,nosuch"]).exits(1).stderr_shows("ps field \"nosuch\" is not known");
    top(&["one", "-o"]).exits(1).stderr_shows("wants a list of fields");
    top(&["nosuch", "-ef"]).exits(1).stderr_shows("No such container: nosuch");
    docker(env, &["stop", "-t=0", "one"]).succeeds();
    top(&["one"]).exits(1).stderr_shows("is not running");
    docker(env, &["rm", "one"]).succeeds();
    env.assert_nothing_left();
}

/// What there is not says so with the words that were typed, and who does it else.
#[test]
fn commands_that_there_are_not_are_named() {
    let env = &needs!(Env::of(User::WithRange));
    for (words, text) in [
        (
            &["container", "nosuch"][..],
            "docker: 'container nosuch' is not a docker command.\nSee 'docker container --help'",
        ),
        (&["image", "nosuch"], "docker: 'image nosuch' is not a docker command."),
        (&["volume", "nosuch"], "docker: 'volume nosuch' is not a docker command.\nSee 'docker volume --help'"),
        (
            &["context", "use", "x"],
            "docker: 'context' is not a docker command.\nSee 'docker --help'\nhint: there is no daemon",
        ),
        (&["plugin", "ls"], "hint: there is nothing that could be plugged in"),
        (&["run", "--ip=10.1.2.3", "hello"], "user specified IP address is supported on user defined networks only"),
    ] {
        let refused = docker(env, words);
        assert!(!refused.status.success(), "{refused}");
        refused.stderr_shows(text);
    }
    docker(env, &["container"]).succeeds().shows("  prune ").shows("  ls ");
    docker(env, &["image", "--help"]).succeeds().shows("  rm ").shows("  history ");
}

#[test]
fn containers_are_told_by_labels_ports_and_mounts() {
    let env = &needs!(Env::of(User::WithRange));
    let image = image(env);
    env.make_dir(&env.path("a-long-directory"));
    let bind = format!("{}:/b", env.path("a-long-directory").display());
    let mounts = ["-v", "data:/d", "-v", &bind];
    docker(env, &[&["create", "--name=one", "-l", "role=a=b", "-p=127.0.0.1:8099:81"], &mounts[..], &[image]].concat())
        .succeeds();
    docker(env, &["create", "--name=two", image]).succeeds();
    let names = |filters: &[&str]| {
        let filters = filters.iter().flat_map(|filter| ["-f", filter]);
        let words: Vec<&str> = ["ps", "-a", "--format", "{{.Names}}"].into_iter().chain(filters).collect();
        docker(env, &words).succeeds().stdout.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    for (filters, expected) in [
        (&["publish=81"][..], &["one"][..]),
        (&["publish=81/udp"], &[]),
        (&["publish=80"], &[]),
        (&["expose=80/tcp"], &["two", "one"]),
        (&["expose=81"], &["one"]),
        (&["is-task=false"], &["two", "one"]),
        (&["is-task=true"], &[]),
    ] {
        assert_eq!(names(filters), expected, "{filters:?}");
    }
    let label = "{{.Label \"role\"}};{{.Label \"kind\"}};{{.Label \"none\"}}";
    docker(env, &["ps", "-a", "-f", "name=one", "--format", label]).succeeds().prints("a=b;test,old;\n");
    let shown = docker(env, &["ps", "-a", "-f", "name=one", "--format", "{{.Mounts}}"]).succeeds();
    let (volume, directory) = shown.line().split_once(',').expect("two of them");
    assert!(volume == "data" && directory.ends_with('…') && directory.chars().count() == 15, "{shown}");
    docker(env, &["ps", "-a", "-f", "name=one", "--no-trunc", "--format", "{{.Mounts}}"])
        .succeeds()
        .shows("/a-long-directory\n");
    docker(env, &["rm", "one", "two"]).succeeds();
    docker(env, &["volume", "rm", "data"]).succeeds();
    env.assert_nothing_left();
}

#[test]
fn labels_and_commands_do_not_write_to_the_terminal() {
    let env = &needs!(Env::of(User::WithRange));
    needs!(tool("script"));
    let image = image(env);
    // U+009B begins an escape sequence as ESC [ does.
    docker(env, &["create", "--name=odd", "-l", "a=\u{9b}2J\nb", image, "echo", "\u{9b}2J"]).succeeds();
    let ps = |format: &str| docker(env, &["ps", "-a", "--format", format]).succeeds();
    ps("{{.Labels}}").prints("a=\\u{9b}2J\\x0ab,kind=test,old\n");
    ps("table {{.Names}}\\t{{.Command}}").prints("NAMES     COMMAND\nodd       \"echo \\u{9b}2J\"\n");
    docker(env, &["ps", "-a"]).succeeds().shows("\"echo \\u{9b}2J\"");
    let shown: serde_json::Value = serde_json::from_str(&ps("json").stdout).expect("JSON");
    assert_eq!(shown["Labels"], "a=\u{9b}2J\nb,kind=test,old", "programs get what it is");
    let at_a_terminal = |words: &str| {
        let line = format!("{} --dir {} {words}", binaries::proa().display(), env.data().display());
        env.command("script", ["-qec", &line, "/dev/null"].map(Into::into).to_vec()).outcome().succeeds()
    };
    let uuid = docker(env, &["inspect", "--format", "{{.Id}}", "odd"]).succeeds().line().to_owned();
    for words in ["docker ps -a --format json", "docker inspect odd", &format!("cat-manifest {uuid}")] {
        let raw = env.proa(words.split(' ')).outcome().succeeds();
        assert!(raw.stdout.contains('\u{9b}'), "control: {raw}");
        let outcome = at_a_terminal(words).shows("\\u009b2J");
        assert!(!outcome.stdout.contains(['\u{9b}', '\u{1b}']), "{outcome}");
    }
    docker(env, &["rm", "odd"]).succeeds();
    env.assert_nothing_left();
}

#[test]
fn a_beginning_that_several_have_is_not_said_to_be_nobodys() {
    let env = &needs!(Env::of(User::WithRange));
    let image = image(env);
    // Of seventeen hexadecimal digits two are the same.
    let ids: Vec<String> = (0..17).map(|_| docker(env, &["create", image]).succeeds().line().to_owned()).collect();
    let several = |first: &char| ids.iter().filter(|id| id.starts_with(*first)).count() > 1;
    let first = ('0'..='9').chain('a'..='f').find(several).expect("there must be").to_string();
    for command in ["inspect", "rm", "logs"] {
        let outcome = docker(env, &[command, &first]).exits(1);
        outcome.stderr_shows(&format!("multiple IDs found with provided prefix: {first}"));
    }
    env.proa(["status", &first]).outcome().exits(254).stderr_shows(&format!("{first:?}: ambiguous uuid, "));
    docker(env, &[&["rm"], &ids.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat()).succeeds();
    env.assert_nothing_left();
}

#[test]
fn inspect_has_what_scripts_ask_for() {
    let env = &needs!(Env::of(User::WithRange));
    let image = image(env);
    let options = ["-m=64m", "--cpus=1.5", "--dns=10.0.0.1", "--add-host=a:10.0.0.2", "-p=127.0.0.1:8099:81"];
    let options = [&options[..], &["--restart=on-failure:3", "-v", "/anonymous"]].concat();
    docker(env, &[&["create", "--name=web"], &options[..], &[image, "sleep", "5"]].concat()).succeeds();
    for (template, shown) in [
        ("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}", "none"),
        ("{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.CpuShares}}", "67108864 1500000000 0"),
        ("{{(index (index .HostConfig.PortBindings \"81/tcp\") 0).HostPort}}", "8099"),
        ("{{.HostConfig.Dns}} {{.HostConfig.ExtraHosts}}", "[10.0.0.1] [a:10.0.0.2]"),
        ("{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}", "on-failure 3"),
        ("{{.HostConfig.LogConfig.Type}} {{.HostConfig.Privileged}} {{.GraphDriver.Name}}", "json-file false overlay"),
        ("{{json .Config.Volumes}}", "{\"/anonymous\":{}}"),
        ("{{.Config.Label \"kind\"}}", "test,old"),
    ] {
        docker(env, &["inspect", "-f", template, "web"]).succeeds().prints(&format!("{shown}\n")).quietly();
    }
    let of_image =
        "{{.Config.User}}|{{.Config.WorkingDir}}|{{.Parent}}|{{json .Config.Volumes}}|{{json .Config.Entrypoint}}";
    docker(env, &["image", "inspect", "-f", of_image, image]).succeeds().prints("|||null|null\n");
    for template in ["{{.Nope}}", "{{.State.Health.Status}}"] {
        docker(env, &["inspect", "-f", template, "web"]).exits(1).stderr_shows("template: executing at <.");
    }
    docker(env, &["inspect", "-f", "{{.Name", "web"]).exits(1).stderr_shows("template parsing error: ");
    docker(env, &["rm", "web"]).succeeds();
    docker(env, &["version", "-f", "{{.Client.APIVersion}} {{.Server.APIVersion}}"]).succeeds().prints("1.43 1.43\n");
    docker(env, &["info", "-f", "{{.CgroupVersion}} {{.Swarm.LocalNodeState}}"]).succeeds().prints("2 inactive\n");
    for (command, hint) in [("build", "buildah"), ("compose", "docker network create"), ("swarm", "this machine alone")]
    {
        docker(env, &[command, "."]).exits(1).stderr_shows("is not a docker command").stderr_shows(hint);
    }
    env.assert_nothing_left();
}

#[test]
fn what_is_pruned_can_be_chosen() {
    let env = &needs!(Env::of(User::WithRange));
    let image = image(env);
    for (name, label) in [("one", "keep=yes"), ("two", "keep=no")] {
        docker(env, &["run", "--network=none", "-l", label, "--name", name, image, "true"]).succeeds();
    }
    let names = || docker(env, &["ps", "-a", "--format", "{{.Names}}"]).succeeds().stdout;
    let prune = |what: &[&str], filters: &[&str]| docker(env, &[what, &["prune", "-f"], filters].concat());
    prune(&["container"], &["--filter", "until=24h"]).succeeds().prints("Total reclaimed space: 0B\n");
    prune(&["system"], &["--filter", "label=team"]).succeeds().prints("Total reclaimed space: 0B\n");
    prune(&["image"], &["-a", "--filter", "until=1970-01-01T00:00:00Z"]).succeeds();
    assert_eq!(names(), "two\none\n");
    prune(&["container"], &["--filter", "label!=keep=yes", "--filter=until=0s"])
        .succeeds()
        .shows("Deleted Containers:");
    assert_eq!(names(), "one\n");
    for what in ["container", "image", "system", "volume"] {
        prune(&[what], &["--filter", "size=1"]).exits(1).stderr_shows("invalid filter 'size'");
    }
    prune(&["container"], &[]).succeeds();
    prune(&["image"], &["-a", "--filter", "label=kind=none"]).succeeds().prints("Total reclaimed space: 0B\n");
    prune(&["image"], &["-a", "--filter", "label=kind"]).succeeds().shows("Deleted Images:");
    docker(env, &["volume", "create", "left"]).succeeds();
    prune(&["volume"], &["--filter", "label=x"]).succeeds().prints("Total reclaimed space: 0B\n");
    prune(&["volume"], &["--filter", "all=1"]).succeeds().shows("left\n");
    env.assert_nothing_left();
}

#[test]
fn disk_and_volumes_are_listed_as_docker_does() {
    let env = &needs!(Env::of(User::WithRange));
    let image = image(env);
    docker(env, &["volume", "create", "--name", "idle", "--label=a=b", "--driver=local"])
        .succeeds()
        .prints("idle\n")
        .quietly();
    docker(env, &["volume", "create", "-d", "nfs", "x"]).exits(1).stderr_shows("--driver=nfs: there is local");
    docker(env, &["run", "--network=none", "--name=web", "-v", "used:/d", image, "sh", "-c", "echo x >/d/f"])
        .succeeds();
    let volumes = |words: &[&str]| docker(env, &[&["volume", "ls"], words].concat());
    volumes(&["-q", "-f", "dangling=true"]).succeeds().prints("idle\n");
    volumes(&["-q", "-f", "dangling=0"]).succeeds().prints("used\n");
    volumes(&["-q", "-f", "name=us", "--filter", "driver=local"]).succeeds().prints("used\n");
    volumes(&["-q", "-f", "label=a"]).succeeds().prints("idle\n");
    volumes(&["--format", "{{.Name}} {{.Driver}}"]).succeeds().prints("idle local\nused local\n");
    volumes(&["--format", "json"]).succeeds().shows("\"Name\":\"used\"");
    volumes(&["-f", "dangling=x"]).exits(1).stderr_shows("invalid filter 'dangling=x'");
    volumes(&["-f", "size=1"]).exits(1).stderr_shows("invalid filter 'size'");
    docker(env, &["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"])
        .succeeds()
        .prints("Images 1 1\nContainers 1 0\nLocal Volumes 2 1\nBuild Cache 0 0\n");
    let whole = docker(env, &["system", "df", "-v"]).succeeds().quietly();
    let rows: Vec<Vec<&str>> = whole.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    let row = |first: &str| rows.iter().find(|row| row.first() == Some(&first)).unwrap_or_else(|| panic!("{whole}"));
    assert_eq!((row("shell")[1], row("shell").last()), ("latest", Some(&"1")));
    assert_eq!((&row("idle")[1..], &row("used")[1..]), (&["0", "0B"][..], &["1", "2B"][..]));
    let id = docker(env, &["ps", "-aq"]).succeeds();
    assert_eq!((row(id.line())[1], row(id.line()).last()), ("shell", Some(&"web")));
    assert!(whole.stdout.contains("Images space usage:\n\nREPOSITORY"), "{whole}");
    docker(env, &["rm", "web"]).succeeds();
    docker(env, &["volume", "rm", "idle", "used"]).succeeds();
    env.assert_nothing_left();
}

/// What programs that make a container anew read.
fn what_a_container_was_made_with_is_shown(env: &Env) {
    let image = image(env);
    let options =
        ["--cap-add=SYS_PTRACE", "--cap-drop=KILL", "--security-opt=no-new-privileges", "--device=/dev/null:/dev/x"];
    docker(env, &[&["create", "-t", "--name=made", "-e", "A=1"], &options[..], &["-e", "B=2", image]].concat())
        .succeeds();
    docker(env, &["create", "--name=plain", "-h", "host", image]).succeeds();
    docker(env, &["create", "--name=bare", "--cap-drop=ALL", "-e", "HOSTNAME=other", "-u", "0:0", image]).succeeds();
    let shown = |format: &str, name: &str| docker(env, &["inspect", "-f", format, name]).succeeds().line().to_owned();
    let rights = "{{.HostConfig.CapAdd}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}}";
    assert_eq!(shown(rights, "made"), "[CAP_SYS_PTRACE] [CAP_KILL] [no-new-privileges]");
    assert_eq!(shown(rights, "plain"), "[] [] []");
    assert_eq!(shown("{{json .HostConfig.CapAdd}} {{json .HostConfig.CapDrop}}", "bare"), "[] [\"ALL\"]");
    let devices = "{{range .HostConfig.Devices}}{{.PathOnHost}}:{{.PathInContainer}}:{{.CgroupPermissions}}{{end}}";
    assert_eq!(shown(devices, "made"), "/dev/null:/dev/x:rwm");
    assert_eq!(shown("{{len .Mounts}} {{len .HostConfig.Devices}}", "made"), "0 1", "a device is no mount");
    assert_eq!(shown("{{len .HostConfig.Devices}}", "plain"), "0");
    // What it has without being asked is not told, and neither is a user that nobody named.
    let environment = "{{range .Config.Env}}{{.}} {{end}}";
    assert_eq!(shown(environment, "made"), "A=1 B=2 ");
    assert_eq!(shown(environment, "bare"), "HOSTNAME=other ");
    assert_eq!(shown("{{.Config.Hostname}} [{{.Config.User}}] [{{.Config.Domainname}}]", "plain"), "host [] []");
    for member in ["CgroupParent", "CpuQuota", "GroupAdd", "MemorySwap", "PublishAllPorts", "VolumesFrom"] {
        shown(&format!("{{{{json .HostConfig.{member}}}}}"), "plain");
    }
    // What one of several does not have keeps nobody from what the others have.
    docker(env, &["inspect", "-f", "{{.State.Status}}", "plain", image, "bare"])
        .exits(1)
        .prints("created\ncreated\n")
        .stderr_shows("template: executing at <.State.Status>");
    let of_image = "{{.Metadata.LastTagTime}}{{.DockerVersion}}{{.Container}}{{.Comment}}";
    assert!(shown(of_image, image).starts_with("20"), "{}", shown(of_image, image));
    docker(env, &["rm", "made", "plain", "bare"]).succeeds();
    env.assert_nothing_left();
}

fn what_there_is_not_is_an_error_of_dockers(env: &Env) {
    let image = image(env);
    docker(env, &["volume", "create", "data"]).succeeds();
    docker(env, &["volume", "inspect", "nosuch"]).exits(1).prints("[]\n").stderr_shows("get nosuch: no such volume");
    docker(env, &["volume", "inspect", "-f", "{{.Name}}", "nosuch", "data"]).exits(1).prints("data\n");
    docker(env, &["volume", "rm", "data"]).succeeds();
    docker(env, &["run", "-d", "--name=web", "--network=none", image, "sleep", "1000"]).succeeds();
    // docker's daemon looks for the user, its runtime for the rest.
    docker(env, &["exec", "-u", "nosuch", "web", "true"]).exits(126).stderr_shows("no user \"nosuch\"");
    docker(env, &["exec", "-w", "/nosuch", "web", "true"]).exits(127).stderr_shows("working directory \"/nosuch\"");
    docker(env, &["exec", "web", "nosuch"]).exits(127);
    // A container whose command is not there is there.
    let bad = docker(env, &["run", "-d", "--name=bad", "--network=none", image, "nosuch"]).exits(127);
    docker(env, &["rm", bad.line()]).succeeds();
    docker(env, &["run", "-d", "--rm", "--network=none", image, "nosuch"]).exits(127).prints("");
    docker(env, &["exec", "web", "/etc"]).exits(126);
    for option in ["--since", "--until"] {
        docker(env, &["logs", option, "nonsense", "web"])
            .exits(1)
            .stderr_shows("failed to parse value as time or duration: \"nonsense\"");
    }
    docker(env, &["rm", "-f", "web"]).succeeds();
    // What is mounted there is no change of the container's.
    docker(env, &["run", "--name=web", image, "touch", "/new"]).succeeds();
    docker(env, &["diff", "web"]).succeeds().shows("A /new\n");
    assert!(!docker(env, &["diff", "web"]).succeeds().stdout.contains("resolv.conf"));
    docker(env, &["rm", "web"]).succeeds();
    env.assert_nothing_left();
}

fn a_container_has_as_long_to_stop_as_was_said(env: &Env) {
    let image = image(env);
    // Told to end it waits for its end, and says how it was told.
    let script = "trap 'echo told' TERM; echo up; while :; do sleep 0.1; done";
    let run = |name: &str, seconds: &str| {
        let (name, seconds) = (format!("--name={name}"), format!("--stop-timeout={seconds}"));
        docker(env, &["run", "-d", "--network=none", &name, &seconds, image, "sh", "-c", script])
    };
    run("short", "0").succeeds();
    docker(env, &["inspect", "-f", "{{.Config.StopTimeout}}", "short"]).succeeds().prints("0\n");
    let begun = std::time::Instant::now();
    // Before its shell has come to the trap `TERM` ends it.
    let comes_up = |times: usize| {
        while docker(env, &["logs", "short"]).succeeds().stdout.matches("up\n").count() < times {
            assert!(begun.elapsed() < integration_tests::limit(), "it does not come up");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    };
    comes_up(1);
    docker(env, &["restart", "short"]).succeeds();
    comes_up(2);
    docker(env, &["stop", "short"]).succeeds();
    assert!(begun.elapsed() < integration_tests::slowed(std::time::Duration::from_secs(10)), "{:?}", begun.elapsed());
    docker(env, &["inspect", "-f", "{{.State.ExitCode}}", "short"]).succeeds().prints("137\n");
    // Who says so when it is stopped is heard more.
    run("long", "-1").succeeds();
    docker(env, &["stop", "-t", "0", "long"]).succeeds();
    run("bad", "soon").exits(125).stderr_shows("--stop-timeout soon: wanted a number of seconds");
    docker(env, &["rename", "long", "long"]).exits(1).stderr_shows("Renaming a container with the same name");
    docker(env, &["rm", "short", "long"]).succeeds();
    env.assert_nothing_left();
}
