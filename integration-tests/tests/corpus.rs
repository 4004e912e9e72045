//! Attacks on images and on those who fetch them that are about the whole program: what a reader, a store or a client can be
//! shown alone is tested in its crate. docs/security/corpus.md says where each line of the corpus is.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use integration_tests::images::{Aci, Layout, Tree, busybox};
use integration_tests::needs::{Place, Why, place};
use integration_tests::registry::{Authority, Setup};
use integration_tests::site::{Answer, Internet};
use integration_tests::{Env, Outcome, User, binaries, limit, needs, process};
use rustix::process::Signal;
use serde_json::json;

fn somebody() -> Result<Env, Why> {
    Env::of(User::WithRange).or_else(|_| Env::of(User::NoRange))
}

/// A folder outside of everything with a file in it, which nobody may touch.
struct Canary {
    dir: PathBuf,
    before: (u32, u32, i64, i64),
}

impl Canary {
    fn new(env: &Env) -> Self {
        let dir = env.path("canary");
        env.make_dir(&dir);
        env.write("canary/file", "canary\n");
        let before = Self::state(&dir);
        Self { dir, before }
    }

    fn state(dir: &Path) -> (u32, u32, i64, i64) {
        let meta = dir.metadata().expect("it is there");
        (meta.mode(), meta.uid(), meta.mtime(), meta.mtime_nsec())
    }

    fn path(&self) -> &str {
        self.dir.to_str().expect("UTF-8")
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(Self::state(&self.dir), self.before, "the folder was changed");
        let names: Vec<_> =
            fs::read_dir(&self.dir).expect("it is there").map(|it| it.expect("readable").file_name()).collect();
        assert_eq!(names, ["file"]);
        let file = self.dir.join("file");
        assert_eq!(fs::read_to_string(&file).expect("it is there"), "canary\n");
        assert_eq!(file.metadata().expect("it is there").nlink(), 1);
    }
}

fn run_layout(env: &Env, layout: &Path, more: &[&str]) -> Outcome {
    let image = format!("oci:{}", layout.display());
    env.proa(["run", "--net=none", &image].iter().chain(more)).outcome()
}

/// A symbolic link of one layer, and a file of the next one through it.
#[test]
fn unp_01_a_link_of_a_lower_layer_is_not_followed() {
    let env = needs!(somebody());
    let canary = Canary::new(&env);
    let lower = busybox().symlink("x", canary.path()).symlink("y", "../../../../../..");
    // `y/d` has no entry of its own: its owner and mode would be taken from below.
    let upper = Tree::new().file("x/pwn", "inside\n", 0o644).file("y/d/pwn", "inside\n", 0o644);
    let layout = Layout::new("linked").layer(lower).layer(upper).sh("cat /x/pwn /y/d/pwn; ls /x").build(&env);
    run_layout(&env, &layout, &[]).succeeds().prints("inside\ninside\npwn\n");
    canary.assert_untouched();
}

#[test]
fn unp_11_volumes_of_an_image_stay_inside() {
    let env = needs!(somebody());
    let canary = Canary::new(&env);
    let path = format!("/../../../..{}", canary.path());
    let look = format!("ls -A {}", canary.path());
    let layout = Layout::new("volumes").layer(busybox()).config("Volumes", json!({ &path: {} })).sh(&look).build(&env);
    // Cleaned it is a path inside, and there is nothing there.
    run_layout(&env, &layout, &[]).succeeds().prints("");
    let mount_point = json!([{"name": "data", "path": path}]);
    let image = Aci::new("volumes", busybox()).sh(&look).app("mountPoints", mount_point).build(&env);
    let outcome = env.run(&image, &["--volume=data,kind=empty"]).outcome();
    assert!(!outcome.stdout.contains("file"), "{outcome}");
    canary.assert_untouched();
}

/// Host programs read these two files of an image.
#[test]
fn unp_12_account_files_that_are_traps() {
    let env = needs!(somebody());
    env.write("accounts", "victim:x:0:0::/:/bin/sh\n");
    let accounts = env.path("accounts");
    let accounts = accounts.to_str().expect("UTF-8");
    for target in [accounts, "/proc/self/environ", "../../../../../../etc/passwd", "passwd"] {
        let tree = busybox().dir("etc", 0o755).symlink("etc/passwd", target).symlink("etc/group", target);
        let image = Aci::new("trap", tree).sh("id -u").user("victim", "0").build(&env);
        let since = Instant::now();
        let outcome = env.run(&image, &[]).outcome();
        assert!(!outcome.status.success() && outcome.stdout.is_empty(), "{target}: {outcome}");
        outcome.stderr_shows("the image's /etc/passwd");
        assert!(since.elapsed() < limit());
    }
    let tree = busybox().dir("etc/passwd", 0o755).dir("etc/group", 0o755);
    let image = Aci::new("folders", tree).sh("id -u").user("victim", "0").build(&env);
    env.run(&image, &[]).outcome().rejects("the image's /etc/passwd");
}

/// An image that has every program which somebody might start, in the place where it is looked for.
#[test]
fn unp_13_programs_of_an_image_are_not_run_on_the_host() {
    let env = needs!(somebody());
    let canary = Canary::new(&env);
    let trap = format!("echo ran \"$0\" >>{}/file", canary.path());
    let programs = [
        "xz",
        "gzip",
        "unpigz",
        "bzip2",
        "zstd",
        "tar",
        "gpg",
        "gpgv",
        "nsenter",
        "newuidmap",
        "newgidmap",
        "getent",
        "pasta",
        "ip",
        "sh",
        "cp",
        "mount",
        "unshare",
        "ldconfig",
    ];
    let name = |program: &&str| format!("bin/{program}");
    let tree = programs.iter().fold(Tree::new(), |tree, program| tree.script(name(program), &trap));
    let layout = Layout::new("traps").layer(tree.clone()).layer(Tree::new().file("f", "x", 0o644)).build(&env);
    let image = format!("oci:{}", layout.display());
    let inside = env.path("inside");
    // The control: they would tell.
    let control = env.path("control");
    env.make_dir(&control);
    fs::write(control.join("tar"), format!("#!/bin/sh\necho ran >>{}\n", control.join("told").display()))
        .expect("ours");
    fs::set_permissions(control.join("tar"), fs::Permissions::from_mode(0o755)).expect("ours");
    let ran = env.command("/usr/bin/env", vec!["tar".into()]).var("PATH", &control).outcome();
    assert!(ran.status.success() && control.join("told").exists(), "{ran}");
    let path = env.path("inside/rootfs/bin");
    let program = binaries::proa();
    // There, with nothing else in PATH.
    let proa = |args: &[&str]| {
        let data = env.data();
        let script = "cd inside/rootfs 2>/dev/null; exec \"$@\"";
        let start =
            ["-c".as_ref(), script.as_ref(), "sh".as_ref(), program.as_os_str(), "--dir".as_ref(), data.as_os_str()];
        let line = start.into_iter().chain(args.iter().map(OsStr::new)).map(OsStr::to_owned).collect();
        env.command("/bin/sh", line).var("PATH", &path).outcome().succeeds()
    };
    let id = env.proa(["fetch", &image]).outcome().succeeds().line().to_owned();
    proa(&["image", "render", &id, inside.to_str().expect("UTF-8")]);
    assert!(path.join("tar").exists(), "the traps are in PATH");
    let out = |name: &str| env.path(name).to_str().expect("UTF-8").to_owned();
    proa(&["fetch", &image]);
    proa(&["image", "verify", "--all"]);
    proa(&["image", "export", &id, &out("out.tar")]);
    proa(&["image", "extract", &id, &out("extracted")]);
    proa(&["image", "rm", &id]);
    proa(&["gc"]);
    canary.assert_untouched();
}

#[test]
fn unp_14_set_user_id_files_are_out_of_reach() {
    needs!(place(Place::Host));
    needs!(User::Root.account());
    let env = needs!(Env::of(User::NoRange));
    let other = needs!(User::WithRange.account());
    let image = Aci::new("suid", busybox().file("suid", "#!/bin/sh\nid -u\n", 0o4755)).build(&env);
    env.proa(["--insecure-options=image".as_ref(), "fetch".as_ref(), image.as_os_str()]).outcome().succeeds();
    let trees = env.data().join("store/trees");
    let tree = fs::read_dir(&trees).expect("there").next().expect("one").expect("readable").path();
    let file = tree.join("rootfs/suid");
    assert!(file.exists());
    // Whoever it belongs to, the folders above are closed.
    let ids = [format!("--reuid={}", other.uid), format!("--regid={}", other.gid)];
    let read = |file: &Path| {
        Command::new("setpriv").arg("--clear-groups").args(&ids).arg("cat").arg(file).output().expect("setpriv")
    };
    let refused = read(&file);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("Permission denied"));
    assert!(read(&env.write("open", "x")).status.success(), "the control: this user reads what is open");
    for dir in file.ancestors().skip(3).take_while(|dir| *dir != env.data()) {
        assert_eq!(dir.metadata().expect("there").mode() & 0o7777, 0o700, "{}", dir.display());
    }
}

#[test]
fn unp_20_what_is_no_digest_reaches_no_server() {
    let env = needs!(somebody());
    let registry = needs!(Setup::plain().start(&env, "registry"));
    let before = registry.requests().len();
    let hex = "ab".repeat(32);
    let bad = ["sha256:../../x", "sha256:", "", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha512:abab", &hex];
    let bad = bad.map(str::to_owned).into_iter().chain([
        format!("sha256:{}", &hex[1..]),
        format!("sha256:{hex}a"),
        format!("sha256:{}", hex.to_uppercase()),
        format!("sha256:{hex}/../x"),
    ]);
    for digest in bad {
        let image = format!("docker://{}@{digest}", registry.name("app"));
        let outcome = env.proa(["--insecure-options=http", "fetch", &image]).outcome().exits(254);
        assert!(
            !env.data().join("store/tmp").exists()
                || fs::read_dir(env.data().join("store/tmp")).expect("ours").next().is_none(),
            "{outcome}"
        );
    }
    assert_eq!(registry.requests().len(), before);
}

/// Somebody with the same rights puts a link in the place of the folder that is being filled (also table 30).
#[test]
fn unp_23_the_folder_of_a_fetch_is_exchanged() {
    let env = needs!(somebody());
    let canary = Canary::new(&env);
    let folder = |tree: Tree, n| tree.dir(format!("d{n}"), 0o755).file(format!("d{n}/f"), vec![7; 20_000], 0o644);
    let image = Aci::new("many", (0..400).fold(busybox(), folder)).build(&env);
    let tmp = env.data().join("store/tmp");
    // What is under way: it has begun with the folders, and not come to the last one.
    let half = || {
        let works = fs::read_dir(&tmp).into_iter().flatten().flatten();
        let layers = works.flat_map(|work| fs::read_dir(work.path()).into_iter().flatten().flatten());
        let roots = layers.map(|layer| layer.path().join("rootfs"));
        roots.filter(|root| root.join("d3").exists() && !root.join("d390").exists()).last()
    };
    let exchange = || {
        let running = env.proa(["--insecure-options=image".as_ref(), "fetch".as_ref(), image.as_os_str()]).start();
        let all = |signal| {
            let children = process::descendants(running.pid()).into_iter().map(|child| child.pid);
            for pid in children.chain([running.pid()]) {
                process::kill(pid, signal);
            }
        };
        let mut exchanged = false;
        let lives = || process::all().iter().any(|it| it.pid == running.pid() && it.state != 'Z');
        while !exchanged && lives() {
            if half().is_none() {
                continue;
            }
            all(Signal::STOP);
            if let Some(root) = half() {
                fs::rename(&root, root.with_file_name("away")).expect("it stands still");
                symlink(canary.path(), &root).expect("the place is free");
                exchanged = true;
            }
            all(Signal::CONT);
        }
        let outcome = running.wait();
        assert!(!outcome.stderr.contains("panicked"), "{outcome}");
        canary.assert_untouched();
        env.proa(["gc"]).outcome();
        let _ = fs::remove_dir_all(env.data());
        exchanged
    };
    // It may be too fast to be caught.
    assert!((0..20).any(|_| exchange()), "nothing was exchanged");
}

/// Eight at once store one copy, and none of them fails (table 61).
#[test]
fn table_61_eight_fetches_of_the_same_image() {
    let env = needs!(somebody());
    let registry = needs!(Setup::plain().start(&env, "registry"));
    let layout = Layout::new("app").layer(busybox()).layer(Tree::new().file("f", vec![1; 300_000], 0o644)).build(&env);
    needs!(registry.push(&layout, "app:v1", &[]));
    let image = format!("docker://{}", registry.name("app:v1"));
    let all: Vec<_> = (0..8).map(|_| env.proa(["--insecure-options=http", "fetch", &image]).start()).collect();
    let ids: Vec<_> = all.into_iter().map(|running| running.wait().succeeds().line().to_owned()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let count = |dir: &str| fs::read_dir(env.data().join("store").join(dir)).expect("there").count();
    assert_eq!((count("images"), count("trees"), count("blobs/sha256"), count("tmp")), (1, 2, 2, 0));
    env.proa(["image", "verify", "--all"]).outcome().succeeds();
}

#[test]
fn table_66_proxies_that_do_not_help() {
    let env = needs!(somebody());
    let fetch = |proxy: &str| {
        let line = env.proa(["--debug", "fetch", "https://example.com/app.aci"]);
        let outcome = line.var("HTTPS_PROXY", proxy).outcome();
        assert!(!outcome.stderr.contains("canary"), "the password is told: {outcome}");
        outcome.exits(254)
    };
    // Nobody is there.
    fetch("http://user:canary@127.0.0.1:1").stderr_shows("hint: ");
    // It wants other credentials.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let server = std::thread::spawn(move || {
        let mut heads = Vec::new();
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            let length = client.read(&mut head).unwrap_or(0);
            if length == 0 {
                break;
            }
            heads.push(String::from_utf8_lossy(&head[..length]).into_owned());
            let answer = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n";
            let _ = client.write_all(answer.as_bytes());
        }
        heads
    });
    let outcome = fetch(&format!("http://user:canary@{address}"));
    drop(std::net::TcpStream::connect(address));
    let heads = server.join().expect("it does not panic");
    assert!(
        heads.iter().all(|head| head.starts_with("CONNECT example.com:443 ")) && !heads.is_empty(),
        "{heads:?}\n{outcome}"
    );
    assert!(heads.len() <= 6, "it is asked {} times", heads.len());
}

/// A helper that is not there, that fails or talks nonsense is an error, and nobody is asked with what it said about another.
#[test]
fn reg_05_a_broken_helper_sends_nobody_anything() {
    let env = needs!(somebody());
    let theirs = needs!(Setup::plain().user("me", "canary").start(&env, "theirs"));
    // Another server, which counts what it is shown.
    let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = other.local_addr().expect("it is bound");
    let server = std::thread::spawn(move || {
        let mut heads = Vec::new();
        for mut client in other.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            match client.read(&mut head) {
                Ok(length @ 1..) => heads.push(String::from_utf8_lossy(&head[..length]).to_lowercase()),
                _ => break,
            }
            let challenge = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = client.write_all(challenge.as_bytes());
        }
        heads
    });
    for folder in ["home/.docker", "bin"] {
        env.make_dir(&env.path(folder));
    }
    env.write("home/.docker/config.json", json!({"credHelpers": {theirs.host(): "test"}}).to_string());
    let path = format!("{}:/usr/bin:/bin", env.path("bin").display());
    let fetch = |host: &str| {
        let image = format!("docker://{host}/app:v1");
        env.proa(["--insecure-options=http", "--debug", "fetch", &image]).var("PATH", &path).outcome()
    };
    fetch(&theirs.host()).exits(254).stderr_shows("docker-credential-test");
    let answers = [
        "exit 1",
        "echo; echo canary",
        "echo '{}'",
        "echo '{\"Username\":\"me\",\"Secret\":\"canary\"'",
        // Right in itself, and about somebody else.
        "echo '{\"ServerURL\":\"https://index.docker.io/v1/\",\"Username\":\"me\",\"Secret\":\"canary\"}'",
        "kill -9 $$",
    ];
    for answer in answers {
        let helper = env.write("bin/docker-credential-test", format!("#!/bin/sh\ncat >/dev/null\n{answer}\n"));
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let outcome = fetch(&theirs.host()).exits(254);
        assert!(!outcome.stderr.contains("canary"), "{answer}: the secret is told: {outcome}");
    }
    // With a helper that works, the other server is told nothing either: it is not the one that was asked about.
    let right = "cat >/dev/null\necho '{\"Username\":\"me\",\"Secret\":\"canary\"}'\n";
    env.write("bin/docker-credential-test", format!("#!/bin/sh\n{right}"));
    fetch(&address.to_string()).exits(254);
    fetch(&theirs.host()).exits(254).stderr_shows("has no image");
    drop(std::net::TcpStream::connect(address));
    let heads = server.join().expect("it does not panic");
    assert!(!heads.is_empty() && heads.iter().all(|head| !head.contains("authorization")), "{heads:?}");
}

/// With a clock that is ten years off, every certificate is of the future or of the past: the message says what time it is here.
#[test]
fn table_67_a_clock_that_is_wrong() {
    let env = needs!(somebody());
    let authority = needs!(Authority::new(&env));
    let names = "DNS:localhost,IP:127.0.0.1";
    for (server, from, to, offending) in [
        ("future", "20960101000000Z", "20970101000000Z", "the certificate is not valid yet; local time is 20"),
        ("past", "20120101000000Z", "20130101000000Z", "the certificate is expired; local time is 20"),
    ] {
        let certificate = needs!(authority.issue_between(server, names, from, to));
        let registry = needs!(Setup::plain().tls(certificate).start(&env, server));
        let image = format!("docker://{}", registry.name("app:v1"));
        let outcome = env.proa(["fetch", &image]).var("SSL_CERT_FILE", authority.certificate()).outcome();
        outcome.exits(254).stderr_shows(offending);
        // It is the clock alone that is in the way.
        let outcome = env.proa(["--insecure-options=tls", "fetch", &image]).outcome();
        outcome.exits(254).stderr_shows("has no image");
    }
}

/// What an interrupted fetch leaves is only what gc takes away, and the next one succeeds.
#[test]
fn table_68_an_interrupted_fetch() {
    let env = needs!(somebody());
    let many = (0..300).fold(busybox(), |tree, n| tree.file(format!("f{n}"), vec![7; 50_000], 0o644));
    let image = Aci::new("many", many).build(&env);
    let fetch = || env.proa(["--insecure-options=image".as_ref(), "fetch".as_ref(), image.as_os_str()]);
    for signal in [Signal::INT, Signal::TERM] {
        let running = fetch().start();
        let deadline = Instant::now() + limit();
        while fs::read_dir(env.data().join("store/tmp")).map_or(0, Iterator::count) == 0 {
            assert!(Instant::now() < deadline, "it does not begin");
            std::thread::sleep(Duration::from_millis(1));
        }
        running.kill(signal);
        let outcome = running.wait();
        assert_eq!(outcome.signal(), Some(signal.as_raw()), "{outcome}");
        // Its extractor dies with it, but a moment later.
        let left = || fs::read_dir(env.data().join("store/tmp")).expect("there").count();
        let deadline = Instant::now() + limit();
        while left() > 0 {
            assert!(Instant::now() < deadline, "something is left after {signal:?}");
            env.proa(["gc"]).outcome().succeeds();
        }
    }
    fetch().outcome().succeeds();
}

/// There is no index beside the images, but somebody may remove their records.
#[test]
fn table_73_the_records_are_gone() {
    let env = needs!(somebody());
    let layout = Layout::new("app").layer(busybox()).sh("echo it runs").build(&env);
    let fetch = format!("oci:{}", layout.display());
    let id = env.proa(["fetch", &fetch]).outcome().succeeds().line().to_owned();
    for whole in [false, true] {
        let images = env.data().join("store/images");
        fs::remove_dir_all(&images).expect("root or its owner may");
        if !whole {
            env.make_dir(&images);
        }
        // Without its record an image is not there; what it was made of is neither used nor trusted by its place alone.
        let run = env.proa(["run", "--net=none", &id]).outcome().exits(254);
        assert!(!run.stdout.contains("it runs"), "{run}");
        env.proa(["fetch", &fetch]).outcome().succeeds().prints(&format!("{id}\n"));
        env.proa(["run", "--net=none", &id]).outcome().succeeds().prints("it runs\n");
    }
}

/// Who needs the index waits for whoever holds it, and no longer.
#[test]
fn table_78_the_lock_of_the_index_is_waited_for() {
    let env = needs!(somebody());
    let layout = Layout::new("app").layer(busybox()).build(&env);
    let id = env.proa(["fetch", &format!("oci:{}", layout.display())]).outcome().succeeds().line().to_owned();
    let lock = fs::File::open(env.data().join("store/locks/index")).expect("it is there");
    lock.lock().expect("nobody holds it");
    let running = env.proa(["image", "rm", &id]).start();
    let holds = || fs::read_dir(format!("/proc/{}/fd", running.pid())).into_iter().flatten().flatten();
    let deadline = Instant::now() + limit();
    while !holds().any(|fd| fs::read_link(fd.path()).is_ok_and(|it| it.ends_with("locks/index"))) {
        assert!(Instant::now() < deadline, "it does not come to the lock");
    }
    assert!(env.data().join("store/images").join(format!("{}.json", id.replace(':', "-"))).exists());
    drop(lock);
    running.wait().succeeds();
}

#[test]
fn reg_13_no_cookies_and_no_netrc() {
    let net = needs!(Internet::new());
    let netrc = "machine example.com login user password canary\ndefault login user password canary\n";
    let file = net.env.write("home/.netrc", netrc);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("ours");
    let cookie = |answer: Answer| answer.header("Set-Cookie", "canary=1; Path=/; Domain=example.com");
    net.site.page("example.com/app.aci", cookie(Answer::redirect("https://example.com/there.aci")));
    net.site.page("example.com/there.aci", cookie(Answer::redirect("https://example.com/end.aci")));
    net.site.page("example.com/end.aci", cookie(Answer::status(401)).header("WWW-Authenticate", "Basic realm=x"));
    net.proa(&["--insecure-options=image", "fetch", "https://example.com/app.aci"]).exits(254);
    let hits = net.site.hits();
    assert_eq!(hits.len(), 3, "{hits:?}");
    assert!(hits.iter().all(|hit| hit.header("cookie").is_none() && hit.header("authorization").is_none()), "{hits:?}");
}

/// Fifos and devices in place of what is read of an image file or layout do not block.
#[test]
fn unp_10_a_fifo_in_the_place_of_an_image() {
    let env = needs!(somebody());
    let fifo = env.path("images/fifo.aci");
    let made = Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
    assert!(made.success() && fifo.metadata().expect("there").file_type().is_fifo());
    env.own(&fifo);
    env.proa(["--insecure-options=image".as_ref(), "fetch".as_ref(), fifo.as_os_str()]).outcome().rejects("fifo.aci");
    env.proa(["--insecure-options=image", "fetch", "/dev/zero"]).outcome().rejects("/dev/zero");
}
