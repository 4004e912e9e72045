//! docker's commands about networks: those that everybody has, and those of one's own.

use integration_tests::images::{Layout, busybox};
use integration_tests::{Env, Outcome, User, each_user, needs};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;

fn docker(env: &Env, words: &[&str]) -> Outcome {
    env.proa(["docker"].iter().chain(words)).outcome()
}

fn image(env: &Env) -> String {
    format!("oci:{}", Layout::new("shell").layer(busybox()).config("Cmd", json!(["sh"])).build(env).display())
}

fn inspected(env: &Env, name: &str) -> Value {
    let shown = docker(env, &["network", "inspect", name]).succeeds().quietly();
    let value: Value = serde_json::from_str(&shown.stdout).unwrap_or_else(|error| panic!("{error}: {shown}"));
    value[0].clone()
}

each_user! {
    a_network_is_created_used_and_removed,
    ports_of_the_hosts_network_are_not_published,
    a_container_finds_itself_by_its_names,
}

/// Alpine's image has an /etc/hosts without the container's name; docker's containers never have their image's.
fn a_container_finds_itself_by_its_names(env: &Env) {
    let tree = busybox().dir("etc", 0o755).file("etc/hosts", "127.0.0.1 localhost\n", 0o644);
    let image = format!("oci:{}", Layout::new("alpine").layer(tree).config("Cmd", json!(["sh"])).build(env).display());
    let of_itself = ["sh", "-c", "hostname -f; hostname -i; for n in self alias; do grep -w $n /etc/hosts; done"];
    let run = |options: &[&str]| docker(env, &[&["run", "--rm"], options, &[&image], &of_itself[..]].concat());
    run(&["--network=none", "-h", "self.example"])
        .exits(1)
        .prints("self.example\n127.0.0.1\n127.0.0.1 self.example self\n");
    docker(env, &["network", "create", "--internal", "--subnet=10.77.9.0/24", "back"]).succeeds();
    let names = "10.77.9.2 host.example host self alias\n";
    run(&["--network=back", "--name=self", "-h", "host.example", "--network-alias=alias"])
        .succeeds()
        .prints(&format!("host.example\n10.77.9.2\n{names}{names}"));
    env.assert_nothing_left();
}

fn ports_of_the_hosts_network_are_not_published(env: &Env) {
    let image = image(env);
    let run = |network| docker(env, &["run", "--rm", network, "-p", "8080:80", &image, "true"]).succeeds();
    run("--network=host").stderr_shows("warning: -p does nothing with --network=host");
    run("--network=none").quietly();
    env.assert_nothing_left();
}

/// As scripts do that know docker alone.
fn a_network_is_created_used_and_removed(env: &Env) {
    let image = image(env);
    let id = docker(env, &["network", "create", "--internal", "back_end"]).succeeds().quietly().line().to_owned();
    assert_eq!(id.len(), 64, "{id}");
    docker(env, &["network", "create", "back_end"]).exits(1).stderr_shows("network with name back_end already exists");
    docker(
        env,
        &["run", "-d", "--network=back_end", "--name=db", &image, "nc", "-ll", "-p", "80", "-e", "echo", "served"],
    )
    .succeeds();
    let shown = inspected(env, "back_end");
    assert_eq!((&shown["Id"], &shown["Driver"], &shown["Internal"]), (&json!(id), &json!("bridge"), &json!(true)));
    let (_, db) = shown["Containers"].as_object().and_then(|them| them.iter().next()).expect("it is on it");
    assert_eq!(db["Name"], "db");
    let address = db["IPv4Address"].as_str().expect("it has one").to_owned();
    let (ip, length) = address.split_once('/').expect("with a prefix");
    assert!(shown["IPAM"]["Config"][0]["Subnet"].as_str().expect("a range").ends_with(length), "{shown}");
    // By the id that was printed as well, and by the name of the other container.
    let asks = [
        "run",
        "--rm",
        "--network",
        &id,
        &image,
        "sh",
        "-c",
        "until nc -w 5 db 80 </dev/null 2>/dev/null; do sleep 0.1; done; grep -w db /etc/hosts",
    ];
    docker(env, &asks).succeeds().shows("served").shows(ip);
    docker(env, &["network", "rm", "back_end"]).exits(1).stderr_shows("has active endpoints (name:\"db\"");
    docker(env, &["network", "ls", "--filter=dangling=false", "-q", "--no-trunc"])
        .succeeds()
        .prints(&format!("{id}\n"));
    docker(env, &["rm", "-f", "db"]).succeeds();
    docker(env, &["network", "ls", "-f", "dangling=true", "--format", "{{.Name}}"]).succeeds().prints("back_end\n");
    docker(env, &["network", "rm", &id[..12]]).succeeds().prints(&format!("{}\n", &id[..12]));
    docker(env, &["network", "rm", "back_end"]).exits(1).stderr_shows("network back_end not found");
    docker(env, &["network", "rm", "-f", "back_end"]).succeeds().prints("").quietly();
    docker(env, &["run", "--rm", "--network=back_end", &image, "true"])
        .exits(125)
        .stderr_shows("network back_end not found")
        .stderr_shows("`docker network create back_end`");
    env.assert_nothing_left();
}

#[test]
fn networks_are_listed_and_shown_as_dockers() {
    let env = &needs!(Env::of(User::WithRange));
    docker(env, &["network", "create", "--internal", "--subnet=10.77.0.0/24", "team"]).succeeds();
    let listed = docker(env, &["network", "ls"]).succeeds().quietly();
    let rows: Vec<Vec<&str>> = listed.stdout.lines().map(|line| line.split_whitespace().skip(1).collect()).collect();
    let expected = [
        &["ID", "NAME", "DRIVER", "SCOPE"][..],
        &["bridge", "bridge", "local"],
        &["host", "host", "local"],
        &["none", "null", "local"],
        &["team", "bridge", "local"],
    ];
    assert_eq!(rows, expected, "{listed}");
    let names = |filters: &[&str]| {
        let filters = filters.iter().flat_map(|filter| ["--filter", filter]);
        let words: Vec<&str> = ["network", "ls", "--format", "{{.Name}}"].into_iter().chain(filters).collect();
        docker(env, &words).succeeds().stdout.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    for (filters, expected) in [
        (&["name=o"][..], &["host", "none"][..]),
        (&["name=^no"], &["none"]),
        (&["name=^team$"], &["team"]),
        (&["name=^tea$"], &[]),
        (&["name=host", "name=team"], &["host", "team"]),
        (&["driver=bridge"], &["bridge", "team"]),
        (&["driver=bridge", "type=builtin"], &["bridge"]),
        (&["type=custom"], &["team"]),
        (&["scope=swarm"], &[]),
        (&["label=x"], &[]),
    ] {
        assert_eq!(names(filters), expected, "{filters:?}");
    }
    for (filter, text) in [("type=own", "invalid filter 'type=own'"), ("size=1", "invalid filter 'size'")] {
        docker(env, &["network", "ls", "-f", filter]).exits(1).stderr_shows(text);
    }
    docker(env, &["network", "ls", "-f", "name"]).exits(125).stderr_shows("bad format of filter");
    docker(env, &["network", "list", "--format=json"]).succeeds().shows("\"Name\":\"team\"");
    let range = "{{range .IPAM.Config}}{{.Subnet}}{{end}} {{.Internal}}";
    docker(env, &["network", "inspect", "-f", range, "team"]).succeeds().prints("10.77.0.0/24 true\n");
    // What is there is shown, and the rest is told.
    let outcome = docker(env, &["network", "inspect", "-f", "{{.Name}}", "none", "nosuch"]).exits(1);
    assert_eq!(outcome.stdout, "none\n", "{outcome}");
    outcome.stderr_shows("Error response from daemon: network nosuch not found");
    docker(env, &["network", "connect", "team", "web"]).exits(1).stderr_shows("chosen when it is made");
    docker(env, &["network", "rm", "team"]).succeeds();
    env.assert_nothing_left();
}

#[test]
fn what_is_no_network_is_refused_and_nobody_elses_file_is_removed() {
    let env = &needs!(Env::of(User::WithRange));
    for (words, text) in [
        (&["create", "../team"][..], "\"../team\" is no name of a network"),
        (&["create", "Team"], "\"Team\" is no name"),
        (&["create", "-d", "overlay", "team"], "--driver=overlay: there is bridge"),
        (&["create", "bridge"], "network with name bridge already exists"),
        (&["rm", "host"], "host is a pre-defined network and cannot be removed"),
        (&["rm", "../team"], "network ../team not found"),
    ] {
        docker(env, &[&["network"], words].concat()).exits(1).stderr_shows(text);
    }
    docker(env, &["network", "create", "default"]).exits(1).stderr_shows("\"default\" is no name");
    docker(env, &["network", "create", "--subnet=8.8.8.0/24", "team"]).exits(1).stderr_shows("8.8.8.0/24");
    let folder = env.path("home/.config/proa/network.d");
    let before = fs::read_dir(&folder).expect("it is there").count();
    // Of those who create it at once one has made it.
    let started: Vec<_> =
        (0..6).map(|_| env.proa(["docker", "network", "create", "--internal", "team"]).start()).collect();
    let made = started.into_iter().map(|running| running.wait()).filter(|outcome| outcome.status.success()).count();
    assert_eq!(made, 1);
    assert_eq!(fs::read_dir(&folder).expect("it is there").count(), before + 1, "nothing else is left");
    docker(env, &["network", "rm", "team"]).succeeds();
    // A network that is defined together with something else, by a link, or under another name.
    let mixed = r#"{"rktKind":"network","rktVersion":"v1","name":"mixed","default":"none"}"#;
    env.write(folder.join("harness.json"), "");
    let mixed = env.write(folder.join("mixed.json"), mixed);
    docker(env, &["network", "rm", "mixed"]).exits(1).stderr_shows("mixed.json says more than that");
    let other = env.write(folder.join("other.json"), r#"{"rktKind":"network","rktVersion":"v1","name":"another"}"#);
    docker(env, &["network", "rm", "another"]).exits(1).stderr_shows("another.json does not define it");
    symlink(&other, folder.join("another.json")).expect("it is new");
    docker(env, &["network", "rm", "another"]).exits(1).stderr_shows("another.json");
    assert!(mixed.exists() && other.exists());
    env.assert_nothing_left();
}

/// What `docker inspect` is asked for most, of every kind of thing, and the words for what is not there.
#[test]
fn things_of_one_name_are_told_apart_by_their_type() {
    let env = &needs!(Env::of(User::WithRange));
    let image = image(env);
    let id = env.proa(["fetch", &image]).outcome().succeeds().line().to_owned();
    docker(env, &["tag", &id, "same"]).succeeds();
    docker(env, &["network", "create", "--internal", "same"]).succeeds();
    docker(env, &["volume", "create", "same"]).succeeds();
    docker(env, &["create", "--name=same", "same"]).succeeds();
    for (kind, format, shown) in [
        ("container", "{{.Name}} {{.State.Status}}", "/same created"),
        ("image", "{{index .RepoTags 0}}", "same:latest"),
        ("network", "{{.Name}} {{.Driver}}", "same bridge"),
        ("volume", "{{.Name}} {{.Driver}}", "same local"),
    ] {
        let shown = format!("{shown}\n");
        docker(env, &["inspect", "--type", kind, "-f", format, "same"]).succeeds().prints(&shown).quietly();
        docker(env, &[kind, "inspect", "-f", format, "same"]).succeeds().prints(&shown).quietly();
        let missing = docker(env, &["inspect", "--type", kind, "nosuch"]).exits(1);
        assert_eq!(missing.stdout, "[]\n", "{missing}");
        missing.stderr_shows(&format!("Error: No such {kind}: nosuch"));
    }
    // Without a type the first of them, in docker's order.
    let name = ["inspect", "-f", "{{.Name}}", "same"];
    docker(env, &name).succeeds().prints("/same\n");
    docker(env, &["rm", "same"]).succeeds();
    docker(env, &["rmi", "same"]).succeeds();
    docker(env, &["inspect", "-f", "{{.Scope}} {{.Internal}}", "same"]).succeeds().prints("local true\n");
    docker(env, &["network", "rm", "same"]).succeeds();
    docker(env, &["inspect", "-f", "{{.Mountpoint}}", "same"]).succeeds().shows("/volumes/same");
    docker(env, &["volume", "rm", "same"]).succeeds();
    docker(env, &name).exits(1).stderr_shows("Error: No such object: same");
    docker(env, &["inspect", "--type=thing", "x"]).exits(1).stderr_shows("\"thing\" is not a valid value for --type");
    docker(env, &["inspect", "--type=service", "x"]).exits(1).stderr_shows("there is none without a swarm");
    env.assert_nothing_left();
}

#[test]
fn networks_that_nobody_is_on_are_pruned() {
    let env = &needs!(Env::of(User::WithRange));
    let image = image(env);
    for name in ["busy", "resting", "idle", "old"] {
        docker(env, &["network", "create", "--internal", name]).succeeds();
    }
    // Nobody but its author removes what is configured otherwise.
    let mixed = r#"{"rktKind":"network","rktVersion":"v1","name":"mixed","internal":true,"default":"none"}"#;
    env.write("home/.config/proa/network.d/harness.json", "");
    env.write("home/.config/proa/network.d/mixed.json", mixed);
    docker(env, &["run", "-d", "--name=busy", "--network=busy", &image, "sleep", "100"]).succeeds();
    docker(env, &["create", "--name=resting", "--network=resting", &image, "true"]).succeeds();
    env.proa(["docker", "network", "prune"])
        .outcome_with_input(b"n\n")
        .succeeds()
        .shows("WARNING! This will remove all custom networks not used by at least one container.");
    let prune = |filter: &[&str]| docker(env, &[&["network", "prune", "-f"], filter].concat());
    prune(&["--filter", "until=24h"]).succeeds().prints("");
    prune(&["--filter", "label=x"]).succeeds().prints("");
    prune(&["--filter", "size=1"]).exits(1).stderr_shows("invalid filter 'size'");
    prune(&["--filter", "until=0s", "--filter=label!=x"]).succeeds().prints("Deleted Networks:\nidle\nold\n\n");
    docker(env, &["network", "ls", "-q", "-f", "type=custom", "--format={{.Name}}"])
        .succeeds()
        .prints("busy\nmixed\nresting\n");
    docker(env, &["rm", "-f", "busy", "resting"]).succeeds();
    prune(&[]).succeeds().prints("Deleted Networks:\nbusy\nresting\n\n");
    prune(&[]).succeeds().prints("").quietly();
    env.assert_nothing_left();
}

/// `docker run` on networks of one's own, with all that says how containers find each other.
#[test]
fn containers_have_further_names_addresses_and_networks() {
    let env = &needs!(Env::of(User::WithRange));
    let image = image(env);
    docker(env, &["network", "create", "--internal", "--subnet=10.77.1.0/24", "front"]).succeeds();
    docker(env, &["network", "create", "--internal", "--subnet=10.77.2.0/24", "back"]).succeeds();
    let on = ["--network", "front", "--network", "name=back,alias=store,ip=10.77.2.9"];
    let db = ["--network-alias=sql", "--network-alias", "data.local", "--name=db", &image, "sleep", "1000"];
    docker(env, &[&["run", "-d"], &on[..], &db].concat()).succeeds();
    let networks = "{{range $name, $it := .NetworkSettings.Networks}}{{$name}} {{$it.IPAddress}} {{join $it.Aliases \"+\"}};{{end}}";
    let shown = docker(env, &["inspect", "-f", networks, "db"]).succeeds().quietly();
    assert_eq!(shown.stdout, "back 10.77.2.9 store;front 10.77.1.2 sql+data.local;\n");
    for name in ["front", "back"] {
        let found =
            docker(env, &["ps", "-a", "--format", "{{.Names}} {{.Networks}}", "-f", &format!("network={name}")]);
        found.succeeds().prints("db front,back\n");
        let id = docker(env, &["network", "ls", "-q", "-f", &format!("name={name}")]).succeeds();
        docker(env, &["ps", "-q", "-f", &format!("network={}", id.line())]).succeeds().shows("\n");
    }
    docker(env, &["ps", "-q", "-f", "network=bridge"]).succeeds().prints("");
    let asks = |options: &[&str], names: &[&str]| {
        let script = format!(
            "sleep 0.2; for n in {}; do grep -w $n /etc/hosts | head -n1 | cut -d' ' -f1; done",
            names.join(" ")
        );
        docker(env, &[&["run", "--rm"], options, &[&image, "sh", "-c", &script]].concat())
    };
    asks(&["--network=front"], &["sql", "data.local", "store"]).succeeds().prints("10.77.1.2\n10.77.1.2\n");
    asks(&["--network=back"], &["sql", "store"]).succeeds().prints("10.77.2.9\n");
    asks(&["--network=back", "--link", "db:mysql", "--link=db"], &["mysql", "db"])
        .succeeds()
        .prints("10.77.2.9\n10.77.2.9\n");
    let run = |options: &[&str]| docker(env, &[&["run", "--rm"], options, &[&image, "true"]].concat());
    for (options, text) in [
        (&["--link=db"][..], "containers on bridge do not reach each other"),
        (&["--network=front", "--link=nosuch"], "No such container: nosuch"),
        (&["--network=front", "--link=db:a b"], "\"a b\" is no host name"),
        (&["--network-alias=x"], "network-scoped alias is supported only for containers in user defined networks"),
        (&["--network=host", "--ip=10.0.0.2"], "user specified IP address is supported on user defined networks only"),
        (&["--network=front", "--ip=10.0.0"], "invalid IPv4 address: 10.0.0"),
        (&["--network=front", "--ip=10.0.0.2"], "10.0.0.2"),
        (&["--network=front", "--network=host"], "cannot attach both user-defined and non-user-defined"),
        (&["--network=container:db"], "a container's network is its own"),
        (&["--network=name=front,colour=red"], "invalid field colour=red"),
    ] {
        run(options).exits(125).stderr_shows(text);
    }
    docker(env, &["rm", "-f", "db"]).succeeds();
    docker(env, &["create", "--name=db", "--network=front", &image, "true"]).succeeds();
    run(&["--network=front", "--link=db:x"])
        .exits(125)
        .stderr_shows("Cannot link to a non running container: /db AS x");
    docker(env, &["rm", "db"]).succeeds();
    let options = ["--rm", "--dns=10.9.9.9", "--dns-option=ndots:3", "--dns-opt", "rotate", "--dns-search=a.example"];
    docker(env, &[&["run"], &options[..], &["--network=front", &image, "cat", "/etc/resolv.conf"]].concat())
        .succeeds()
        .prints("nameserver 10.9.9.9\nsearch a.example\noptions ndots:3 rotate\n");
    docker(env, &["network", "rm", "front", "back"]).succeeds();
    env.assert_nothing_left();
}
