//! `proa metadata-service`: started by hand, on demand, by a socket; killed; refused. Pods are played by the program
//! `monitors`, which registers as real monitors do.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use integration_tests::needs::{Place, place, tool};
use integration_tests::{Env, Running, User, binaries, each_user, limit, needs, process};
use metadata_api::Route;
use metadata_api::ask::{AskError, Service};
use rustix::process::Signal;

/// Pods that are registered as the test's user.
struct Pods {
    running: Running,
    urls: Vec<(String, String)>,
}

impl Pods {
    /// Registers with a service that runs.
    fn register(env: &Env, count: usize) -> Self {
        Self::start(env, &[], count)
    }

    /// Registers when an app asks, with a service that is started then.
    fn waiting(env: &Env, count: usize) -> Self {
        let (proa, data) = (binaries::proa(), env.data());
        env.make_dir(&data);
        Self::start(env, &["--start", proa.to_str().expect("UTF-8"), data.to_str().expect("UTF-8")], count)
    }

    fn start(env: &Env, start: &[&str], count: usize) -> Self {
        let (dir, count_text) = (socket_dir(env), count.to_string());
        let args = start.iter().map(Into::into).chain([dir.into(), count_text.into()]).collect();
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut running = env.command(binaries::monitors(), args).stdin(reader).start();
        // Standard input stays open until the process is killed.
        std::mem::forget(writer);
        let line = |_| {
            let line = running.wait_for("http://");
            let (uuid, url) = line.split_once(' ').expect("UUID and URL");
            (uuid.to_owned(), url.to_owned())
        };
        let urls = (0..count).map(line).collect();
        Self { running, urls }
    }

    fn service(&self, pod: usize) -> Service {
        Service::at(&self.urls[pod].1, limit()).expect("a URL")
    }

    fn uuid(&self, pod: usize) -> Result<String, AskError> {
        uuid(&self.service(pod))
    }

    fn end(self) {
        self.running.kill(Signal::KILL);
        self.running.wait();
    }
}

/// The UUID that the service tells.
fn uuid(service: &Service) -> Result<String, AskError> {
    let answer = service.get(&Route::PodUuid)?;
    assert_eq!(answer.status, 200);
    Ok(String::from_utf8(answer.body).expect("ASCII"))
}

fn socket_dir(env: &Env) -> PathBuf {
    env.data().join("run")
}

fn socket(env: &Env) -> PathBuf {
    socket_dir(env).join("metadata.sock")
}

/// The service in the foreground, once it listens.
fn foreground(env: &Env, args: &[&str]) -> Running {
    let running = env.proa([&["metadata-service"], args].concat()).start();
    eventually("it listens", || socket(env).exists());
    running
}

fn end(service: Running) {
    service.kill(Signal::KILL);
    service.wait();
}

#[track_caller]
fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit();
    while !is() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

each_user! {
    serves_in_the_foreground,
    starts_on_demand_and_survives_being_killed,
    secrets_are_the_users_alone,
    keys_of_identities,
}

fn serves_in_the_foreground(env: &Env) {
    needs!(place(Place::Host));
    let service = foreground(env, &[]);
    let pods = Pods::register(env, 3);
    for pod in 0..3 {
        assert_eq!(pods.uuid(pod).expect("an answer"), pods.urls[pod].0);
    }
    let other = pods.urls[0].1.rsplit_once('/').expect("a token").1;
    let stolen = format!("{}/{other}", pods.urls[1].1.rsplit_once('/').expect("a token").0);
    let answer = Service::at(&stolen, limit()).expect("a URL").get(&Route::PodUuid).expect("an answer");
    assert_eq!(answer.status, 401, "another pod's token");
    env.proa(["metadata-service"]).outcome().refuses("a metadata service is listening at");
    pods.end();
    end(service);
}

fn starts_on_demand_and_survives_being_killed(env: &Env) {
    needs!(place(Place::Host));
    let pods = Pods::waiting(env, 2);
    assert!(env.metadata_service().is_none() && !env.data().join("metadata").exists(), "nobody has asked");
    assert_eq!(pods.uuid(0).expect("an answer"), pods.urls[0].0);
    let content: (&str, &[u8]) = ("content", b"x");
    let sign = || pods.service(0).post(&Route::Sign, &[content]).expect("an answer").body;
    let signature = sign();
    for _ in 0..3 {
        env.end_metadata_service();
        assert_eq!(pods.uuid(1).expect("an answer"), pods.urls[1].0, "the other pod starts it");
        assert_eq!(pods.uuid(0).expect("an answer"), pods.urls[0].0);
        assert_eq!(sign(), signature, "the key is the same");
    }
    env.end_metadata_service();
    pods.end();
}

fn secrets_are_the_users_alone(env: &Env) {
    needs!(place(Place::Host));
    let service = foreground(env, &[]);
    let mode = |path: &str| std::fs::metadata(env.data().join(path)).expect(path).permissions().mode() & 0o7777;
    assert_eq!([mode("metadata"), mode("metadata/hmac.key")], [0o700, 0o600]);
    assert_eq!([mode("run"), mode("run/metadata.sock")], [0o700, 0o600]);
    end(service);
    let key = env.data().join("metadata/hmac.key");
    let content = std::fs::read(&key).expect("it is there");
    for mode in [0o640, 0o604, 0o660] {
        std::fs::set_permissions(&key, Permissions::from_mode(mode)).expect("ours");
        env.proa(["metadata-service"]).outcome().refuses("hmac.key: a secret that others may read or write");
    }
    assert_eq!(std::fs::read(&key).expect("it is there"), content, "nothing was put in its place");
    std::fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("ours");
    std::fs::set_permissions(socket_dir(env), Permissions::from_mode(0o755)).expect("ours");
    env.proa(["metadata-service"]).outcome().refuses("must be accessible to its owner alone");
}

fn keys_of_identities(env: &Env) {
    needs!(place(Place::Host));
    let jwks = || {
        let outcome = env.proa(["identity", "jwks"]).outcome().succeeds().quietly();
        let jwks: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
        let keys = jwks["keys"].as_array().expect("a list").clone();
        assert!(keys.iter().all(|key| key["alg"] == "ES256" && key.get("d").is_none()), "{outcome}");
        keys
    };
    let first = jwks();
    assert_eq!((first.len(), jwks()), (2, first.clone()));
    env.proa(["identity", "rotate"]).outcome().succeeds().prints("").quietly();
    let second = jwks();
    assert_eq!((second.len(), &second[..2]), (3, &first[..]), "the old ones stay");
    let file = env.data().join("metadata/identity.json");
    assert_eq!(std::fs::metadata(&file).expect("it is there").permissions().mode() & 0o7777, 0o600);
    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("ours");
    env.proa(["identity", "jwks"]).outcome().refuses("identity.json: a secret that others may read or write");
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("ours");
    std::fs::write(&file, "{}").expect("ours");
    env.proa(["identity", "jwks"]).outcome().refuses("identity.json: not a list of keys");
}

/// Registration is for the user's own processes, root's among the others'.
#[test]
fn mds11_other_users_are_refused() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let service = foreground(&env, &[]);
    let pods = Pods::register(&env, 1);
    let place = std::os::unix::net::UnixStream::connect(socket(&env));
    let mut stream = place.expect("root may connect");
    let mut answer = Vec::new();
    // Closed at once, without a word.
    let read = std::io::Read::read_to_end(&mut stream, &mut answer);
    assert!(read.is_err() || answer.is_empty(), "{answer:?}");
    assert_eq!(pods.uuid(0).expect("an answer"), pods.urls[0].0);
    pods.end();
    end(service);
}

/// No request is wrongly answered, and none is lost beyond one retry, however often the service is killed.
#[test]
fn killed_under_load() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let pods = Pods::waiting(&env, 4);
    let stop = &AtomicBool::new(false);
    let asked = &[(); 4].map(|()| AtomicUsize::new(0));
    let hammer = |(service, expected): (Service, &str), asked: &AtomicUsize| {
        while !stop.load(Ordering::Relaxed) {
            let found = uuid(&service).or_else(|_| uuid(&service)).expect("an answer at the second attempt");
            assert_eq!(found, expected);
            asked.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let counts = || asked.each_ref().map(|asked| asked.load(Ordering::Relaxed));
        let client = |pod: usize| {
            let client = (pods.service(pod), &*pods.urls[pod].0);
            scope.spawn(move || hammer(client, &asked[pod]))
        };
        let clients: Vec<_> = (0..4).map(client).collect();
        for _ in 0..5 {
            // Whoever was cut off must have had its second attempt before the next time.
            let before = counts();
            let answered = || counts().iter().zip(before).all(|(now, before)| *now > before + 1);
            eventually("all are answered", || answered() || clients.iter().any(|client| client.is_finished()));
            std::thread::sleep(Duration::from_millis(200));
            eventually("it runs again", || env.metadata_service().is_some());
            // The next one may be there before this one is seen to be gone.
            process::kill(env.metadata_service().expect("it runs"), Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(200));
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|it| it.join().expect("no client fails"));
    });
    let asked: usize = asked.iter().map(|asked| asked.load(Ordering::Relaxed)).sum();
    assert!(asked > 20, "only {asked} requests");
    env.end_metadata_service();
    pods.end();
}

#[test]
fn an_idle_service_ends_and_leaves_no_socket() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let service = foreground(&env, &["--idle-exit=200ms"]);
    service.wait().succeeds().quietly();
    assert!(!socket(&env).exists());
}

#[test]
fn a_socket_that_is_passed_is_used_and_left() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let activate = needs!(tool("systemd-socket-activate"));
    env.make_dir(&env.data());
    env.make_dir(&socket_dir(&env));
    std::fs::set_permissions(socket_dir(&env), Permissions::from_mode(0o700)).expect("ours");
    let listen = format!("--listen={}", socket(&env).display());
    let wrapper = [activate.into_os_string(), listen.into()];
    let service = env.proa(["metadata-service", "--idle-exit=500ms"]).through(wrapper).start();
    eventually("it listens", || socket(&env).exists());
    let pods = Pods::register(&env, 1);
    assert_eq!(pods.uuid(0).expect("an answer"), pods.urls[0].0);
    service.wait().succeeds();
    assert!(socket(&env).exists(), "it is the activator's");
    pods.end();
}

#[test]
fn bad_options_are_refused() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::NoRange));
    for (option, named) in [("--threads=0", "'0'"), ("--threads=x", "'x'"), ("--idle-exit=5", "'5'")] {
        let refused = env.proa(["metadata-service", option]).outcome().exits(254);
        assert!(refused.stderr.contains(named), "{refused}");
    }
}

/// Every example of docs/metadata.md, with a real curl.
#[test]
fn the_documents_examples_work() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    needs!(tool("curl"));
    let page = include_str!("../../docs/metadata.md");
    let examples: String =
        page.split("```sh\n").skip(1).map(|rest| rest.split_once("```").expect("a block has an end").0).collect();
    assert_eq!(examples.matches("metadata ").count(), 9, "the test reads the page wrongly");
    let pods = Pods::waiting(&env, 1);
    let script = format!("set -eux\n{examples}\necho; echo \"signed $signature\"");
    let outcome = env
        .command("/bin/sh", vec!["-c".into(), script.into()])
        .var("AC_METADATA_URL", &pods.urls[0].1)
        .outcome()
        .succeeds()
        .shows(&pods.urls[0].0)
        .shows(r#""acKind":"PodManifest""#)
        .shows(r#""acKind":"ImageManifest""#)
        .shows("null");
    let signature = outcome.stdout.rsplit_once("signed ").expect("the last line").1.trim_end();
    assert_eq!(signature.len(), 88, "{outcome}");
    env.end_metadata_service();
    pods.end();
}
