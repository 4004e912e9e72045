//! Attacks from inside a pod. Each has a control: the same attack, unprotected, works.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use integration_tests::images::{Aci, Layout, busybox, with_perl, with_probe};
use integration_tests::needs::tool;
use integration_tests::{Env, Outcome, User, binaries, denial, each_user, needs};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn hash(path: &Path) -> String {
    hex::encode(Sha256::digest(std::fs::read(path).expect("readable")))
}

/// The attempts the probe told of: (path, how) → result.
fn attempts(output: &str) -> BTreeMap<(String, String), String> {
    let text = |it: &Value| it.as_str().expect("text").to_owned();
    let lines = output.lines().filter(|it| it.starts_with('{'));
    let parse = |it: &str| serde_json::from_str::<Value>(it).unwrap_or_else(|e| panic!("{e}: {it}"));
    lines.map(parse).map(|it| ((text(&it["path"]), text(&it["how"])), text(&it["result"]))).collect()
}

#[track_caller]
fn assert_refused(((path, how), result): (&(String, String), &String), outcome: &Outcome) {
    let refused = ["EACCES", "EPERM", "ENOENT", "ENOTDIR"].contains(&result.as_str());
    // The kernel looks at what it is before it looks at who asks.
    let directory = result == "EISDIR" && (how.contains("read") || how.contains("write"));
    assert!(refused || directory, "{how} of {path} gave {result}: {outcome}");
}

/// Runs as the user of a namespace of its own, without anything of proa: what a single user namespace gives.
const PLAIN: [&str; 8] = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--net", "--ipc"];

each_user! {
    own_program_and_pid_1_cannot_be_reached,
    siblings_cannot_be_reached,
    program_that_is_proc_self_exe_is_not_ours,
    system_calls_of_an_escape_fail,
    system_calls_of_an_escape_fail_in_an_oci_image,
}

fn own_program_and_pid_1_cannot_be_reached(env: &Env) {
    let proa = env.own_proa();
    let before = hash(&proa);
    let script = "/probe open /proc/1/exe /proc/1/root /proc/1/cwd /proc/1/fd /proc/1/environ /proc/1/mem /proc/1/maps \
        /proc/1/root/etc/passwd /proc/1/cwd/etc/passwd /proc/1/map_files /proc/1/fd/0 /proc/1/fd/3 /proc/1/fd/4; \
        /probe overwrite 1 /no/such/flag; echo own; cp /probe /tmp/self && /tmp/self open /proc/self/exe";
    let image = Aci::new("attack", with_probe(busybox())).sh(script).build(env);
    let outcome = env.run(&image, &[]).binary(&proa).outcome().succeeds();
    let (pid_1, own) = outcome.stdout.split_once("own\n").expect("both parts");
    let tried = attempts(pid_1);
    assert!(tried.len() > 60, "{outcome}");
    tried.iter().for_each(|it| assert_refused(it, &outcome));
    // Its own program is the image's: readable, and not the host's.
    assert_eq!(attempts(own)[&("/proc/self/exe".to_owned(), "read".to_owned())], "ok", "{outcome}");
    assert_eq!(hash(&proa), before, "the user's proa was changed");
}

fn siblings_cannot_be_reached(env: &Env) {
    let proa = env.own_proa();
    let before = hash(&proa);
    let victim = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
    let victim =
        Aci::new("victim", busybox()).sh(victim).app("environment", serde_json::json!([{"name": "S", "value": "x"}]));
    let victim = victim.build(env);
    let attacker = Aci::new("attacker", with_probe(busybox())).sh("/probe siblings; kill -TERM -1; exit 0").build(env);
    let attacker = attacker.to_str().expect("UTF-8");
    let outcome = env.run(&victim, &["---", attacker]).binary(&proa).outcome();
    // The signal may come before its trap.
    assert!([Some(0), Some(143)].contains(&outcome.status.code()), "{outcome}");
    let tried = attempts(&outcome.stdout);
    let signalled = tried.iter().filter(|((_, how), result)| how == "signal" && *result == "ok").count();
    assert!(signalled >= 1, "apps of a pod see and signal each other: {outcome}");
    // By its mode, the kernel lets the user's own processes count descriptors; what they are it does not tell.
    let count = |path: &str, how: &str| path.ends_with("/fd") && how.starts_with("list");
    let refused = tried.iter().filter(|((path, how), _)| how != "signal" && !count(path, how));
    refused.for_each(|it| assert_refused(it, &outcome));
    assert_eq!(hash(&proa), before);
}

fn program_that_is_proc_self_exe_is_not_ours(env: &Env) {
    // CVE-2019-5736 by interpreter: the kernel would execute what /proc/self/exe is at that moment, which is proa.
    let proa = env.own_proa();
    let before = hash(&proa);
    let scripts = [
        ("self", "#!/proc/self/exe version\n"),
        ("one", "#!/proc/1/exe version\n"),
        ("thread", "#!/proc/thread-self/exe version\n"),
        ("root", "#!/proc/1/root/bin/sh\n"),
    ];
    for (name, script) in scripts {
        let tree = busybox().file("attack", script, 0o755).symlink("bin/linked", "/proc/self/exe");
        let image = Aci::new(name, tree).exec(["/attack"]).build(env);
        let outcome = env.run(&image, &[]).binary(&proa).outcome();
        let outcome = outcome.refuses_with(126, "/attack");
        assert!(!outcome.stdout.contains("proa"), "{outcome}");
    }
    for program in ["/proc/self/exe", "/proc/1/exe", "/bin/linked", "/proc/1/root/bin/busybox", "/proc/thread-self/exe"]
    {
        let tree = busybox().symlink("bin/linked", "/proc/self/exe");
        let image = Aci::new("direct", tree).exec([program, "version"]).build(env);
        let outcome = env.run(&image, &[]).binary(&proa).outcome().refuses_with(126, program);
        assert!(!outcome.stdout.contains("proa"), "{outcome}");
    }
    assert_eq!(hash(&proa), before);
}

fn system_calls_of_an_escape_fail(env: &Env) {
    let image = attacks_image(env, "0");
    check_attacks(&env.run(&image, &[]).outcome().succeeds().stdout);
    let image = attacks_image(env, "1000");
    check_attacks(&env.run(&image, &[]).outcome().succeeds().stdout);
}

fn system_calls_of_an_escape_fail_in_an_oci_image(env: &Env) {
    let tree = needs!(with_perl(busybox())).file("attacks.pl", ATTACKS, 0o644);
    let dir = Layout::new("attacks").layer(tree).config("Cmd", serde_json::json!(attack_line())).build(env);
    let outcome = env.proa(["run", "--net=none", &format!("oci:{}", dir.display())]).outcome().succeeds();
    check_attacks(&outcome.stdout);
}

const ATTACKS: &str = include_str!("../fixtures/attacks.pl");

/// Refused by the filter with EPERM, because an app has no business with them.
const NOT_PERMITTED: &str = "mount umount2 unshare setns pivot_root keyctl add_key request_key io_uring_setup bpf \
    perf_event_open userfaultfd kcmp pidfd_getfd open_by_handle_at reboot kexec_load init_module delete_module swapon \
    settimeofday acct syslog iopl fanotify_init quotactl lookup_dcookie move_pages mbind vhangup sethostname personality \
    prlimit64";
/// As if the kernel were older, so that programs take their older way.
const UNKNOWN: &str = "clone3 open_tree move_mount fsopen mount_setattr";
/// Left to the kernel, which refuses them across the app's own user namespace.
const KERNEL: &str = "ptrace process_vm_readv mknod";

fn attack_line() -> Vec<String> {
    let names = [NOT_PERMITTED, UNKNOWN, KERNEL, "chroot"].join(" ");
    let native = |it: &&str| cfg!(target_arch = "x86_64") || *it != "iopl";
    let numbers = names.split_whitespace().filter(native).map(|it| format!("{it}={}", denial::number(it)));
    ["/usr/bin/perl", "/attacks.pl"].map(str::to_owned).into_iter().chain(numbers.collect::<Vec<_>>()).collect()
}

fn attacks_image(env: &Env, user: &str) -> PathBuf {
    let tree = with_perl(busybox()).expect("perl is essential in Debian").file("attacks.pl", ATTACKS, 0o644);
    Aci::new("attacks", tree).exec(attack_line()).user(user, user).build(env)
}

/// What the script told: name → `ok` or the error's name.
fn told(output: &str) -> BTreeMap<&str, String> {
    let name = |number: &str| match number.parse() {
        Ok(errno) => syscalls::Errno::new(errno).name().unwrap_or("?").to_owned(),
        Err(_) => number.to_owned(),
    };
    output.lines().filter_map(|it| it.split_once(' ')).map(|(it, result)| (it, name(result))).collect()
}

#[track_caller]
fn check_attacks(output: &str) {
    let told = told(output);
    let mut wrong = Vec::new();
    let mut check = |name: &str, expected: &[&str]| match told.get(name) {
        Some(result) if expected.contains(&result.as_str()) => {}
        result => wrong.push(format!("{name}: {result:?} instead of {expected:?}")),
    };
    NOT_PERMITTED.split_whitespace().for_each(|it| check(it, &["EPERM"]));
    UNKNOWN.split_whitespace().for_each(|it| check(it, &["ENOSYS"]));
    KERNEL.split_whitespace().for_each(|it| check(it, &["EPERM", "EACCES"]));
    for family in [
        "AF_ALG",
        "AF_VSOCK",
        "AF_PACKET",
        "AF_RXRPC",
        "AF_KEY",
        "AF_XDP",
        "AF_TIPC",
        "NETLINK_XFRM",
        "NETLINK_NETFILTER",
    ] {
        check(family, &["EAFNOSUPPORT"]);
    }
    check("TIOCSTI", &["EPERM"]);
    check("TIOCLINUX", &["EPERM"]);
    for file in ["core_pattern", "modprobe"] {
        check(&format!("/proc/sys/kernel/{file}"), &["EROFS", "EACCES", "ENOENT"]);
    }
    check("/proc/sys/vm/drop_caches", &["EROFS", "EACCES"]);
    check("/proc/sys/user/max_user_namespaces", &["EROFS", "EACCES"]);
    check("/proc/sys/net/ipv4/ip_forward", &["EROFS", "EACCES"]);
    check("/sys/kernel/mm/ksm/run", &["EROFS", "EACCES", "ENOENT"]);
    check("/proc/self/oom_score_adj-low", &["EACCES"]);
    assert!(wrong.is_empty(), "{}\nof\n{output}", wrong.join("\n"));
}

/// Control: without the filter and the nested namespace these calls do something.
#[test]
fn control_system_calls_work_unprotected() {
    let env = needs!(Env::of(User::WithRange));
    let perl = needs!(tool("perl"));
    let script = env.write("attacks.pl", ATTACKS);
    let calls = attack_line().into_iter().skip(2).filter(|it| !it.starts_with("reboot="));
    let args = [script.into_os_string()].into_iter().chain(calls.map(Into::into)).collect();
    let outcome = env.command(perl, args).through(PLAIN).outcome().succeeds();
    let told = told(&outcome.stdout);
    let work = "mount unshare keyctl add_key kcmp personality fsopen mount_setattr mbind prlimit64";
    for name in work.split_whitespace() {
        assert_eq!(told[name], "ok", "{outcome}");
    }
    // These get as far as looking at their arguments.
    for name in ["umount2", "setns", "pivot_root", "move_mount", "request_key", "pidfd_getfd", "TIOCSTI"] {
        assert!(!["EPERM", "ENOSYS"].contains(&told[name].as_str()), "{name} is {}: {outcome}", told[name]);
    }
    for name in ["ptrace", "NETLINK_XFRM", "AF_PACKET", "/proc/sys/user/max_user_namespaces"] {
        assert_eq!(told[name], "ok", "{outcome}");
    }
}

/// Control: in one user namespace alone, the files of a sibling and of pid 1 can be read.
#[test]
fn control_siblings_can_be_reached_in_one_namespace() {
    let env = needs!(Env::of(User::WithRange));
    let script = format!("mount -t proc none /proc; sleep 600 & {} siblings; kill %1; :", binaries::probe().display());
    let args = ["-c", &script].map(Into::into).to_vec();
    let outcome = env.command("sh", args).through(PLAIN).outcome().succeeds();
    let tried = attempts(&outcome.stdout);
    let reached = |file: &str, how: &str| {
        let is = |((path, tried), result): (&(String, String), &String)| {
            path.ends_with(file) && tried == how && result == "ok"
        };
        tried.iter().filter(|it| is(*it)).count()
    };
    for (file, how) in
        [("/environ", "read"), ("/root", "list"), ("/exe", "read"), ("/exe", "execute"), ("/cwd", "list by descriptor")]
    {
        assert!(reached(file, how) >= 2, "{file} of pid 1 and of the sibling: {outcome}");
    }
    assert!(reached("/mem", "write") >= 1, "{outcome}");
}

/// Control: a container runtime of the simplest kind executes itself for `#!/proc/self/exe`.
#[test]
fn control_interpreter_is_the_runtime() {
    let env = needs!(Env::of(User::WithRange));
    let root = env.path("rootfs");
    for dir in ["", "proc"] {
        env.make_dir(&root.join(dir));
    }
    env.write("rootfs/attack", "#!/proc/self/exe --version\n");
    std::fs::set_permissions(root.join("attack"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
    // Its own libraries, because the runtime is linked to them and the root has nothing.
    let library = ["cp", "-rL", "--parents", "/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
    let copied = std::process::Command::new(library[0]).args(&library[1..]).arg(&root).status();
    let args = vec!["/attack".into()];
    let wrapper =
        ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc"].map(str::to_owned);
    let wrapper = wrapper.into_iter().chain([format!("--root={}", root.display())]).collect::<Vec<_>>();
    let run = env.command(&wrapper[0], wrapper[1..].iter().map(Into::into).chain(args).collect());
    assert!(copied.is_ok_and(|it| it.success()), "the libraries are there");
    run.outcome().succeeds().shows("from util-linux");
}

/// Control: a runtime that stays in the pod as pid 1 and is the user's own file is overwritten from inside.
#[test]
fn control_runtime_can_be_overwritten() {
    let env = needs!(Env::of(User::WithRange));
    let runtime = env.path("busybox");
    std::fs::copy("/bin/busybox", &runtime).expect("busybox-static");
    env.own(&runtime);
    let (flag, held) = (env.path("flag"), env.path("held"));
    let attack = format!("{} overwrite 1 {} >{}", binaries::probe().display(), flag.display(), held.display());
    // The runtime's last program is another one: then the kernel lets its file be written.
    let script = format!(
        "mount -t proc none /proc; {attack} & while ! /usr/bin/grep -q hold {held}; do /usr/bin/sleep 0.05; done; \
         exec /usr/bin/sh -c 'touch {flag}; sleep 1'",
        held = held.display(),
        flag = flag.display(),
    );
    let args = ["sh", "-c", &script].map(Into::into).to_vec();
    env.command(&runtime, args).through(PLAIN).outcome().succeeds();
    let told = std::fs::read_to_string(&held).expect("the attack told");
    assert!(std::fs::read(&runtime).expect("it is there").starts_with(b"overwritten"), "{told}");
}
