//! Volumes and devices that lead out of their pod, or over what every app has.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use integration_tests::images::{Aci, Tree, busybox};
use integration_tests::{Env, each_user};

use crate::{host, run, shared, shell};

each_user! {
    volume_over_what_every_app_has_is_refused,
    volume_of_proas_own_data_is_refused,
    volume_of_the_hosts_processes_is_refused,
    volume_has_neither_set_id_programs_nor_devices,
    mnt_04_no_place_outside_the_root_is_made,
    mnt_13_the_hosts_mounts_stay_as_they_were,
    symbolic_links_in_sources_are_refused_unless_followed,
    a_device_that_the_user_can_open_works,
    rkt_devices_a_volume_from_a_device_node_is_usable,
}

fn volume_over_what_every_app_has_is_refused(env: &Env) {
    let dir = shared(env, "dir");
    let volume = host("v", &dir, "");
    let tree = busybox().symlink("to-proc", "proc").symlink("to-root", "/").symlink("to-sys", "../../sys/kernel");
    let image = Aci::new("reserved", tree).build(env);
    for target in [
        "/",
        "/.",
        "/proc",
        "/proc/self",
        "/proc/sys",
        "/sys",
        "/dev",
        "/dev/pts",
        "/dev/x",
        "/tmp/..",
        "/to-proc",
        "/to-root",
        "/to-sys",
        "/tmp/../proc",
        "/../dev/shm",
    ] {
        let mount = format!("--mount=volume=v,target={target}");
        run(env, &[&volume, &mount], &image, &[]).refuses("app \"reserved\": ");
    }
    assert_eq!(fs::read_dir(&dir).expect("it is ours").count(), 0);
}

fn volume_of_proas_own_data_is_refused(env: &Env) {
    let image = shell(env, "ls /mnt");
    run(env, &[], &image, &["--exec=true"]).succeeds();
    for source in [env.data(), env.data().join("store"), env.data().join("pods/run")] {
        let volume = host("v", &source, ",readOnly=true");
        run(env, &[&volume, "--mount=volume=v,target=/mnt"], &image, &[]).refuses("is in the data directory of proa");
    }
    let volume = host("v", env.root(), "");
    let outcome = run(env, &[&volume, "--mount=volume=v,target=/mnt"], &image, &[]).succeeds();
    assert!(outcome.stderr.contains("can change images and pods"), "{outcome}");
}

fn volume_of_the_hosts_processes_is_refused(env: &Env) {
    let image = shell(env, "ls /mnt");
    for source in ["/proc", "/proc/1", "/proc/sys", "/"] {
        let volume = host("v", Path::new(source), ",readOnly=true");
        run(env, &[&volume, "--mount=volume=v,target=/mnt"], &image, &[]).refuses("is a proc file system of the host");
    }
    let volume = host("v", Path::new("/sys/class"), "");
    run(env, &[&volume, "--mount=volume=v,target=/mnt"], &image, &[]).refuses("/sys/class is a sysfs");
}

fn volume_has_neither_set_id_programs_nor_devices(env: &Env) {
    let dir = shared(env, "dir");
    let image =
        shell(env, "grep ' /mnt ' /proc/self/mountinfo | cut -d' ' -f6; cp /bin/busybox /mnt/x; chmod 4755 /mnt/x");
    let outcome = run(env, &[&host("v", &dir, ""), "--mount=volume=v,target=/mnt"], &image, &[]).succeeds();
    let options: Vec<&str> = outcome.line().split(',').collect();
    assert!(options.contains(&"nosuid") && options.contains(&"nodev"), "{outcome}");
    let copied = fs::metadata(dir.join("x")).expect("it is there");
    // On the host it is a set-id program of the user's own, which gives him nothing (USR-09).
    assert!(copied.uid() != 0 && copied.mode() & 0o4000 != 0, "owner {}", copied.uid());
}

fn mnt_04_no_place_outside_the_root_is_made(env: &Env) {
    let canary = shared(env, "canary");
    let out = format!("../../../../../../../../../..{}", canary.display());
    let tree = Tree::new().then(busybox()).symlink("out", &out).symlink("abs", &canary.display().to_string());
    let image = Aci::new("out", tree).build(env);
    let dir = shared(env, "dir");
    for target in ["/out", "/out/new", "/abs/new", "/abs/../new"] {
        let mount = format!("--mount=volume=v,target={target}");
        run(env, &[&host("v", &dir, ""), &mount], &image, &[]).succeeds();
    }
    assert_eq!(fs::read_dir(&canary).expect("it is ours").count(), 0);
    assert_eq!(fs::read_dir(&dir).expect("it is ours").count(), 0);
}

fn mnt_13_the_hosts_mounts_stay_as_they_were(env: &Env) {
    let mounts = || fs::read_to_string("/proc/self/mountinfo").expect("it is there");
    let before = mounts();
    let dir = shared(env, "dir");
    for _ in 0..5 {
        run(env, &[&host("v", &dir, ""), "--mount=volume=v,target=/mnt"], &shell(env, "true"), &[]).succeeds();
    }
    assert_eq!(mounts(), before);
}

fn symbolic_links_in_sources_are_refused_unless_followed(env: &Env) {
    let dir = shared(env, "real");
    fs::create_dir(dir.join("deep")).expect("it is ours");
    fs::write(dir.join("deep/file"), "x").expect("it is ours");
    symlink(&dir, env.path("link")).expect("it is ours");
    let image = shell(env, "ls /mnt");
    for source in [env.path("link"), env.path("link/deep")] {
        let volume = host("v", &source, "");
        let pod = [volume.as_str(), "--mount=volume=v,target=/mnt"];
        let refused = run(env, &pod, &image, &[]).refuses("is a symbolic link");
        assert!(refused.stderr.contains(&env.path("link").display().to_string()), "{refused}");
        run(env, &[pod[0], pod[1], "--follow-symlinks"], &image, &[]).succeeds();
    }
}

fn a_device_that_the_user_can_open_works(env: &Env) {
    let script = "echo lost >/dev/x && wc -c </dev/x; head -c 3 /dev/deep/er | wc -c; stat -c %F /dev/x";
    let image = shell(env, script);
    let app = ["--device=/dev/null:/dev/x", "--device", "/dev/zero:/dev/deep/er:rwm"];
    run(env, &[], &image, &app).succeeds().quietly().prints("0\n3\ncharacter special file\n");
    let everywhere = ["--device=/dev/null:/dev/x", "--device", "/dev/zero:/dev/deep/er"];
    run(env, &everywhere, &image, &[]).succeeds().prints("0\n3\ncharacter special file\n");
    // A node that apps have anyway, and one outside of /dev.
    run(env, &["--device=/dev/null"], &shell(env, "echo x >/dev/null"), &[]).succeeds();
    run(env, &["--device=/dev/null:/data/x"], &shell(env, "echo x >/data/x"), &[]).succeeds();
    // The rights are the user's, whom the node does not let open it; and nothing is made where there is none.
    let unopenable = env.path("unopenable");
    let made = std::process::Command::new("mknod").args(["-m", "600"]).arg(&unopenable).args(["c", "1", "5"]).status();
    if rustix::process::geteuid().is_root() && made.is_ok_and(|it| it.success()) {
        let device = format!("--device={}:/dev/x", unopenable.display());
        run(env, &[&device], &image, &[]).refuses("you may not open the device");
    }
    run(env, &["--device=/dev/no-such-device"], &image, &[]).refuses("failed to stat /dev/no-such-device");
    run(env, &["--device=/dev/null:/dev/x:r"], &image, &[]).refuses("cannot be narrowed");
    run(env, &["--device=/dev/null:/proc/x"], &image, &[]).refuses("/proc/x");
}

fn rkt_devices_a_volume_from_a_device_node_is_usable(env: &Env) {
    let pod = ["--volume=zero,kind=host,source=/dev/zero", "--mount=volume=zero,target=/node"];
    run(env, &pod, &shell(env, "head -c 3 /node | wc -c"), &[]).succeeds().prints("3\n");
}
