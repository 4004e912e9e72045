//! Attacks of apps on their pod, their host and each other that no other test file is about. docs/security/corpus.md says
//! where each line of the corpus is.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use integration_tests::images::{Aci, busybox, with_perl};
use integration_tests::needs::{Place, place, tool};
use integration_tests::{Env, User, denial, each_user, limit, needs, process};
use rustix::fs::{CWD, Gid, RenameFlags, Uid, chown, renameat_with};
use serde_json::json;

each_user! {
    mnt_02_a_mount_point_that_changes_into_a_link,
    mnt_07_links_where_files_are_made,
    mnt_10_what_is_on_a_volume_stays,
    mnt_14_no_way_out_by_chroot,
    usr_01_groups_are_exactly_those_named,
    usr_02_groups_of_the_caller,
    exec_03_users_are_exactly_those_named,
    exec_07_clients_that_do_not_read_cost_nothing,
    exec_08_numbers_are_no_names,
    dev_04_no_devices_are_made,
    dev_05_shared_memory_has_an_end,
    cg_02_no_hierarchy_of_control_groups_is_mounted,
    cg_03_names_are_no_paths,
    cg_04_annotations_are_no_properties,
    sys_01_kernel_parameters_are_one_value_each,
    sys_02_kernel_parameters_of_the_host_stay,
    sec_10_every_thread_is_filtered,
}

fn shell(env: &Env, name: &str, script: &str) -> PathBuf {
    Aci::new(name, busybox().dir("tmp", 0o1777)).sh(script).build(env)
}

fn entries(dir: &Path) -> usize {
    std::fs::read_dir(dir).expect("a folder").count()
}

fn mnt_02_a_mount_point_that_changes_into_a_link(env: &Env) {
    let (shared, canary, inner) = (env.path("shared"), env.path("canary"), env.path("inner"));
    [&shared, &canary, &inner, &shared.join("d")].into_iter().for_each(|dir| env.make_dir(dir));
    std::os::unix::fs::symlink(&canary, shared.join("l")).expect("a link");
    let image = shell(env, "race", "test -d /v/d/x || test -d /v/l/x; grep -c canary /proc/self/mountinfo; true");
    let [v, w] = [("v", &shared), ("w", &inner)]
        .map(|(name, dir)| format!("--volume={name},kind=host,source={}", dir.display()));
    let path = image.to_str().expect("UTF-8");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let (d, l) = (shared.join("d"), shared.join("l"));
                let _ = renameat_with(CWD, &d, CWD, &l, RenameFlags::EXCHANGE);
            }
        });
        for _ in 0..10 {
            let mounts = ["--mount=volume=v,target=/v", "--mount=volume=w,target=/v/d/x"];
            let run = ["--insecure-options=image", "run", "--net=none", &v, &w, path].into_iter().chain(mounts);
            let outcome = env.proa(run).outcome();
            assert!(outcome.stdout.is_empty() || outcome.stdout == "0\n", "{outcome}");
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(entries(&canary), 0, "nothing is made where the link leads to");
}

fn mnt_07_links_where_files_are_made(env: &Env) {
    let canary = env.path("canary");
    env.make_dir(&canary);
    for (link, target) in [
        ("etc/hosts", canary.join("hosts")),
        ("etc/hostname", canary.join("hostname")),
        ("etc/resolv.conf", canary.join("resolv.conf")),
        ("etc/mtab", canary.join("mtab")),
        ("run", canary.clone()),
        ("tmp", canary.clone()),
        ("work", canary.clone()),
    ] {
        let tree = busybox().symlink(link, target.to_str().expect("UTF-8"));
        let name = link.replace(['/', '.'], "-");
        let aci = Aci::new(&name, tree).sh("echo ran").app("workingDirectory", json!("/work")).build(env);
        let outcome = env.run(&aci, &[]).outcome();
        assert!(outcome.stdout == "ran\n" || !outcome.stderr.is_empty(), "{link}: {outcome}");
        assert_eq!(entries(&canary), 0, "{link}");
    }
}

fn mnt_10_what_is_on_a_volume_stays(env: &Env) {
    let source = env.path("kept");
    env.make_dir(&source);
    env.write("kept/file", "of the host\n");
    let tree = busybox().dir("data", 0o755).file("data/file", "of the image\n", 0o644);
    let points = json!([{"name": "data", "path": "/data"}]);
    let image = Aci::new("content", tree).sh("cat /data/file").app("mountPoints", points).build(env);
    let volume = format!("--volume=data,kind=host,source={}", source.display());
    let run = ["--insecure-options=image", "run", "--net=none", &volume, image.to_str().expect("UTF-8")];
    env.proa(run).outcome().succeeds().prints("of the host\n");
    assert_eq!(std::fs::read_to_string(source.join("file")).expect("readable"), "of the host\n");
}

fn mnt_14_no_way_out_by_chroot(env: &Env) {
    needs!(tool("perl"));
    env.write("marker", "the host's\n");
    let marker = env.path("marker");
    // The old walk: a new root below the working directory, and up from there.
    let script = format!(
        "mkdir 'x'; chroot 'x' or die \"chroot: $!\"; chdir '..' for 1..64; chroot '.'; \
         print -e '{0}' ? \"out\\n\" : \"in\\n\"; print -e '/perl' || -d '/usr' ? \"own root\\n\" : \"other root\\n\"; \
         print -e '/proc/1/root{0}' ? \"out\\n\" : \"in\\n\"",
        marker.display()
    );
    let tree = needs!(with_perl(busybox()).map_err(integration_tests::needs::Why::from));
    let image = Aci::new("chroot", tree).exec(["/usr/bin/perl", "-e", &script]).build(env);
    let outcome = env.run(&image, &[]).outcome();
    assert!(!outcome.stdout.contains("out"), "{outcome}");
    assert!(outcome.stdout.starts_with("in\n"), "{outcome}");
}

fn exec_03_users_are_exactly_those_named(env: &Env) {
    let tree = busybox().file("etc/passwd", "root:x:0:0::/:/bin/sh\nsomebody:x:7:8::/:/bin/sh\n", 0o644);
    let image = Aci::new("users", tree).sh("id -u").build(env);
    for wanted in ["+1", "-1", "4294967295", "4294967296", "1e3", " 1", "1 ", "1000abc", "0x1", "nosuch", "1:1"] {
        let outcome = env.run(&image, &[&format!("--user={wanted}")]).outcome();
        assert!(outcome.stdout.is_empty() && !outcome.stderr.is_empty(), "{wanted:?}: {outcome}");
    }
    if env.user() == User::WithRange {
        for (wanted, id) in [("1", "1\n"), ("01", "1\n"), ("somebody", "7\n"), ("root", "0\n")] {
            let outcome = env.run(&image, &[&format!("--user={wanted}")]).outcome();
            assert!(outcome.stdout == id || outcome.stdout.is_empty(), "{wanted:?}: {outcome}");
        }
    }
}

fn usr_01_groups_are_exactly_those_named(env: &Env) {
    let tree = busybox()
        .file("primary", "x\n", 0o604)
        .owned_by(0, 9)
        .file("further", "x\n", 0o604)
        .owned_by(0, 71)
        .file("others", "x\n", 0o604)
        .owned_by(0, 5);
    // A group without rights has less than others: to lack the group would be to gain the file.
    let script = "id -u; id -G; for f in primary further others; do cat /$f 2>/dev/null || echo refused; done";
    let image = Aci::new("groups", tree).sh(script).user("1000", "9").app("supplementaryGIDs", json!([70, 71]));
    let outcome = env.run(&image.build(env), &[]).outcome();
    if env.user() == User::NoRange {
        // One id is all there is, and the app hears that it has no others.
        outcome.stderr_shows("supplementary groups cannot be had");
    } else {
        outcome.succeeds().prints("1000\n9 70 71\nrefused\nrefused\nx\n");
    }
}

/// A group that no test user has.
const STRANGE_GROUP: u32 = 54_321;

fn usr_02_groups_of_the_caller(env: &Env) {
    needs!(place(Place::Host));
    needs!(User::Root.account());
    let shared = env.path("shared");
    env.make_dir(&shared);
    let secret = env.write("shared/secret", "for a group\n");
    chown(&secret, Some(Uid::ROOT), Some(Gid::from_raw(STRANGE_GROUP))).expect("root may");
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o640)).expect("root may");
    let image = shell(env, "caller", "cat /v/secret 2>/dev/null || echo refused");
    let volume = format!("--volume=v,kind=host,source={}", shared.display());
    let path = image.to_str().expect("UTF-8");
    let args = ["--insecure-options=image", "run", "--net=none", &volume, path, "--mount=volume=v,target=/v"];
    // The harness drops all groups; here the caller keeps one.
    let account = env.account();
    let drop = format!(
        "[ \"$1\" != setpriv ] || shift 4; exec setpriv --reuid={} --regid={} --groups={STRANGE_GROUP} \"$@\"",
        account.uid, account.gid
    );
    let outcome = env.proa(args).through_as_invoker(["sh", "-c", &drop, "sh"]).outcome().succeeds();
    match env.user() {
        // Without a range nobody can drop groups: they stay, and that is told.
        User::NoRange => {
            outcome.prints("for a group\n").stderr_shows(&format!("keep your supplementary groups: {STRANGE_GROUP}"))
        }
        _ => outcome.prints("refused\n"),
    };
}

fn exec_07_clients_that_do_not_read_cost_nothing(env: &Env) {
    let image = shell(env, "patient", "echo up; exec sleep 600");
    let run = ["--insecure-options=image", "run", "--net=none", "--detach", "--name=patient"];
    env.proa(run.into_iter().chain([image.to_str().expect("UTF-8")])).outcome().succeeds();
    let status = env.proa(["status", "--wait-ready=60s", "patient"]).outcome().succeeds();
    let init: i32 = status.stdout.lines().find_map(|line| line.strip_prefix("pid=")?.parse().ok()).expect("a pid");
    let monitor = process::read(init).expect("it runs").parent;
    // Descriptors are the user's own to see; pid 1's are nobody's.
    let descriptors = || std::fs::read_dir(format!("/proc/{monitor}/fd")).map(|dir| dir.count()).ok();
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{monitor}/status")).expect("it runs");
        let high = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
        high.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    };
    let (before, children) = (descriptors(), process::descendants(monitor).len());
    let proa = format!("{} --dir {}", integration_tests::binaries::proa().display(), env.data().display());
    // Endless output to a reader that reads nothing; clients that come and go, with a stream, a terminal, and neither.
    let script = format!(
        "{proa} enter patient /bin/busybox yes | sleep 1 & for i in 1 2 3 4 5 6 7 8; do
         {proa} enter patient /bin/true; timeout -s KILL 0.05 {proa} attach --mode stdout patient >/dev/null; done; wait"
    );
    env.command("sh", vec!["-c".into(), script.into()]).outcome();
    assert!(memory() < 64 << 10, "{} kB", memory());
    let deadline = Instant::now() + limit();
    // The one that asked for the status may still have been there.
    while descriptors() > before || process::descendants(monitor).len() > children {
        assert!(Instant::now() < deadline, "{:?} instead of {before:?} descriptors", descriptors());
        std::thread::sleep(Duration::from_millis(20));
    }
    env.proa(["stop", "--force", "patient"]).outcome().succeeds();
    env.proa(["rm", "patient"]).outcome().succeeds();
}

fn exec_08_numbers_are_no_names(env: &Env) {
    let accounts = "4294967296:x:0:0::/:/bin/sh\n2147483648:x:0:0::/:/bin/sh\n-1:x:0:0::/:/bin/sh\n";
    let tree = busybox().file("etc/passwd", accounts, 0o644);
    for wanted in ["4294967296", "2147483648", "-1"] {
        let image = Aci::new("numbers", tree.clone()).sh("id -u").user(wanted, "0").build(env);
        let outcome = env.run(&image, &[]).outcome();
        assert!(outcome.stdout.is_empty() && !outcome.stderr.is_empty(), "{wanted}: {outcome}");
    }
}

fn dev_04_no_devices_are_made(env: &Env) {
    let script = "for d in 'c 1 1' 'b 8 0' 'c 10 200' 'c 1 3'; do mknod /tmp/n $d 2>/dev/null && echo made $d; done; \
        mknod /tmp/fifo p && echo fifo";
    env.run(&shell(env, "mknod", script), &[]).outcome().succeeds().prints("fifo\n");
}

fn dev_05_shared_memory_has_an_end(env: &Env) {
    let script = "stat -c %a /dev/shm; dd if=/dev/zero of=/dev/shm/big bs=1M count=80 2>/dev/null && echo endless; \
        s=$(stat -c %s /dev/shm/big); [ $s -le 67108864 ] && echo bounded";
    env.run(&shell(env, "shm", script), &[]).outcome().succeeds().prints("1777\nbounded\n");
}

fn cg_02_no_hierarchy_of_control_groups_is_mounted(env: &Env) {
    let script = "mkdir /tmp/m; for t in cgroup cgroup2; do mount -t $t none /tmp/m 2>/dev/null && echo mounted $t; done; \
        unshare -m true 2>/dev/null && echo unshared; echo done";
    env.run(&shell(env, "groups", script), &[]).outcome().succeeds().prints("done\n");
}

fn cg_03_names_are_no_paths(env: &Env) {
    let image = shell(env, "names", "echo ran");
    for name in ["../x", "a/b", "-x", "..", "", "a\nb"] {
        let outcome = env.run(&image, &[&format!("--name={name}")]).outcome();
        assert!(outcome.stdout.is_empty() && !outcome.stderr.is_empty(), "{name:?}: {outcome}");
        let pod = format!("--name={name}");
        let run = ["--insecure-options=image", "run", "--net=none", &pod, image.to_str().expect("UTF-8")];
        let outcome = env.proa(run).outcome();
        assert!(outcome.stdout.is_empty() && !outcome.stderr.is_empty(), "{name:?}: {outcome}");
    }
}

fn cg_04_annotations_are_no_properties(env: &Env) {
    let wanted = json!([
        {"name": "org.systemd.property.limitnofile", "value": "uint64 8"},
        {"name": "run.oci.systemd.subgroup", "value": "../.."},
        {"name": "org.systemd.property.execstoppost", "value": "['/bin/touch', '/tmp/x']"}
    ]);
    let image = Aci::new("annotated", busybox()).sh("ulimit -n");
    let image = image.manifest(|manifest| manifest["annotations"] = wanted).build(env);
    let outcome = env.run(&image, &[]).outcome().succeeds();
    assert_ne!(outcome.line(), "8");
}

fn sys_01_kernel_parameters_are_one_value_each(env: &Env) {
    let image = shell(env, "parameters", "echo ran");
    let path = image.to_str().expect("UTF-8");
    for text in [
        "net.ipv4.tcp_fin_timeout=6\n7",
        "net.ipv4.tcp_fin_timeout=6+kernel.core_pattern=x",
        "net/../kernel/core_pattern=x",
        "net.ipv4./../../kernel/core_pattern=x",
        "net.ipv4.tcp fin=6",
        "net.ipv4.no_such_parameter=6",
        "=6",
        "net.ipv4.tcp_fin_timeout",
    ] {
        let option = format!("--sysctl={text}");
        let outcome = env.proa(["--insecure-options=image", "run", "--net=none", &option, path]).outcome();
        assert!(outcome.stdout.is_empty() && !outcome.stderr.is_empty(), "{text:?}: {outcome}");
    }
}

fn sys_02_kernel_parameters_of_the_host_stay(env: &Env) {
    let image = shell(env, "hosts", "echo ran");
    let path = image.to_str().expect("UTF-8");
    let run = |net: &str, key: &str| {
        let option = format!("--sysctl={key}");
        env.proa(["--insecure-options=image", "run", net, &option, path]).outcome()
    };
    for key in [
        "kernel.core_pattern=x",
        "kernel/core_pattern=x",
        "vm.overcommit_memory=1",
        "user.max_user_namespaces=9",
        "kernel.hostname=x",
        "fs.file-max=9",
    ] {
        let outcome = run("--net=none", key);
        assert!(outcome.stdout.is_empty() && !outcome.stderr.is_empty(), "{key}: {outcome}");
    }
    let outcome = run("--net=host", "net.ipv4.tcp_fin_timeout=6");
    assert!(outcome.stdout.is_empty() && !outcome.stderr.is_empty(), "{outcome}");
}

fn sec_10_every_thread_is_filtered(env: &Env) {
    let script =
        "sleep 5 & cat /proc/self/task/*/status /proc/$!/task/*/status | grep -E '^Seccomp(_filters)?:' | sort -u";
    env.run(&shell(env, "threads", script), &[]).outcome().prints("Seccomp:\t2\nSeccomp_filters:\t1\n");
}

/// A kernel, or a filter around proa, that has no openat2: paths of images are not walked in any other way.
#[test]
fn sec_11_without_openat2_nothing_runs() {
    needs!(place(Place::Host));
    for user in [User::WithRange, User::NoRange] {
        let env = needs!(Env::of(user));
        let image = shell(&env, "plain", "echo ran");
        let id = &env.store(&image);
        for errno in [syscalls::Errno::ENOSYS, syscalls::Errno::EPERM] {
            let denied = needs!(denial::of(&["openat2"], errno));
            let outcome = env.proa(["run", "--net=none", id]).through_as_invoker(denied.clone()).outcome();
            assert!(outcome.stdout.is_empty(), "{outcome}");
            outcome.exits(254).stderr_shows("openat2");
            env.assert_nothing_left();
        }
        // The control: with it the same command runs.
        env.proa(["run", "--net=none", id]).outcome().succeeds().prints("ran\n");
    }
}
