//! Isolators of images and of the operator: what is enforced, what is narrowed, and what is said about it
//! (appc ace.md, "Isolators"; rkt's rkt_caps_test, rkt_seccomp_test, rkt_app_isolator_test).

mod seccomp;

use std::path::{Path, PathBuf};

use integration_tests::images::{Aci, busybox, with_probe};
use integration_tests::needs::{Place, place};
use integration_tests::{Env, each_user, needs};
use serde_json::{Value, json};

each_user! {
    unknown_isolators_are_ignored_and_named,
    capabilities_default_remove_and_retain,
    no_new_privileges,
    sysctls_are_the_pods_own,
    apparmor_profile_that_is_not_loaded,
    apparmor_profile_confines,
    net_admin_changes_nothing_of_the_pods_network,
    capabilities_of_an_image_cannot_widen,
    misspelt_isolators_are_refused,
    oom_score_can_be_raised,
    insecure_options_switch_protections_off,
    strict_profile_gives_less,
    strict_landlock_guards_ports_signals_and_sockets,
    operators_options_replace_the_images,
    locked_mounts_stay_with_sys_admin,
    status_shows_what_became_of_isolators,
}

fn isolator(name: &str, value: Value) -> Value {
    json!({"name": name, "value": value})
}

fn image(env: &Env, name: &str, exec: &[&str], isolators: &[Value]) -> PathBuf {
    Aci::new(name, with_probe(busybox())).exec(exec.iter().copied()).app("isolators", json!(isolators)).build(env)
}

fn shell(env: &Env, name: &str, script: &str, isolators: &[Value]) -> PathBuf {
    image(env, name, &["/bin/sh", "-c", script], isolators)
}

fn world(env: &Env, image: &Path, before: &[&str]) -> Value {
    let outcome = env.run(image, before).outcome().succeeds();
    serde_json::from_str(outcome.line()).unwrap_or_else(|error| panic!("{error}: {outcome}"))
}

fn unknown_isolators_are_ignored_and_named(env: &Env) {
    let image = shell(env, "unknown", "echo ran", &[isolator("example.com/ponies", json!({"count": 3}))]);
    let outcome = env.run(&image, &[]).outcome().succeeds().prints("ran\n");
    outcome.stderr_shows("isolator example.com/ponies: ignored: not known");
}

fn capabilities_default_remove_and_retain(env: &Env) {
    let mask = |image: &Path| world(env, image, &[])["caps"]["bounding"].as_str().expect("a mask").to_owned();
    let probe = ["/probe", "world"];
    assert_eq!(mask(&image(env, "fourteen", &probe, &[])), "00000000a80425fb");
    let set = json!({"set": ["CAP_SYS_PTRACE", "CAP_KILL", "CAP_CHOWN"]});
    let remove = isolator("os/linux/capabilities-remove-set", set);
    assert_eq!(mask(&image(env, "twelve", &probe, &[remove])), "00000000a80425da", "two of the fourteen are named");
    let retain = isolator("os/linux/capabilities-retain-set", json!({"set": ["CAP_KILL", "CAP_CHOWN"]}));
    assert_eq!(mask(&image(env, "two", &probe, &[retain])), "0000000000000021");
}

fn capabilities_of_an_image_cannot_widen(env: &Env) {
    let retain = isolator("os/linux/capabilities-retain-set", json!({"set": ["CAP_KILL", "CAP_SYS_ADMIN"]}));
    let image = image(env, "greedy", &["/probe", "world"], &[retain]);
    let outcome = env.run(&image, &[]).outcome().succeeds();
    let world: Value = serde_json::from_str(outcome.line()).expect("JSON");
    assert_eq!(world["caps"]["bounding"], "0000000000000020");
    outcome.stderr_shows(
        "capabilities-retain-set: modified: an image is not granted CAP_SYS_ADMIN: that takes --caps-retain",
    );
}

fn strict_landlock_guards_ports_signals_and_sockets(env: &Env) {
    // Debian's kernel in the guest is older than these rights.
    needs!(place(Place::Host));
    let script = "kill -0 1 2>/dev/null && echo signals; for p in 8080 8081; do \
        timeout -s KILL 1 nc -l -p $p 2>&1; echo $p; done; sleep 9 & kill $! && echo own";
    let port = json!([{"name": "web", "protocol": "tcp", "port": 8080}]);
    let image = Aci::new("ports", with_probe(busybox())).sh(script).app("ports", port).build(env);
    let run = |option: &str| {
        let options = ["--insecure-options=image", "run", "--net=none", option, shown(&image)];
        env.proa(options).outcome().succeeds().stdout
    };
    assert_eq!(run("--landlock=default"), "signals\nKilled\n8080\nKilled\n8081\nown\n");
    assert_eq!(run("--landlock=strict"), "Killed\n8080\nnc: bind: Permission denied\n8081\nown\n");
    env.proa(["run", "--landlock=more", shown(&image)]).outcome().exits(254).stderr_shows("more");
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn no_new_privileges(env: &Env) {
    for wanted in [false, true] {
        let isolator = isolator("os/linux/no-new-privileges", json!(wanted));
        let image = image(env, &format!("privileges-{wanted}"), &["/probe", "world"], &[isolator]);
        assert_eq!(world(env, &image, &[])["no_new_privs"], u8::from(wanted));
    }
}

fn sysctls_are_the_pods_own(env: &Env) {
    let key = "/proc/sys/net/ipv4/tcp_fin_timeout";
    let of_host = std::fs::read_to_string(key).expect("the host's");
    let image = shell(env, "sysctl", &format!("cat {key}"), &[]);
    let path = image.to_str().expect("UTF-8");
    let run = |option: &str| env.proa(["--insecure-options=image", "run", "--net=none", option, path]).outcome();
    run("--sysctl=net.ipv4.tcp_fin_timeout=6").succeeds().prints("6\n").quietly();
    assert_eq!(std::fs::read_to_string(key).expect("the host's"), of_host);
    for bad in ["kernel.core_pattern=x", "vm.overcommit_memory=1", "kernel.hostname=x", "user.max_user_namespaces=9"] {
        run(&format!("--sysctl={bad}")).rejects(bad);
    }
    run("--sysctl=net.ipv4.no_such_key=1").refuses("net/ipv4/no_such_key");
    run("--sysctl=net.ipv4.tcp_fin_timeout=ponies").refuses("tcp_fin_timeout");
    let of_app = isolator("os/unix/sysctl", json!({"net.ipv4.tcp_fin_timeout": "7"}));
    let image = shell(env, "sysctl-app", &format!("cat {key}"), &[of_app]);
    let outcome = env.run(&image, &[]).outcome().succeeds();
    outcome.stderr_shows("os/unix/sysctl: ignored: it is one of pods, not of apps");
}

fn apparmor_profile_that_is_not_loaded(env: &Env) {
    let profile = isolator("os/linux/apparmor-profile", json!({"profile": "no-such-profile"}));
    let image = shell(env, "apparmor", "echo ran", &[profile]);
    let outcome = env.run(&image, &[]).outcome().exits(254);
    assert_eq!(outcome.stdout, "");
    // Where AppArmor is on, it is the kernel that does not know the profile.
    let known = ["\"no-such-profile\" is not loaded", "attr/apparmor/exec"];
    assert!(known.iter().any(|text| outcome.stderr.contains(text)), "{outcome}");
}

/// The operator may give it, hears what it is worth, and the app's siblings are as safe as before.
fn net_admin_changes_nothing_of_the_pods_network(env: &Env) {
    let script = "grep CapEff /proc/self/status; ip link set lo mtu 900 2>/dev/null && echo changed; \
        ip address add 10.9.8.7/32 dev lo 2>/dev/null && echo added; ip link add x type dummy 2>/dev/null && echo made; true";
    let image = shell(env, "admin", script, &[]);
    let run = ["--insecure-options=image", "run", "--net=none", "--keep", "--name=admin", shown(&image)];
    let outcome = env.proa(run.into_iter().chain(["--caps-retain=CAP_NET_ADMIN"])).outcome().succeeds();
    let why = "CAP_NET_ADMIN has no power outside the app's own user namespace";
    let outcome = outcome.prints("CapEff:\t0000000000001000\n").stderr_shows(why);
    assert!(outcome.stderr.contains("os/linux/capabilities-retain-set: modified"), "{outcome}");
    let row = format!("isolator-admin=os/linux/capabilities-retain-set: modified: {why}\n");
    env.proa(["status", "admin"]).outcome().succeeds().shows(&row);
    env.proa(["rm", "admin"]).outcome().succeeds();
    let strict =
        ["--insecure-options=image", "run", "--strict", "--net=none", shown(&image), "--caps-retain=CAP_NET_ADMIN"];
    env.proa(strict).outcome().exits(254).stderr_shows(why);
}

/// In the guest, whose root has loaded a profile which denies /secret and nothing else.
fn apparmor_profile_confines(env: &Env) {
    needs!(place(Place::Vm));
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").expect("Debian's kernel has it");
    assert_eq!(enabled.trim(), "Y");
    let script = "cat /proc/self/attr/current; cat /secret; cat /open";
    let tree = busybox().file("secret", "secret\n", 0o644).file("open", "open\n", 0o644);
    let image =
        |name: &str, isolators: Value| Aci::new(name, tree.clone()).sh(script).app("isolators", isolators).build(env);
    // The control: without a profile nothing is denied.
    let free = image("free", json!([]));
    env.run(&free, &[]).outcome().succeeds().shows("unconfined").shows("secret\n").shows("open\n");
    // An image's profile stands beside what there is, and takes away.
    let confined = image("confined", json!([{"name": "os/linux/apparmor-profile", "value": {"profile": "proa-lab"}}]));
    let outcome = env.run(&confined, &[]).outcome().shows("proa-lab").shows("open\n");
    outcome.stderr_shows("/secret': Permission denied");
    // The operator's takes its place; what is executed in the app later has it too.
    let id = env.store(&free);
    let run = ["docker", "run", "--rm", "--security-opt", "apparmor=proa-lab", &id];
    let outcome = env.proa(run).outcome().shows("proa-lab (enforce)\n").shows("open\n");
    outcome.stderr_shows("/secret': Permission denied");
    let image = Aci::new("stays", tree.clone()).sh("echo up; exec sleep 600");
    let profile = json!([{"name": "os/linux/apparmor-profile", "value": {"profile": "proa-lab"}}]);
    let image = image.app("isolators", profile).build(env);
    let run = ["--insecure-options=image", "run", "--net=none", "--name=stays", shown(&image)];
    let mut running = env.proa(run).start();
    running.wait_for("up");
    let entered = env.proa(["enter", "stays", "/bin/sh", "-c", script]).outcome().shows("proa-lab").shows("open\n");
    entered.stderr_shows("/secret': Permission denied");
    env.proa(["status", "stays"]).outcome().succeeds().shows("os/linux/apparmor-profile: enforced");
    running.kill(rustix::process::Signal::TERM);
    running.wait();
}

fn misspelt_isolators_are_refused(env: &Env) {
    let sets = [
        ("os/linux/capabilities-retain-set", json!({"set": ["CAP_PONIES"]}), "no capability \"CAP_PONIES\""),
        ("os/linux/seccomp-remove-set", json!({"set": ["ponies"]}), "no system call is named \"ponies\""),
        ("os/linux/seccomp-retain-set", json!({"set": ["@ponies/all"]}), "unknown wildcard \"@ponies/all\""),
        ("os/linux/seccomp-remove-set", json!({"set": ["reboot"], "errno": "EPONY"}), "no error is named \"EPONY\""),
        ("os/linux/seccomp-remove-set", json!({"set": ["@appc.io/all"]}), "would leave no system call"),
    ];
    for (number, (name, value, text)) in sets.into_iter().enumerate() {
        let image = shell(env, &format!("misspelt-{number}"), "echo ran", &[isolator(name, value)]);
        env.run(&image, &[]).outcome().refuses(text);
    }
    let set = json!({"set": ["CAP_KILL"]});
    let both = ["os/linux/capabilities-retain-set", "os/linux/capabilities-remove-set"];
    let both: Vec<Value> = both.into_iter().map(|name| isolator(name, set.clone())).collect();
    let image = shell(env, "both", "echo ran", &both);
    env.run(&image, &[]).outcome().refuses("incompatible");
}

fn oom_score_can_be_raised(env: &Env) {
    let script = "cat /proc/self/oom_score_adj";
    let image = shell(env, "oom", script, &[isolator("os/linux/oom-score-adj", json!(777))]);
    env.run(&image, &[]).outcome().succeeds().prints("777\n");
    let image = shell(env, "oom-low", script, &[isolator("os/linux/oom-score-adj", json!(-500))]);
    let outcome = env.run(&image, &[]).outcome().succeeds();
    outcome.stderr_shows("os/linux/oom-score-adj: ignored: only the host's root can lower it");
}

fn insecure_options_switch_protections_off(env: &Env) {
    let image = image(env, "insecure", &["/probe", "world"], &[]);
    let insecure = |names: &str| {
        let option = format!("--insecure-options=image,{names}");
        let run = [option.as_str(), "run", "--net=none", image.to_str().expect("UTF-8")];
        let outcome = env.proa(run).outcome().succeeds();
        serde_json::from_str::<Value>(outcome.line()).unwrap_or_else(|error| panic!("{error}: {outcome}"))
    };
    let world = insecure("seccomp");
    assert_eq!((&world["seccomp"], &world["caps"]["bounding"]), (&json!(0), &json!("00000000a80425fb")));
    let world = insecure("capabilities");
    let bounding = world["caps"]["bounding"].as_str().expect("a mask");
    assert!(u64::from_str_radix(bounding, 16).expect("a number").count_ones() > 37, "{bounding}");
    assert_eq!((&world["seccomp"], &world["max_user_namespaces"]), (&json!(2), &json!("0")));

    let masked = "/proc/config.gz /proc/keys /proc/interrupts; cat /proc/interrupts | head -c 1 | wc -c; \
        : > /proc/sys/net/ipv4/tcp_fin_timeout && echo writable";
    let image = shell(env, "paths", &format!("ls {masked}"), &[]);
    let paths = ["--insecure-options=image,paths", "run", "--net=none", image.to_str().expect("UTF-8")];
    let outcome = env.proa(paths).outcome();
    assert!(outcome.stdout.contains('1'), "/proc/interrupts can be read: {outcome}");
}

fn strict_profile_gives_less(env: &Env) {
    let image = image(env, "strict", &["/probe", "world"], &[]);
    let path = image.to_str().expect("UTF-8");
    let run = ["--insecure-options=image", "run", "--net=none", "--profile=strict", path];
    let outcome = env.proa(run).outcome().succeeds();
    let world: Value = serde_json::from_str(outcome.line()).expect("JSON");
    assert_eq!((&world["no_new_privs"], &world["caps"]["bounding"]), (&json!(1), &json!("00000000000405fb")));
}

fn operators_options_replace_the_images(env: &Env) {
    let of_image = [
        isolator("os/linux/capabilities-remove-set", json!({"set": ["CAP_KILL"]})),
        isolator("os/linux/seccomp-remove-set", json!({"set": ["uname"], "errno": "ENOSYS"})),
    ];
    let image = image(env, "replaced", &["/probe", "world"], &of_image);
    let bounding = |more: &[&str]| world(env, &image, more)["caps"]["bounding"].clone();
    assert_eq!(bounding(&[]), "00000000a80425db");
    assert_eq!(bounding(&["--caps-retain=CAP_KILL,CAP_NET_BIND_SERVICE"]), "0000000000000420");
    assert_eq!(bounding(&["--caps-remove", "CAP_CHOWN"]), "00000000a80425fa");
    assert_eq!(bounding(&["--caps-retain=CAP_SYS_ADMIN"]), "0000000000200000", "the operator may widen");
    assert_eq!(world(env, &image, &["--seccomp=mode=retain,@appc.io/all"])["seccomp"], 0);
    assert_eq!(world(env, &image, &["--oom-score-adj=500"])["seccomp"], 2);
    env.run(&image, &["--caps-retain=CAP_KILL", "--caps-remove=CAP_CHOWN"]).outcome().rejects("--caps-re");
    env.run(&image, &["--seccomp=reboot"]).outcome().rejects("mode is missing");
    env.run(&image, &["--oom-score-adj=2000"]).outcome().rejects("2000");
    // A reified manifest run again gives the image no more than it had.
    let greedy = isolator("os/linux/capabilities-retain-set", json!({"set": ["CAP_KILL", "CAP_SYS_ADMIN"]}));
    let image = self::image(env, "again", &["/probe", "world"], &[greedy]);
    let path = image.to_str().expect("UTF-8");
    env.proa(["--insecure-options=image", "prepare", "--name=first", path]).outcome().succeeds();
    let manifest = env.proa(["cat-manifest", "first"]).outcome().succeeds().stdout;
    let file = env.write("again.json", manifest);
    let again = ["run", "--net=none", "--pod-manifest", file.to_str().expect("UTF-8")];
    let outcome = env.proa(again).outcome().succeeds();
    let world: Value = serde_json::from_str(outcome.line()).expect("JSON");
    assert_eq!(world["caps"]["bounding"], "0000000000000020");
    // What somebody writes into a pod manifest is his own wish.
    let mut written: Value = serde_json::from_str(&std::fs::read_to_string(&file).expect("it")).expect("JSON");
    written["apps"][0].as_object_mut().expect("an app").remove("annotations");
    let file = env.write("written.json", written.to_string());
    let run = ["run", "--net=none", "--pod-manifest", file.to_str().expect("UTF-8")];
    let outcome = env.proa(run).outcome().succeeds();
    let world: Value = serde_json::from_str(outcome.line()).expect("JSON");
    assert_eq!(world["caps"]["bounding"], "0000000000200020");
    env.proa(["rm", "first"]).outcome().succeeds();
}

/// MNT-11: mounts stay locked for whoever has all rights over the namespace they were inherited into.
fn locked_mounts_stay_with_sys_admin(env: &Env) {
    let script = "grep CapEff /proc/self/status; umount /proc/interrupts 2>&1; umount /proc/sys 2>&1; mount -o remount,rw /proc/sys 2>&1; \
        mount -o remount,bind,rw /data 2>&1; touch /data/x 2>&1; mount -t tmpfs none /tmp 2>&1; true";
    let image = Aci::new("admin", busybox().dir("tmp", 0o777).dir("data", 0o777)).sh(script).build(env);
    let volume = env.path("volume");
    env.make_dir(&volume);
    let volume = format!("--volume=data,kind=host,source={},readOnly=true", volume.display());
    let path = image.to_str().expect("UTF-8");
    let options = ["--caps-retain=CAP_SYS_ADMIN,CAP_DAC_OVERRIDE", "--mount=volume=data,target=/data"];
    let run = ["--insecure-options=image", "run", "--net=none", &volume, path, options[0], options[1]];
    let outcome = env.proa(run).outcome().succeeds();
    assert!(outcome.stdout.contains("CapEff:\t0000000000200002"), "{outcome}");
    for refused in ["can't unmount /proc/interrupts", "can't unmount /proc/sys", "/data/x: Read-only file system"] {
        assert!(outcome.stdout.contains(refused), "{refused:?}: {outcome}");
    }
    assert_eq!(outcome.stdout.lines().filter(|line| line.contains("mount:")).count(), 5, "{outcome}");
}

fn status_shows_what_became_of_isolators(env: &Env) {
    let isolators = [
        isolator("os/linux/capabilities-retain-set", json!({"set": ["CAP_KILL", "CAP_SYS_ADMIN"]})),
        isolator("os/linux/no-new-privileges", json!(true)),
        isolator("example.com/ponies", json!(1)),
    ];
    let image = shell(env, "status", "true", &isolators);
    let path = image.to_str().expect("UTF-8");
    let option = "--insecure-options=image,seccomp";
    env.proa([option, "run", "--net=none", "--keep", "--name=shown", path]).outcome().succeeds();
    let outcome = env.proa(["status", "shown"]).outcome().succeeds();
    outcome
        .shows("insecure-options=seccomp\n")
        .shows("isolator-status=os/linux/capabilities-retain-set: modified: an image is not granted CAP_SYS_ADMIN: that takes --caps-retain\n")
        .shows("isolator-status=os/linux/no-new-privileges: enforced\n")
        .shows("isolator-status=example.com/ponies: ignored: not known\n");
    let outcome = env.proa(["status", "--format=json", "shown"]).outcome().succeeds();
    let shown: Value = serde_json::from_str(outcome.line()).expect("JSON");
    assert_eq!(shown["insecure_options"], json!(["seccomp"]));
    let rows = &shown["apps"][0]["isolators"];
    assert_eq!(rows[1], json!({"isolator": "os/linux/no-new-privileges", "outcome": "enforced"}));
    assert_eq!(rows[2]["why"], "not known");
    env.proa(["rm", "shown"]).outcome().succeeds();
}
