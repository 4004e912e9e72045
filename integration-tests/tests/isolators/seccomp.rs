//! System calls that isolators and profiles take away.

use integration_tests::needs::{Place, place};
use integration_tests::{Env, each_user, needs};
use serde_json::{Value, json};

use crate::{image, isolator, shell, shown};

each_user! {
    seccomp_remove_with_an_errno,
    seccomp_remove_without_an_errno_kills,
    seccomp_of_an_image_cannot_widen,
    seccomp_profile_decides_alone,
    seccomp_profile_of_podman_runs_a_shell,
    seccomp_profile_that_makes_no_sense_is_refused,
}

/// A profile that allows everything but two calls, one of them refused only for an argument.
const PROFILE: &str = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
    {"names": ["clock_settime", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
    {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]}]}"#;

fn seccomp_profile_decides_alone(env: &Env) {
    let file = env.write("profile.json", PROFILE);
    let option = format!("--seccomp-profile={}", file.display());
    let script = "date -s @0 2>&1 >/dev/null; linux32 true 2>&1; linux64 true && unshare -U true 2>&1";
    let retain = isolator("os/linux/seccomp-retain-set", json!({"set": ["read"]}));
    let image = shell(env, "profile", script, &[retain]);
    let uuid_file = env.path("uuid");
    let save = format!("--uuid-file-save={}", uuid_file.display());
    let run = ["--insecure-options=image", "run", "--keep", "--net=none", &save, shown(&image), &option];
    // User namespaces cannot be made in pods at all: the kernel says ENOSPC where the default filter says EPERM.
    env.proa(run)
        .outcome()
        .shows("Operation not supported")
        .shows("Operation not permitted")
        .shows("No space left on device")
        .stderr_shows("proa.local/seccomp-profile: modified: no system call here is named no_such_call")
        .stderr_shows("os/linux/seccomp-retain-set: ignored: a profile of system calls takes its place");
    let uuid = std::fs::read_to_string(&uuid_file).expect("a UUID");
    env.proa(["status", uuid.trim()]).outcome().succeeds().shows("proa.local/seccomp-profile");
    env.proa(["rm", uuid.trim()]).outcome().succeeds();
    // docker's way to say it.
    let id = env.store(&image);
    let opt = format!("seccomp={}", file.display());
    let docker = env.proa(["docker", "run", "--rm", "--security-opt", &opt, &id]).outcome();
    docker.shows("Operation not supported");
}

fn seccomp_remove_with_an_errno(env: &Env) {
    for (errno, text) in [("ENOTSUP", "Operation not supported"), ("EACCESS", "Permission denied")] {
        let remove = isolator("os/linux/seccomp-remove-set", json!({"set": ["clock_settime"], "errno": errno}));
        let image = shell(env, &errno.to_lowercase(), "date -s @0 2>&1 >/dev/null; echo done", &[remove]);
        let outcome = env.run(&image, &[]).outcome().succeeds().shows(text).shows("done");
        let alias = "isolator os/linux/seccomp-remove-set: the error EACCESS is taken for EACCES";
        assert_eq!(outcome.stderr.contains(alias), errno == "EACCESS", "{outcome}");
    }
}

fn seccomp_remove_without_an_errno_kills(env: &Env) {
    let remove = isolator("os/linux/seccomp-remove-set", json!({"set": ["clock_settime"]}));
    let image = image(env, "killed", &["/bin/busybox", "date", "-s", "@0"], &[remove]);
    env.run(&image, &[]).outcome().exits(128 + 31);
    // What is not in the set still works, and the default's refusals still hold.
    let remove = isolator("os/linux/seccomp-remove-set", json!({"set": ["clock_settime"]}));
    let image = shell(env, "others", "echo fine; unshare -U true 2>&1", &[remove]);
    env.run(&image, &[]).outcome().exits(1).shows("fine").shows("Operation not permitted");
}

fn seccomp_of_an_image_cannot_widen(env: &Env) {
    let all = isolator("os/linux/seccomp-retain-set", json!({"set": ["@appc.io/all"]}));
    let image = image(env, "all", &["/probe", "world"], &[all]);
    let outcome = env.run(&image, &[]).outcome().succeeds();
    let world: Value = serde_json::from_str(outcome.line()).expect("JSON");
    assert_eq!(world["seccomp"], 2, "the default filter stays");
    outcome.stderr_shows("seccomp-retain-set: modified: an image is not granted @appc.io/all: that takes --seccomp");
}

fn seccomp_profile_of_podman_runs_a_shell(env: &Env) {
    needs!(place(Place::Host));
    let option = "--seccomp-profile=/usr/share/containers/seccomp.json";
    let script = "date -s @0 2>&1 >/dev/null; echo done";
    let image = shell(env, "podman", script, &[]);
    let outcome =
        env.proa(["--insecure-options=image", "run", "--net=none", shown(&image), option]).outcome().succeeds();
    assert!(outcome.stdout.contains("Operation not permitted"), "{outcome}");
    assert!(outcome.stdout.ends_with("done\n") && outcome.stderr.is_empty(), "{outcome}");
}

fn seccomp_profile_that_makes_no_sense_is_refused(env: &Env) {
    let image = shell(env, "refused", "echo ran", &[]);
    let file = env.path("bad.json");
    let option = format!("--seccomp-profile={}", file.display());
    let run =
        || env.proa(["--insecure-options=image", "run", "--net=none", shown(&image), &option]).outcome().exits(254);
    run().stderr_shows("bad.json").stderr_shows("No such file");
    for (text, why) in [
        ("[]", "invalid"),
        (r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#, "SCMP_ACT_NOTIFY"),
        (r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5000}"#, "5000"),
        (r#"{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}"#, "/x"),
    ] {
        env.write("bad.json", text);
        run().stderr_shows(why);
    }
    env.write("bad.json", PROFILE);
    let both = [shown(&image), &option, "--seccomp=mode=remove,reboot"];
    env.proa(["run"].into_iter().chain(both)).outcome().exits(254).stderr_shows("--seccomp");
}
