//! Volumes: shared directories and files, where they are mounted, and what is refused.

mod refused;

use integration_tests::images::{Aci, Layout, busybox};
use integration_tests::needs::{Place, place};
use integration_tests::{Env, Outcome, User, each_user, needs};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A directory of the host that every pod of this user may write to: root's pods have ids of their own.
fn shared(env: &Env, name: &str) -> PathBuf {
    let dir = env.path(name);
    env.make_dir(&dir);
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).expect("it is ours");
    dir
}

fn host(name: &str, source: &Path, more: &str) -> String {
    format!("--volume={name},kind=host,source={}{more}", source.display())
}

/// `proa run` with options of the pod before the image.
fn run(env: &Env, pod: &[&str], image: &Path, app: &[&str]) -> Outcome {
    let fixed = ["--insecure-options=image", "run", "--net=none"];
    let image = image.to_str().expect("test paths are UTF-8");
    env.proa(fixed.iter().chain(pod).chain(&[image]).chain(app)).outcome()
}

fn shell(env: &Env, script: &str) -> PathBuf {
    Aci::new("shell", busybox().dir("dir1", 0o755).file("dir1/file", "dir1", 0o644)).sh(script).build(env)
}

/// An image with a mount point `dir1` at /dir1.
fn with_mount_point(env: &Env, name: &str, script: &str, read_only: bool) -> PathBuf {
    let points = json!([{"name": "dir1", "path": "/dir1", "readOnly": read_only}]);
    let tree = busybox().dir("dir1", 0o755).file("dir1/file", "image", 0o644);
    Aci::new(name, tree).sh(script).app("mountPoints", points).build(env)
}

each_user! {
    rkt_volume_missing_source_is_an_error_and_is_not_made,
    rkt_volume_is_read_and_written_and_stays,
    rkt_volume_that_is_read_only_cannot_be_written,
    rkt_volume_says_whether_it_is_read_only_and_else_the_mount_point,
    rkt_volume_is_mounted_without_a_mount_point,
    rkt_volume_target_is_made_with_its_parents,
    rkt_volume_is_implicit_where_nobody_named_one,
    rkt_volume_is_shared_by_two_apps_at_different_places,
    rkt_volume_of_a_docker_image_begins_with_its_content,
    rkt_volume_mount_names_are_unique,
    rkt_volume_mount_brings_what_is_mounted_below,
    rkt_mount_targets_stay_inside,
    rkt_mount_overlay_of_odd_names,
    hidden_directories_are_told_and_overlaps_refused,
    a_volume_is_writable_in_a_read_only_root,
    a_single_file_is_shared,
    empty_volume_has_mode_and_owner,
    volume_that_nothing_mounts_is_told,
}

fn rkt_volume_missing_source_is_an_error_and_is_not_made(env: &Env) {
    let missing = env.path("this/directory/does/not/exist");
    let outcome = run(env, &[&host("dir1", &missing, ""), "--mount=volume=dir1,target=dir1"], &shell(env, "true"), &[]);
    outcome.refuses(&format!("failed to stat {}: No such file or directory", missing.display()));
    assert!(!env.path("this").exists());
    env.proa(["list", "--no-legend"]).outcome().succeeds().prints("");
}

fn rkt_volume_is_read_and_written_and_stays(env: &Env) {
    let dir = shared(env, "dir");
    fs::write(dir.join("file"), "host").expect("it is ours");
    fs::set_permissions(dir.join("file"), fs::Permissions::from_mode(0o666)).expect("it is ours");
    let volume = [host("dir1", &dir, "")];
    let volume: Vec<&str> = volume.iter().map(String::as_str).collect();
    run(env, &[], &shell(env, "cat /dir1/file"), &[]).succeeds().prints("dir1");
    let point = |script: &str| with_mount_point(env, "point", script, false);
    run(env, &volume, &point("cat /dir1/file"), &[]).succeeds().prints("host");
    run(env, &volume, &point("printf 2 >/dir1/file; cat /dir1/file"), &[]).succeeds().prints("2");
    assert_eq!(fs::read_to_string(dir.join("file")).expect("it is there"), "2");
    run(env, &volume, &point("cat /dir1/file"), &[]).succeeds().prints("2");
}

fn rkt_volume_that_is_read_only_cannot_be_written(env: &Env) {
    let dir = shared(env, "dir");
    let write = "echo x >/dir1/new 2>/dev/null || { touch /dir1/new; exit 1; }";
    for (volume, read_only) in [("", true), (",readOnly=true", false), (",readOnly=true", true)] {
        let image = with_mount_point(env, "ro", write, read_only);
        let outcome = run(env, &[&host("dir1", &dir, volume)], &image, &[]).exits(1);
        assert!(outcome.stderr.contains("Read-only file system"), "{outcome}");
    }
    // It stays so for a process with every capability that an app can have.
    let image = with_mount_point(env, "remount", "mount -o remount,rw /dir1; umount /dir1; touch /dir1/new", true);
    let outcome = run(env, &[&host("dir1", &dir, "")], &image, &[]);
    assert!(!outcome.status.success(), "{outcome}");
    assert_eq!(fs::read_dir(&dir).expect("it is ours").count(), 0);
}

fn rkt_volume_says_whether_it_is_read_only_and_else_the_mount_point(env: &Env) {
    let dir = shared(env, "dir");
    let image = with_mount_point(env, "override", "echo x >/dir1/new", true);
    run(env, &[&host("dir1", &dir, ",readOnly=false")], &image, &[]).succeeds();
    assert!(dir.join("new").exists());
}

fn rkt_volume_is_mounted_without_a_mount_point(env: &Env) {
    let dir = shared(env, "dir");
    let image = shell(env, "echo one >/dir1/new; cat /dir1/new");
    let volume = host("dir1", &dir, "");
    // After the image, and before it for every app; the target without its slash, as rkt has it.
    run(env, &[&volume], &image, &["--mount=volume=dir1,target=dir1"]).succeeds().prints("one\n");
    run(env, &[&volume, "--mount", "volume=dir1,target=/dir1"], &image, &[]).succeeds().prints("one\n");
    let read_only = host("dir1", &dir, ",readOnly=true");
    run(env, &[&read_only, "--mount=volume=dir1,target=dir1"], &shell(env, "touch /dir1/other"), &[]).exits(1);
}

fn rkt_volume_target_is_made_with_its_parents(env: &Env) {
    let dir = shared(env, "dir");
    let image = shell(env, "stat -c '%a %u:%g' /a /a/b; touch /a/b/c/file; ls /a/b/c");
    let outcome = run(env, &[&host("v", &dir, ""), "--mount=volume=v,target=/a/b/c"], &image, &[]).succeeds();
    outcome.quietly().prints("755 0:0\n755 0:0\nfile\n");
    assert!(dir.join("file").exists());
}

fn rkt_volume_is_implicit_where_nobody_named_one(env: &Env) {
    let image = with_mount_point(env, "implicit", "ls /dir1; echo 1 >/dir1/file; cat /dir1/file", false);
    let outcome = run(env, &[], &image, &[]).succeeds().prints("1\n");
    assert!(outcome.stderr.contains("implicit-dir1 (/dir1)"), "a warning: {outcome}");
}

fn rkt_volume_is_shared_by_two_apps_at_different_places(env: &Env) {
    let wait = "while ! [ -e /two/done ]; do sleep 0.02; done; cat /two/file";
    let one = Aci::new("one", busybox()).sh("echo shared >/one/file; touch /one/done").build(env);
    let two = Aci::new("two", busybox()).sh(wait).build(env);
    let two = two.to_str().expect("test paths are UTF-8");
    let dir = shared(env, "dir");
    for volume in ["--volume=v,kind=empty,mode=1777".to_owned(), host("v", &dir, "")] {
        let app = ["--mount=volume=v,target=/one", "---", two, "--mount=volume=v,target=/two"];
        run(env, &[&volume], &one, &app).succeeds().prints("shared\n");
    }
}

fn rkt_volume_of_a_docker_image_begins_with_its_content(env: &Env) {
    let tree = busybox()
        .dir("dir1", 0o755)
        .file("dir1/file", "dir1", 0o644)
        .dir("dir2", 0o1750)
        .owned_by(1000, 1000)
        .file("dir2/file", "dir2", 0o600)
        .symlink("dir2/to", "file")
        .symlink("dir1/link_rel_dir2", "../dir2")
        .symlink("dir1/link_abs_dir2", "/dir2");
    for (dir, content) in
        [("/dir1", "dir1"), ("/dir2", "dir2"), ("/dir1/link_rel_dir2", "dir2"), ("/dir1/link_abs_dir2", "dir2")]
    {
        let script = format!("cat {dir}/file; cd {dir} && mkdir deeper && echo new >deeper/file && rm file && ls");
        // By an OCI config, and by what docker2aci leaves in an ACI's manifest.
        let layout = Layout::new("docker").layer(tree.clone()).config("Volumes", json!({dir: {}})).sh(&script);
        let layout = PathBuf::from(format!("oci:{}", layout.build(env).display()));
        let annotations = json!([{"name": "appc.io/docker/repository", "value": "library/x"}]);
        let converted = Aci::new("converted", tree.clone())
            .sh(&script)
            .app("mountPoints", json!([{"name": "v", "path": dir}]))
            .manifest(|manifest| manifest["annotations"] = annotations)
            .build(env);
        for image in [layout, converted] {
            let outcome = run(env, &[], &image, &[]).succeeds().quietly();
            assert!(outcome.stdout.starts_with(content), "{dir}: {outcome}");
            // The next pod begins with the image's content again, and a read-only root leaves the volume writable.
            let again = run(env, &[], &image, &[]).succeeds();
            assert_eq!(again.stdout, outcome.stdout);
        }
    }
    let layout = Layout::new("modes").layer(tree).config("Volumes", json!({"/dir2": {}, "/new": {}}));
    let script =
        "stat -c %a /dir2 /dir2/file /new; readlink /dir2/to; grep -c ' /dir2 .*nosuid,nodev' /proc/self/mountinfo";
    let layout = PathBuf::from(format!("oci:{}", layout.sh(script).build(env).display()));
    run(env, &[], &layout, &[]).succeeds().prints("1750\n600\n755\nfile\n1\n");
}

fn rkt_volume_mount_names_are_unique(env: &Env) {
    let dir = shared(env, "dir");
    let volume = host("mnt", &dir, "");
    run(env, &[&volume, &volume], &shell(env, "true"), &[]).refuses("duplicate volume name \"mnt\"");
    // Saying the same twice is no error.
    let twice = ["--mount=volume=mnt,target=/mnt", "--mount=volume=mnt,target=/mnt/"];
    run(env, &[&volume, twice[0], twice[1]], &shell(env, "touch /mnt/x"), &[]).succeeds();
    run(env, &["--mount=volume=none,target=/mnt"], &shell(env, "true"), &[]).refuses("there is no volume none");
}

/// In a mount namespace of the test's own, because only root can mount.
fn rkt_volume_mount_brings_what_is_mounted_below(env: &Env) {
    // The mount is made by the machine's root.
    needs!(place(Place::Host));
    let dir = shared(env, "dir");
    fs::create_dir(dir.join("sub")).expect("it is ours");
    fs::write(dir.join("sub/file"), "outer").expect("it is ours");
    let script = format!(
        "mount -t tmpfs -o mode=777 none {0} && echo inner >{0}/file && chmod 666 {0}/file && exec \"$@\"",
        dir.join("sub").display()
    );
    let mounted = |more: &str, script: &str| {
        let (image, volume) = (shell(env, script), host("mnt", &dir, more));
        let image = image.to_str().expect("test paths are UTF-8").to_owned();
        let args = ["--insecure-options=image", "run", &volume, "--mount=volume=mnt,target=/mnt", &image];
        env.proa(args)
    };
    let below = |more: &str, app: &str| {
        let wrapper = ["unshare", "-m", "sh", "-c", &script, "sh"];
        mounted(more, app).through_as_invoker(wrapper).outcome()
    };
    below("", "cat /mnt/sub/file").succeeds().prints("inner\n");
    below(",recursive=true", "cat /mnt/sub/file; echo x >/mnt/sub/file").succeeds();
    let outcome = below(",readOnly=true", "touch /mnt/new; echo x >/mnt/sub/file").exits(1);
    assert_eq!(outcome.stderr.matches("Read-only file system").count(), 2, "read-only all the way down: {outcome}");
    // What is mounted below came from the host's mount namespace and is locked: open_tree(2) says EINVAL.
    below(",recursive=false", "cat /mnt/sub/file").refuses("other file systems are mounted below it");
    mounted(",recursive=false", "cat /mnt/sub/file").outcome().succeeds().prints("outer");
}

fn rkt_mount_targets_stay_inside(env: &Env) {
    let tree = busybox()
        .dir("dir1", 0o755)
        .dir("dir2", 0o755)
        .symlink("dir1/link_abs_dir2", "/dir2")
        .symlink("dir1/link_rel_dir2", "../dir2")
        .symlink("dir1/link_abs_dotdot_dir2", "/../dir1/../dir2")
        .symlink("dir1/link_abs_notexists", "/notexists")
        .symlink("dir1/link_abs_root", "/");
    let image = Aci::new("links", tree).sh("cat $1").build(env);
    let source = env.write("hello", "world");
    for (target, actual) in [
        ("/dir1/link_abs_dir2/foo", "/dir2/foo"),
        ("/dir1/link_rel_dir2/bar", "/dir2/bar"),
        ("/dir1/../dir1/.//link_rel_dir2/foo", "/dir2/foo"),
        ("/dir1/../../../foo", "/foo"),
        ("/dir1/link_abs_dotdot_dir2/foo", "/dir2/foo"),
        ("/dir1/../../../newdir/foo", "/newdir/foo"),
        ("/dir1/link_rel_dir2/newdir/foo", "/dir2/newdir/foo"),
        ("/dir1/link_abs_dir2/newdir/foo", "/dir2/newdir/foo"),
        ("/dir1/link_abs_notexists/newdir1/newdir2/foo", "/notexists/newdir1/newdir2/foo"),
        ("/dir1/link_abs_root/newdir1/newdir2/foo", "/newdir1/newdir2/foo"),
        ("../../../../../../../../../../../../../../../foo", "/foo"),
    ] {
        let mount = format!("--mount=volume=test,target={target}");
        let outcome = run(env, &[&host("test", &source, ""), &mount], &image, &["--", "sh", actual]);
        outcome.succeeds().prints("world");
    }
}

fn rkt_mount_overlay_of_odd_names(env: &Env) {
    // Colons, commas and backslashes separate options of overlay; blanks end fields of mountinfo.
    let data = env.path("da:ta,x=y\\z w");
    env.make_dir(&data);
    let image = shell(env, "echo x >/new; cat /new");
    let dir = shared(env, "sha:red x\\y");
    let (data, image) = (data.to_str().expect("UTF-8"), image.to_str().expect("UTF-8"));
    let volume = host("v", &dir, "");
    let run = |mount: &str| {
        let args = ["--insecure-options=image", "--dir", data, "run", &volume, image, mount];
        env.command(integration_tests::binaries::proa(), args.iter().map(Into::into).collect()).outcome()
    };
    // A comma cannot be written in a volume's target: the mini-language ends the value there.
    run("--mount=volume=v,target=/v:,x").refuses("\"x\"");
    run("--mount=volume=v,target=/v: \\x").succeeds().prints("x\n");
}

fn hidden_directories_are_told_and_overlaps_refused(env: &Env) {
    let dir = shared(env, "dir");
    let volume = host("v", &dir, "");
    let other = "--volume=w,kind=empty";
    let outcome = run(env, &[&volume, "--mount=volume=v,target=/dir1"], &shell(env, "ls /dir1"), &[]).succeeds();
    assert!(outcome.stderr.contains("volume \"v\" hides what the image has at \"/dir1\""), "{outcome}");
    // A file makes way for a directory.
    let outcome = run(env, &[&volume, "--mount=volume=v,target=/dir1/file"], &shell(env, "ls /dir1/file"), &[]);
    assert!(outcome.succeeds().stderr.contains("hides what the image has"));
    for (one, two) in [("/a", "/a"), ("/a", "/a/b"), ("/a/b/", "/a")] {
        let mounts = [format!("--mount=volume=v,target={one}"), format!("--mount=volume=w,target={two}")];
        run(env, &[&volume, other, &mounts[0], &mounts[1]], &shell(env, "true"), &[]).refuses("overlap");
    }
    // Nor do links make two places of one.
    let image = Aci::new("alias", busybox().dir("real", 0o755).symlink("alias", "real")).build(env);
    let mounts = ["--mount=volume=v,target=/real", "--mount=volume=w,target=/alias/x"];
    run(env, &[&volume, other, mounts[0], mounts[1]], &image, &[]).rejects("not on the image's own file system");
}

fn a_volume_is_writable_in_a_read_only_root(env: &Env) {
    let dir = shared(env, "dir");
    let script = "touch /new 2>/dev/null && exit 1; touch /mnt/new /dir2/new && ls /dir2";
    let layout = Layout::new("ro").layer(busybox().dir("dir2", 0o777)).config("Volumes", json!({"/dir2": {}}));
    let layout = PathBuf::from(format!("oci:{}", layout.sh(script).build(env).display()));
    let app = ["--readonly-rootfs", "--mount=volume=v,target=/mnt"];
    run(env, &[&host("v", &dir, "")], &layout, &app).succeeds().prints("new\n");
    run(env, &[], &shell(env, "touch /new"), &["--readonly-rootfs=true"]).exits(1);
    run(env, &[], &shell(env, "touch /new"), &["--readonly-rootfs=false"]).succeeds();
}

fn a_single_file_is_shared(env: &Env) {
    let file = env.write("client.yml", "from the host\n");
    let volume = host("conf", &file, "");
    let image = Aci::new("file", busybox().dir("build", 0o755).file("build/old.yml", "old", 0o644)).build(env);
    let cat = |target: &str| {
        let mount = format!("--mount=volume=conf,target={target}");
        run(env, &[&volume, &mount], &image, &["--exec=cat", "--", target])
    };
    cat("/build/conf.yml").succeeds().quietly().prints("from the host\n");
    cat("/build/old.yml").succeeds().quietly().prints("from the host\n");
    cat("/etc/deep/er/conf.yml").succeeds().prints("from the host\n");
    cat("/build").rejects("the image has a directory there");
    let read_only = host("conf", &file, ",readOnly=true");
    let app = ["--mount=volume=conf,target=/c", "--exec=/bin/sh", "--", "-c", "echo x >/c"];
    run(env, &[&read_only], &image, &app).exits(1);
    assert_eq!(fs::read_to_string(&file).expect("it is there"), "from the host\n");
}

fn empty_volume_has_mode_and_owner(env: &Env) {
    let image = shell(env, "stat -c '%a %u:%g' /v");
    let stat = |volume: &str| run(env, &[volume, "--mount=volume=v,target=/v"], &image, &[]);
    stat("--volume=v,kind=empty").succeeds().prints("755 0:0\n");
    stat("--volume=v,kind=empty,mode=1777").succeeds().prints("1777 0:0\n");
    stat("--volume=v,kind=empty,mode=999").refuses("\"999\"");
    let owned = stat("--volume=v,kind=empty,mode=2750,uid=1000,gid=2000");
    match env.user() {
        // There is one id.
        User::NoRange => owned.refuses("its owner 1000:2000 is not one of the pod's ids"),
        _ => owned.succeeds().prints("2750 1000:2000\n"),
    };
    stat("--volume=v,kind=empty,uid=70000").refuses("its owner 70000:0 is not one of the pod's ids");
    stat("--volume=v,kind=empty,uid=-1").rejects("-1:0");
}

fn volume_that_nothing_mounts_is_told(env: &Env) {
    let outcome = run(env, &["--volume=v,kind=empty"], &shell(env, "true"), &[]).succeeds();
    assert!(outcome.stderr.contains("no app mounts the volume v"), "{outcome}");
}
