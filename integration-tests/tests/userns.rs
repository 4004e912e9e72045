//! `--userns`: who of the host an app's users are, and whose the files are that they make.

use integration_tests::images::{Aci, Layout, busybox};
use integration_tests::{Env, Outcome, User, each_user};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A directory of the user's that every pod of his may write to.
fn shared(env: &Env) -> PathBuf {
    let dir = env.path("shared");
    env.make_dir(&dir);
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).expect("it is ours");
    dir
}

/// An OCI image with this user in its config, which runs this script.
fn image(env: &Env, user: &str, script: &str) -> String {
    let tree = busybox().dir("srv", 0o755).dir("srv/own", 0o700).owned_by(1000, 1000);
    let name = format!("user-{}", user.replace(':', "-"));
    let layout = Layout::new(&name).layer(tree).config("User", json!(user)).sh(script);
    format!("oci:{}", layout.build(env).display())
}

fn run(env: &Env, pod: &[&str], image: &str, app: &[&str]) -> Outcome {
    env.proa(["--insecure-options=image", "run"].iter().chain(pod).chain(&[image]).chain(app)).outcome()
}

fn owner(path: &Path) -> (u32, u32) {
    let data = fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    (data.uid(), data.gid())
}

each_user! {
    files_of_root_belong_to_the_caller,
    keep_id_gives_the_caller_the_files_of_any_user,
    keep_id_makes_account_and_home,
    keep_id_leaves_the_image_to_its_owners,
    keep_id_holds_for_every_app_of_a_pod,
    keep_id_is_remembered_by_prepared_pods_and_sandboxes,
    keep_id_of_users_that_cannot_be_is_refused,
    single_maps_one_id,
    keep_id_holds_for_who_enters,
    user_outside_of_the_map_is_refused_with_the_ids_there_are,
}

fn keep_id_holds_for_who_enters(env: &Env) {
    if env.user() == User::Root {
        return; // See above.
    }
    let dir = shared(env);
    let volume = format!("--volume=v,kind=host,source={}", dir.display());
    let pod = ["--userns=keep-id", "--detach", "--name=box", &volume, "--mount=volume=v,target=/v"];
    run(env, &pod, &image(env, "1000", "sleep 1000"), &[]).succeeds();
    env.proa(["enter", "box", "sh", "-c", "touch /v/entered; id -u"]).outcome().succeeds().prints("1000\n");
    assert_eq!(owner(&dir.join("entered")).0, env.account().uid);
    env.proa(["stop", "--force", "box"]).outcome().succeeds();
    env.proa(["rm", "box"]).outcome().succeeds();
}

fn files_of_root_belong_to_the_caller(env: &Env) {
    if env.user() == User::Root {
        return; // No pod has root's id.
    }
    let dir = shared(env);
    let volume = format!("--volume=v,kind=host,source={}", dir.display());
    let mount = "--mount=volume=v,target=/v";
    run(env, &[&volume, mount], &image(env, "root", "touch /v/root; mkdir /v/deep"), &[]).succeeds();
    let me = (env.account().uid, env.account().gid);
    assert_eq!((owner(&dir.join("root")), owner(&dir.join("deep"))), (me, me));
    run(env, &["--userns=keep-id", &volume, mount], &image(env, "root", "touch /v/kept; id -u"), &[]).prints("0\n");
    assert_eq!(owner(&dir.join("kept")), me);
}

fn keep_id_gives_the_caller_the_files_of_any_user(env: &Env) {
    let dir = shared(env);
    let volume = format!("--volume=v,kind=host,source={}", dir.display());
    let pod = ["--userns=keep-id", &volume, "--mount=volume=v,target=/v"];
    let me = (env.account().uid, env.account().gid);
    for (user, ids) in [("1000", "1000 1000"), ("user:0", "1000 0"), ("33:44", "33 44"), ("0", "0 0"), ("5:0", "5 0")] {
        let script = "touch /v/$(id -u)-$(id -g); echo $(id -u) $(id -g); [ -O /v/$(id -u)-$(id -g) ]";
        let outcome = run(env, &pod, &image(env, user, script), &[]);
        if env.user() == User::Root {
            outcome.refuses("you are root, and no pod has root's id");
            continue;
        }
        outcome.succeeds().prints(&format!("{ids}\n"));
        assert_eq!(owner(&dir.join(ids.replace(' ', "-"))), me, "{user}");
    }
    // Without it they belong to a subordinate id.
    if env.user() == User::WithRange {
        let pod = [volume.as_str(), "--mount=volume=v,target=/v"];
        run(env, &pod, &image(env, "1000:1000", "touch /v/sub"), &[]).succeeds();
        assert_ne!(owner(&dir.join("sub")), me);
    }
}

fn keep_id_makes_account_and_home(env: &Env) {
    if env.user() == User::Root {
        return; // See the test above.
    }
    let script = "id -un; id -gn; echo $HOME $USER; cd && touch here && stat -c '%a %U' . && grep -c . /etc/passwd";
    let name = &env.account().name;
    let expected = format!("{name}\n{name}\n/home/{name} {name}\n700 {name}\n3\n");
    run(env, &["--userns=keep-id"], &image(env, "4711:4711", script), &[]).succeeds().prints(&expected);
    run(env, &["--userns=keep-id"], &image(env, "4711:4711", script), &["--readonly-rootfs"]).exits(1);
    // An account of the image's stays as it is.
    let script = "id -un; echo $HOME; grep -c . /etc/passwd";
    run(env, &["--userns=keep-id"], &image(env, "user", script), &[]).succeeds().prints("user\n/home\n2\n");
    // An image with neither file, and one whose files are links.
    let tree = busybox().symlink("etc/passwd", "/nowhere").symlink("etc/group", "../../../../no/group");
    let aci = Aci::new("links", tree).sh("id -un; ls -l /etc/passwd | cut -c1").user("4711", "4711").build(env);
    let outcome = run(env, &["--userns=keep-id"], aci.to_str().expect("UTF-8"), &[]);
    outcome.succeeds().prints(&format!("{name}\n-\n"));
}

fn keep_id_leaves_the_image_to_its_owners(env: &Env) {
    if env.user() != User::WithRange {
        return; // With a single id every file has one owner.
    }
    let script = "stat -c '%n %u:%g' / /etc /bin/busybox /srv/own /dev /proc/self/ /dev/null | tr '\\n' ' '; \
                  touch /etc/x 2>/dev/null && exit 3; touch /srv/own/x && stat -c %u /srv/own/x; ls -ld /v/sub | cut -c1-10";
    let pod = ["--userns=keep-id", "--volume=v,kind=empty", "--mount=volume=v,target=/v/sub"];
    let outcome = run(env, &pod, &image(env, "1000:1000", script), &[]).succeeds();
    let expected =
        "/ 0:0 /etc 0:0 /bin/busybox 0:0 /srv/own 1000:1000 /dev 0:0 /proc/self/ 1000:1000 /dev/null 65534:65534 1000";
    assert!(outcome.stdout.starts_with(expected), "{outcome}");
    let owners = run(env, &pod, &image(env, "1000:1000", "stat -c %u:%g /v /v/sub"), &[]).succeeds();
    owners.prints("0:0\n0:0\n");
    // Root of the app is still there, and is nobody in particular on the host.
    let dir = shared(env);
    let volume = format!("--volume=v,kind=host,source={}", dir.display());
    let pod = ["--userns=keep-id", &volume, "--mount=volume=v,target=/v"];
    run(env, &pod, &image(env, "1000:1000", "cat /proc/self/uid_map | tr -s ' '"), &[]).succeeds().shows(" 1000 0 1\n");
    assert_eq!(fs::read_dir(&dir).expect("it is ours").count(), 0);
}

fn keep_id_holds_for_every_app_of_a_pod(env: &Env) {
    if env.user() == User::Root {
        return; // See above.
    }
    let dir = shared(env);
    let volume = format!("--volume=v,kind=host,source={}", dir.display());
    let pod = ["--userns=keep-id", &volume, "--mount=volume=v,target=/v"];
    let (one, two) = (image(env, "1000", "touch /v/one"), image(env, "33", "touch /v/two"));
    run(env, &pod, &one, &["--name=one", "---", &two, "--name=two"]).succeeds();
    let me = env.account().uid;
    assert_eq!((owner(&dir.join("one")).0, owner(&dir.join("two")).0), (me, me));
}

fn keep_id_is_remembered_by_prepared_pods_and_sandboxes(env: &Env) {
    if env.user() == User::Root {
        return; // See above.
    }
    let dir = shared(env);
    let volume = format!("--volume=v,kind=host,source={}", dir.display());
    let image = image(env, "1000", "touch /v/$(cat /etc/hostname 2>/dev/null || hostname); id -u");
    let mount = "--mount=volume=v,target=/v";
    let words = ["prepare", "--userns=keep-id", "--name=later", &volume, mount, &image];
    let uuid = env.proa(words).outcome().succeeds().line().to_owned();
    env.proa(["run-prepared", &uuid]).outcome().succeeds().prints("1000\n");
    assert_eq!(owner(&dir.join("later")).0, env.account().uid);
    let words = ["app", "sandbox", "--detach", "--userns=keep-id", "--name=box", &volume];
    env.proa(words).outcome().succeeds();
    env.proa(["app", "add", "box", &image, mount, "--name=added"]).outcome().succeeds();
    env.proa(["app", "start", "box", "--app=added"]).outcome().succeeds();
    let deadline = std::time::Instant::now() + integration_tests::limit();
    while !dir.join("box").exists() {
        assert!(std::time::Instant::now() < deadline, "the app was not started");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(owner(&dir.join("box")).0, env.account().uid);
    env.proa(["stop", "box"]).outcome().succeeds();
    env.proa(["rm", "box", &uuid]).outcome().succeeds();
}

fn keep_id_of_users_that_cannot_be_is_refused(env: &Env) {
    if env.user() == User::Root {
        return; // See above.
    }
    let keep = |app: &str| run(env, &["--userns=keep-id"], &image(env, "0", "id"), &[app]);
    keep("--user=nosuch").refuses("no user \"nosuch\"");
    keep("--user=/etc/passwd").refuses("the owner of \"/etc/passwd\" is not known");
    if env.user() == User::WithRange {
        keep("--user=99999").refuses("the pod has no ids 99999");
    }
    run(env, &["--userns=host"], "hello", &[]);
}

fn single_maps_one_id(env: &Env) {
    let script = "cat /proc/self/uid_map | tr -s ' '; id -u";
    let outcome = run(env, &["--userns=single"], &image(env, "1000", script), &[]);
    if env.user() == User::Root {
        outcome.refuses("you are root, and no pod has root's id");
        return;
    }
    outcome.succeeds().prints(" 1000 0 1\n1000\n");
}

fn user_outside_of_the_map_is_refused_with_the_ids_there_are(env: &Env) {
    let image = image(env, "0", "id -u");
    let outcome = run(env, &[], &image, &["--user=99999"]);
    if env.user() == User::NoRange {
        outcome.succeeds().prints("99999\n");
        return;
    }
    let last = if env.user() == User::Root { 65_535 } else { 65_536 };
    outcome.refuses(&format!("user 99999 is not one of the pod's ids, which are 0 to {last}"));
    run(env, &[], &image, &["--group=99999"]).refuses("group 99999 is not one of the pod's ids");
}
