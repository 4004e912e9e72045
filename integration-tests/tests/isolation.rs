//! What an app sees of itself and the machine: exactly the documented world.

use std::collections::BTreeSet;
use std::path::Path;

use integration_tests::images::{Aci, Layout, busybox, with_probe};
use integration_tests::{Env, each_user, process};
use serde_json::{Value, json};

/// appc's default capabilities (ace.md), which are docker's too.
const DEFAULT_CAPABILITIES: [u32; 14] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31];

fn mask(capabilities: &[u32]) -> String {
    format!("{:016x}", capabilities.iter().fold(0_u64, |mask, bit| mask | 1 << bit))
}

fn probe(env: &Env, user: &str) -> std::path::PathBuf {
    Aci::new("probe", with_probe(busybox())).exec(["/probe", "world"]).user(user, user).build(env)
}

fn world(env: &Env, image: &Path, more: &[&str]) -> Value {
    let outcome = env.run(image, more).outcome().succeeds();
    serde_json::from_str(outcome.line()).unwrap_or_else(|e| panic!("{e}: {outcome}"))
}

each_user! {
    world_of_root_in_an_aci,
    world_of_a_user_in_an_aci,
    world_in_an_oci_image,
    only_the_standard_descriptors_are_open,
    namespaces_are_not_the_hosts,
    apps_share_a_pods_namespaces_but_not_user_and_mounts,
    devices_are_the_standards,
    mounts_have_the_documented_flags,
    masked_files_say_nothing,
    kernel_settings_are_read_only,
    loopback_is_up_and_nothing_else,
    images_own_devices_are_not_used,
    images_own_links_are_not_followed,
    image_without_mount_points_runs,
}

fn world_of_root_in_an_aci(env: &Env) {
    let world = world(env, &probe(env, "0"), &[]);
    let all = mask(&DEFAULT_CAPABILITIES);
    let none = mask(&[]);
    let expected = json!({"inheritable": none, "permitted": all, "effective": all, "bounding": all, "ambient": none});
    assert_eq!(world["caps"], expected);
    assert_eq!(world["uids"], json!([0, 0, 0, 0]));
    assert_eq!(world["gids"], json!([0, 0, 0, 0]));
    // Groups of the caller cannot be left behind with a single id; they show as the overflow group.
    let groups = world["groups"].as_array().expect("a list");
    assert!(groups.iter().all(|it| it == 0 || it == 65534), "{groups:?}");
    assert_eq!(world["no_new_privs"], 0, "appc's default");
    assert_eq!(world["seccomp"], 2);
    assert_eq!(world["cwd"], "/");
    assert_eq!(world["umask"], "0022");
    assert_eq!(world["interfaces"], json!(["lo"]));
    assert_eq!(world["limits"]["Max core file size"], json!(["0", "0"]));
    assert_eq!(world["signals"]["blocked"], none.as_str());
    assert_eq!(world["max_user_namespaces"], "0", "no way back to all capabilities");
}

fn world_of_a_user_in_an_aci(env: &Env) {
    let world = world(env, &probe(env, "1000"), &[]);
    let none = mask(&[]);
    for set in ["inheritable", "permitted", "effective", "ambient"] {
        assert_eq!(world["caps"][set], none.as_str(), "{set}");
    }
    assert_eq!(world["caps"]["bounding"], mask(&DEFAULT_CAPABILITIES).as_str());
    assert_eq!(world["uids"], json!([1000, 1000, 1000, 1000]));
    assert_eq!(world["gids"], json!([1000, 1000, 1000, 1000]));
    assert_eq!(world["seccomp"], 2);
}

fn world_in_an_oci_image(env: &Env) {
    let dir =
        Layout::new("oci-world").layer(with_probe(busybox())).config("Cmd", json!(["/probe", "world"])).build(env);
    let outcome = env.proa(["run", "--net=none", &format!("oci:{}", dir.display())]).outcome().succeeds();
    let world: Value = serde_json::from_str(outcome.line()).expect("JSON");
    assert_eq!(world["caps"]["bounding"], mask(&DEFAULT_CAPABILITIES).as_str());
    assert_eq!(world["caps"]["ambient"], mask(&[]).as_str());
    assert_eq!(world["seccomp"], 2);
    assert_eq!(world["no_new_privs"], 0, "false unless asked for, as OCI has it");
}

fn only_the_standard_descriptors_are_open(env: &Env) {
    let image = probe(env, "0");
    // FD-05: a caller that leaks folders of the host, files and pipes.
    let leak = "for fd in 3 4 5 6 7 8 9; do eval \"exec $fd</\"; done; exec \"$@\"";
    let run = env.run(&image, &[]).through(["sh", "-c", leak, "sh"]);
    for run in [run, env.run(&image, &[])] {
        let outcome = run.outcome().succeeds();
        let world: Value = serde_json::from_str(outcome.line()).expect("JSON");
        let fds: BTreeSet<&str> = world["fds"].as_object().expect("a table").keys().map(String::as_str).collect();
        assert_eq!(fds, BTreeSet::from(["0", "1", "2"]), "{}", world["fds"]);
    }
}

fn namespaces_are_not_the_hosts(env: &Env) {
    let world = world(env, &probe(env, "0"), &[]);
    let hosts = process::namespaces(std::process::id() as i32);
    let apps: Vec<&str> =
        world["namespaces"].as_object().expect("a table").values().filter_map(Value::as_str).collect();
    for kind in ["user", "mnt", "pid", "net", "ipc", "uts"] {
        let own = apps.iter().find(|it| it.starts_with(&format!("{kind}:"))).unwrap_or_else(|| panic!("no {kind}"));
        assert!(!hosts.contains(*own), "the app shares {own} with the host");
    }
}

fn apps_share_a_pods_namespaces_but_not_user_and_mounts(env: &Env) {
    let image = probe(env, "0");
    let again = image.to_str().expect("UTF-8");
    let outcome = env.run(&image, &["--name=a", "---", again, "--name=b"]).outcome().succeeds();
    let worlds: Vec<Value> = outcome.stdout.lines().map(|it| serde_json::from_str(it).expect("JSON")).collect();
    let [a, b] = &worlds[..] else { panic!("two lines: {outcome}") };
    for kind in ["pid", "net", "ipc", "uts"] {
        assert_eq!(a["namespaces"][kind], b["namespaces"][kind], "{kind} is the pod's");
    }
    for kind in ["user", "mnt"] {
        assert_ne!(a["namespaces"][kind], b["namespaces"][kind], "{kind} is the app's own");
    }
    assert_eq!(a["hostname"], b["hostname"]);
}

fn devices_are_the_standards(env: &Env) {
    let script = "ls /dev; for n in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' /dev/$n; done; \
        echo x >/dev/null; head -c 4 /dev/zero | wc -c; head -c 8 /dev/urandom | wc -c; echo x >/dev/full; echo $?; \
        for l in fd stdin stdout stderr; do readlink /dev/$l; done; stat -c %F /dev/pts/ptmx; ls -d /dev/shm /dev/ptmx";
    let image = Aci::new("dev", busybox()).sh(script).build(env);
    let outcome = env.run(&image, &[]).outcome().succeeds();
    let expected = "/dev/null character special file 1:3 666\n/dev/zero character special file 1:5 666\n\
        /dev/full character special file 1:7 666\n/dev/random character special file 1:8 666\n\
        /dev/urandom character special file 1:9 666\n/dev/tty character special file 5:0 666\n4\n8\n1\n\
        /proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\ncharacter special file\n/dev/ptmx\n/dev/shm\n";
    let (listed, rest) = outcome.stdout.split_at(outcome.stdout.find("/dev/null").expect("it is listed"));
    assert_eq!(rest, expected, "{outcome}");
    let allowed = "console core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
    let allowed: BTreeSet<&str> = allowed.split(' ').collect();
    let more: Vec<&str> = listed.lines().filter(|it| !allowed.contains(it)).collect();
    assert_eq!(more, [""; 0], "nothing else is in /dev");
}

fn mounts_have_the_documented_flags(env: &Env) {
    let world = world(env, &probe(env, "0"), &[]);
    let mounts = world["mounts"].as_array().expect("a list");
    let options = |target: &str| {
        let find = |it: &&Value| it.as_str().and_then(|it| it.split(' ').nth(4)) == Some(target);
        let line = mounts.iter().rfind(find).unwrap_or_else(|| panic!("nothing is mounted at {target}: {mounts:#?}"));
        line.as_str().expect("text").split(' ').nth(5).expect("options").split(',').collect::<BTreeSet<_>>()
    };
    let flags = [
        ("/", "nodev"),
        ("/proc", "nosuid nodev noexec"),
        ("/proc/sys", "ro nosuid nodev noexec"),
        ("/sys", "ro nosuid nodev noexec"),
        ("/dev", "nosuid noexec"),
        ("/dev/pts", "nosuid noexec"),
        ("/dev/shm", "nosuid nodev noexec"),
        ("/dev/mqueue", "nosuid nodev noexec"),
        ("/dev/null", "nosuid noexec"),
    ];
    for (target, wanted) in flags {
        let options = options(target);
        for flag in wanted.split(' ') {
            assert!(options.contains(flag), "{target} is not {flag}: {options:?}");
        }
    }
    // Nothing propagates in or out, and no source or root tells where on the host the pod lies.
    let text = world["mounts"].to_string();
    assert!(!text.contains("shared:"), "{mounts:#?}");
}

fn masked_files_say_nothing(env: &Env) {
    let script = "for f in kcore keys key-users kallsyms kmsg kmem mem config.gz timer_list latency_stats sched_debug \
        interrupts iomem ioports modules slabinfo vmallocinfo pagetypeinfo kpagecount kpageflags kpagecgroup vmcore; \
        do [ -e /proc/$f ] && [ \"$(head -c 1 /proc/$f 2>/dev/null | wc -c)\" != 0 ] && echo /proc/$f; done; \
        for d in /proc/acpi /proc/asound /proc/scsi /sys/firmware /sys/kernel/debug /sys/kernel/tracing \
        /sys/kernel/security /sys/kernel/config /sys/fs/bpf /sys/fs/pstore /sys/fs/fuse /sys/fs/selinux /sys/hypervisor \
        /sys/module /sys/power /sys/devices/virtual/powercap /sys/devices/virtual/dmi; \
        do [ -e $d ] && ls -A $d 2>/dev/null | sed \"s|^|$d/|\"; done; echo looked";
    let image = Aci::new("masked", busybox()).sh(script).build(env);
    env.run(&image, &[]).outcome().succeeds().prints("looked\n");
}

fn kernel_settings_are_read_only(env: &Env) {
    let script = "for f in /proc/sys/kernel/core_pattern /proc/sys/net/ipv4/ip_forward /proc/sys/user/max_user_namespaces \
        /proc/sys/kernel/shmmax /proc/sys/fs/mqueue/msg_max /proc/irq/default_smp_affinity /sys/class/net/lo/mtu \
        /sys/kernel/mm/ksm/run; do [ -e $f ] && (echo 1 >$f) 2>/dev/null && echo $f; done; echo tried";
    let image = Aci::new("settings", busybox()).sh(script).build(env);
    env.run(&image, &[]).outcome().succeeds().prints("tried\n");
}

fn loopback_is_up_and_nothing_else(env: &Env) {
    let script =
        "nc -l -p 8080 -e echo hi & until nc 127.0.0.1 8080 2>/dev/null; do :; done; cat /proc/net/route | wc -l";
    let image = Aci::new("lo", busybox()).sh(script).build(env);
    env.run(&image, &[]).outcome().succeeds().prints("hi\n1\n");
}

fn images_own_devices_are_not_used(env: &Env) {
    // PROC-01: masks and /dev must be our objects, whatever the image has in their places.
    let bare = with_probe(busybox()).file("dev/null", "image's", 0o666).symlink("dev/zero", "/etc/passwd");
    let image = Aci::new("devices", bare).sh("stat -c '%t:%T' /dev/null /dev/zero; cat /dev/null").build(env);
    env.run(&image, &[]).outcome().succeeds().prints("1:3\n1:5\n");
}

fn images_own_links_are_not_followed(env: &Env) {
    let canary = env.write("canary", "untouched");
    for target in ["proc", "sys", "dev"] {
        let files = ["bin/busybox", "bin/sh"];
        let program = std::fs::read("/bin/busybox").expect("busybox-static");
        let tree = integration_tests::images::Tree::new()
            .dir("bin", 0o755)
            .file(files[0], program, 0o755)
            .symlink(files[1], "busybox")
            .symlink(target, &env.root().to_string_lossy());
        let image = Aci::new(&format!("link-{target}"), tree).sh("echo ran").build(env);
        let outcome = env.run(&image, &[]).outcome();
        // Refused, or a real folder was put in its place.
        if !outcome.status.success() {
            outcome.rejects(target);
        }
        let left: BTreeSet<_> =
            std::fs::read_dir(env.root()).expect("ours").map(|it| it.expect("entry").file_name()).collect();
        let known = ["canary", "data", "home", "images", "run", "tmp"].map(std::ffi::OsString::from);
        assert!(left.is_subset(&BTreeSet::from(known)), "{left:?}");
    }
    assert_eq!(std::fs::read(canary).expect("it is there"), b"untouched");
}

fn image_without_mount_points_runs(env: &Env) {
    // No /proc, /dev, /sys, /etc or /run: they come from below the image, without touching the stored tree.
    let program = std::fs::read("/bin/busybox").expect("busybox-static");
    let tree = integration_tests::images::Tree::new().file("busybox", program, 0o755);
    let image =
        Aci::new("bare", tree).exec(["/busybox", "sh", "-c", "/busybox ls / | /busybox tr '\\n' ' '"]).build(env);
    env.run(&image, &[]).outcome().succeeds().prints("busybox dev etc proc run sys ");
}
