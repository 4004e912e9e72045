//! Commands that only look make nothing, and need nothing that can be written to.

use std::ffi::OsString;
use std::process::Command;

use integration_tests::images::{Aci, busybox};
use integration_tests::needs::{Place, place};
use integration_tests::{Env, Outcome, User, each_user, limit, needs};

each_user! {
    nothing_is_made_where_there_is_nothing,
}

/// What succeeds without a data directory, and how many lines it prints.
const EMPTY: [(&str, usize); 21] = [
    ("list", 1),
    ("list --format=json", 1),
    ("gc", 0),
    ("stats", 1),
    ("image list", 1),
    ("image list --format=json", 1),
    ("image verify --all", 0),
    ("image gc", 0),
    ("system info --format {{.Containers}}/{{.Images}}", 1),
    ("system df", 5),
    ("system prune --force", 1),
    ("volume ls", 1),
    ("volume prune --force", 1),
    ("docker ps -a", 1),
    ("docker ps -f volume=some", 1),
    ("docker images", 1),
    ("docker info --format {{.Images}}", 1),
    ("docker stats --no-stream", 1),
    ("docker volume ls", 1),
    ("docker container prune -f", 1),
    ("docker image prune -f", 1),
];

/// What says that there is no such thing, with these words.
const MISSING: [(&str, &str); 46] = [
    ("status it", "no matches found for \"it\""),
    ("status --wait it", "no matches found for \"it\""),
    ("cat-manifest it", "no matches found for \"it\""),
    ("logs it", "no matches found for \"it\""),
    ("logs --follow it", "no matches found for \"it\""),
    ("wait it", "no matches found for \"it\""),
    ("events it", "no matches found for \"it\""),
    ("attach it", "no matches found for \"it\""),
    ("enter it true", "no matches found for \"it\""),
    ("top it", "no matches found for \"it\""),
    ("stats it", "no matches found for \"it\""),
    ("stop it", "no matches found for \"it\""),
    ("kill it", "no matches found for \"it\""),
    ("rm it", "no matches found for \"it\""),
    ("export it it.aci", "no matches found for \"it\""),
    ("cp it:/a b", "no matches found for \"it\""),
    ("commit it name", "no matches found for \"it\""),
    ("update it --memory=1G", "no matches found for \"it\""),
    ("run-prepared it", "no matches found for \"it\""),
    ("port list it", "no matches found for \"it\""),
    ("app list it", "no matches found for \"it\""),
    ("app status it", "no matches found for \"it\""),
    ("app exec it true", "no matches found for \"it\""),
    ("app rm it", "no matches found for \"it\""),
    ("image inspect it", "no image named \"it\""),
    ("image inspect sha512-0123456789", "sha512-0123456789"),
    ("image cat-manifest it", "no image named \"it\""),
    ("image verify it", "no image named \"it\""),
    ("image export it it.aci", "no image named \"it\""),
    ("image extract it it.dir", "no image named \"it\""),
    ("image render it it.dir", "no image named \"it\""),
    ("image rm it", "no image named \"it\""),
    ("image tag it other", "no image named \"it\""),
    ("image untag it", "no image named \"it\""),
    ("image push it localhost:1/it", "no image named \"it\""),
    ("volume inspect it", "it"),
    ("volume rm it", "it"),
    ("docker logs it", "No such container: it"),
    ("docker inspect it", "No such object: it"),
    ("docker port it", "No such container: it"),
    ("docker start it", "No such container: it"),
    ("docker rm it", "No such container: it"),
    ("docker rename it other", "No such container: it"),
    ("docker rmi it", "No such image: it"),
    ("docker tag it other", "No such image: it"),
    ("docker save it", "reference does not exist: it"),
];

fn nothing_is_made_where_there_is_nothing(env: &Env) {
    needs!(place(Place::Host));
    let run = |line: &str| env.proa(line.split(' ')).outcome();
    for (line, lines) in EMPTY {
        let outcome = run(line).succeeds();
        assert_eq!(outcome.stdout.lines().filter(|line| !line.is_empty()).count(), lines, "{outcome}");
        assert!(!env.data().exists(), "{line} makes a data directory");
    }
    for (line, words) in MISSING {
        let outcome = run(line);
        assert!(!outcome.status.success() && outcome.stderr.contains(words), "{outcome}");
        assert!(!env.data().exists(), "{line} makes a data directory");
    }
}

/// A run of `proa` for which the data directory is on a file system that is mounted read-only.
fn read_only(env: &Env, args: &[&str]) -> Outcome {
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,ro,bind \"$0\" && exec \"$@\"";
    let wrapper = ["unshare", "--mount", "--propagation=private", "sh", "-c", script].map(OsString::from);
    env.proa(args).through_as_invoker(wrapper.into_iter().chain([env.data().into()])).outcome()
}

#[test]
fn what_is_on_a_read_only_file_system_is_shown() {
    needs!(place(Place::Host));
    needs!(User::Root.account());
    let env = needs!(Env::of(User::WithRange));
    let aci = Aci::new("kept", busybox()).sh("echo out; echo changed >/made").build(&env);
    let id = env.store(&aci);
    env.proa(["run", "--net=none", "--detach", "--name=kept", &id]).outcome().succeeds();
    env.proa(["wait", "kept"]).outcome().succeeds();
    env.proa(["volume", "create", "kept"]).outcome().succeeds();
    let deadline = std::time::Instant::now() + limit();
    while env.proa(["list", "--no-legend"]).outcome().stdout.contains("running") {
        assert!(std::time::Instant::now() < deadline, "it does not end");
    }
    for line in [
        "list --full",
        "status kept",
        "cat-manifest kept",
        "logs kept",
        "wait kept",
        "cp kept:/made -",
        "port list kept",
        "image list --full",
        "image inspect example.com/kept",
        "image cat-manifest example.com/kept",
        "system df",
        "volume ls",
        "docker ps -a --format {{.Names}}",
        "docker images --format {{.Repository}}",
        "docker inspect kept",
        "docker logs kept",
        "docker save example.com/kept",
    ] {
        let args: Vec<_> = line.split(' ').collect();
        let (usual, shown) = (env.proa(&args).outcome().succeeds(), read_only(&env, &args).succeeds());
        assert_eq!((&shown.stdout, &shown.stderr), (&usual.stdout, &usual.stderr), "{line}");
    }
    for line in [
        "export kept tmp/kept.aci",
        "image export example.com/kept tmp/image.aci",
        "image render example.com/kept tmp/r",
    ] {
        let args: Vec<OsString> = line
            .split(' ')
            .map(|word| match word.strip_prefix("tmp/") {
                Some(name) => env.path("tmp").join(name).into(),
                None => word.into(),
            })
            .collect();
        let args: Vec<&str> = args.iter().map(|arg| arg.to_str().expect("UTF-8")).collect();
        read_only(&env, &args).succeeds();
        let made = env.path("tmp").join(args.last().expect("a path"));
        Command::new("rm").arg("-r").arg(&made).status().expect("rm runs");
    }
    // What writes says so, and takes nothing for damaged that it cannot look at.
    for line in ["gc", "rm kept", "image rm example.com/kept", "image verify --all", "run --net=none example.com/kept"]
    {
        let refused = read_only(&env, &line.split(' ').collect::<Vec<_>>()).exits(254);
        let refused = refused.stderr_shows("Read-only file system");
        assert!(!refused.to_string().contains("damaged"), "{refused}");
    }
    env.proa(["image", "verify", "--all"]).outcome().succeeds();
    env.proa(["rm", "kept"]).outcome().succeeds();
}
