//! Supervisors that have no file descriptor left, and clients that take all there is: nothing turns idly, nobody else is
//! harmed, and what is given back is of use again.

use std::ffi::OsString;
use std::io::{IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use integration_tests::images::{Aci, busybox};
use integration_tests::needs::{Place, place, tool};
use integration_tests::{Env, User, limit, needs, process};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Resource, Signal, getrlimit};

/// A pod that runs, and its supervisor.
struct Pod<'e> {
    env: &'e Env,
    uuid: String,
    monitor: i32,
}

impl<'e> Pod<'e> {
    fn start(env: &'e Env, image: &Path, name: &str, more: &[&str]) -> Self {
        let naming = format!("--name={name}");
        let first = ["--insecure-options=image", "run", "--detach", &naming];
        let args = first.iter().chain(more).copied().chain([image.to_str().expect("UTF-8")]);
        let uuid = env.proa(args).outcome().succeeds().line().to_owned();
        let status = env.proa(["status", name]).outcome().succeeds();
        let init: i32 = status.stdout.lines().find_map(|line| line.strip_prefix("pid=")?.parse().ok()).expect("a pid");
        let monitor = process::read(init).expect("it runs").parent;
        Self { env, uuid, monitor }
    }

    /// From now on its supervisor gets no new descriptor.
    fn exhaust(&self) {
        // It sets one aside when it has nothing to do.
        std::thread::sleep(Duration::from_millis(2500));
        let fd = |number: u64| Path::new(&format!("/proc/{}/fd/{number}", self.monitor)).symlink_metadata().is_ok();
        let lowest = (0..).find(|number| !fd(*number)).expect("one is free");
        self.limit_to(lowest);
    }

    fn restore(&self) {
        self.limit_to(getrlimit(Resource::Nofile).current.expect("there is a limit"));
    }

    /// Its user may do that; root only where it has all capabilities.
    fn limit_to(&self, number: u64) {
        let args = [format!("--pid={}", self.monitor), format!("--nofile={number}:")];
        self.env.command("prlimit", args.map(OsString::from).to_vec()).outcome().succeeds();
    }

    fn connect(&self) -> UnixStream {
        let dir = std::fs::File::open(self.env.data().join("pods/run").join(&self.uuid)).expect("the pod's directory");
        let control = format!("/proc/self/fd/{}/control", std::os::fd::AsRawFd::as_raw_fd(&dir));
        let stream = UnixStream::connect(control).expect("it listens");
        stream.set_read_timeout(Some(limit())).expect("a socket");
        stream
    }
}

/// Processor time that a process has used, in clock ticks.
fn ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, tail) = stat.rsplit_once(')').expect("a name");
    tail.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

/// A process that does nothing but turn: what the supervisor is compared with.
struct Idler(Child);

impl Drop for Idler {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process hardly works for two seconds, in which one that turns does.
fn is_calm(pid: i32) {
    let idler = Idler(Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("there is a shell"));
    let turning = i32::try_from(idler.0.id()).expect("a pid");
    let (before, idle) = (ticks(pid), ticks(turning));
    let deadline = Instant::now() + limit();
    while ticks(turning) < idle + 100 {
        assert!(Instant::now() < deadline, "one second of processor time");
        std::thread::sleep(Duration::from_millis(100));
    }
    let used = ticks(pid) - before;
    assert_ne!(process::read(pid).expect("it runs").state, 'Z');
    assert!(used < 25, "{used} ticks, where 100 would be a loop");
}

fn ask(stream: &mut UnixStream, line: &str) -> String {
    let _ = stream.write_all(line.as_bytes());
    let mut answer = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).is_ok_and(|length| length == 1) && byte != *b"\n" {
        answer.extend(byte);
    }
    String::from_utf8(answer).expect("UTF-8")
}

const STATUS: &str = "{\"version\":1,\"call\":\"status\"}\n";
const EVENTS: &str = "{\"version\":1,\"call\":\"events\"}\n";

fn sleeper(env: &Env) -> PathBuf {
    Aci::new("sleeper", busybox()).sh("echo began; exec sleep 600").build(env)
}

#[test]
fn a_supervisor_without_descriptors_is_calm_and_of_use_again() {
    needs!(place(Place::Host));
    needs!(tool("prlimit"));
    for user in [User::WithRange, User::Root] {
        let env = needs!(Env::of(user));
        let pod = Pod::start(&env, &sleeper(&env), "calm", &["--net=none"]);
        pod.exhaust();
        // The last descriptor is a client's.
        let mut first = pod.connect();
        assert!(ask(&mut first, STATUS).contains("\"running\""));
        let _events = ask(&mut first, EVENTS);
        // Nobody else comes in, and that costs nothing.
        let mut second = pod.connect();
        second.write_all(STATUS.as_bytes()).expect("it is connected");
        is_calm(pod.monitor);
        drop(first);
        assert!(ask(&mut second, "").contains("\"running\""), "it comes in when there is place");
        drop(second);
        // What needs descriptors is refused, what needs none works.
        env.proa(["enter", "calm", "/bin/true"]).outcome().refuses("no file descriptor left");
        env.proa(["cp", "calm:/bin/busybox", "-"]).outcome().refuses("no file descriptor left");
        env.proa(["attach", "calm"]).outcome().refuses("");
        env.proa(["status", "calm"]).outcome().succeeds().shows("state=running");
        env.proa(["logs", "calm"]).outcome().succeeds().shows("began");
        pod.restore();
        env.proa(["enter", "calm", "/bin/true"]).outcome().succeeds();
        pod.exhaust();
        env.proa(["stop", "calm"]).outcome().succeeds();
        env.proa(["rm", "calm"]).outcome().succeeds();
    }
}

/// An app that is to be restarted waits until it can be.
#[test]
fn a_restart_without_descriptors_is_made_later() {
    needs!(place(Place::Host));
    needs!(tool("prlimit"));
    let env = needs!(Env::of(User::WithRange));
    let pod = Pod::start(&env, &sleeper(&env), "again", &["--net=none", "--restart=always"]);
    pod.exhaust();
    let app = process::descendants(pod.monitor).into_iter().find(|it| it.name == "sleep").expect("the app");
    assert!(process::kill(app.pid, Signal::KILL));
    let deadline = Instant::now() + limit();
    let shows = |text: &str| loop {
        let status = env.proa(["status", "--format=json", "again"]).outcome().succeeds();
        if status.stdout.contains(text) {
            return;
        }
        assert!(Instant::now() < deadline, "{text}: {status}");
        std::thread::sleep(Duration::from_millis(50));
    };
    shows("os error 24");
    is_calm(pod.monitor);
    pod.restore();
    shows("\"state\":\"running\",\"attempt\"");
    let runs = || process::descendants(pod.monitor).iter().any(|it| it.name == "sleep");
    while !runs() {
        assert!(Instant::now() < deadline, "the app runs again");
        std::thread::sleep(Duration::from_millis(50));
    }
    env.proa(["enter", "again", "/bin/true"]).outcome().succeeds();
    env.proa(["stop", "again"]).outcome().succeeds();
    env.proa(["rm", "again"]).outcome().succeeds();
}

/// Who wants to join a network of pods waits for a supervisor that can hand it over.
#[test]
fn a_network_without_descriptors_is_handed_over_later() {
    needs!(place(Place::Host));
    needs!(tool("prlimit"));
    let env = needs!(Env::of(User::WithRange));
    let json = r#"{"rktKind":"network","rktVersion":"v1","name":"narrow","internal":true}"#;
    env.write("home/.config/proa/network.d/narrow.json", json);
    let image = sleeper(&env);
    let pod = Pod::start(&env, &image, "holder", &["--net=narrow"]);
    pod.exhaust();
    let args = ["--insecure-options=image", "run", "--detach", "--name=guest", "--net=narrow"];
    let joining = env.proa(args.into_iter().chain([image.to_str().expect("UTF-8")])).start();
    std::thread::sleep(Duration::from_millis(500));
    is_calm(pod.monitor);
    pod.restore();
    joining.wait().succeeds();
    env.proa(["enter", "guest", "/bin/grep", "holder", "/etc/hosts"]).outcome().succeeds();
    env.proa(["stop", "guest", "holder"]).outcome().succeeds();
    env.proa(["rm", "guest", "holder"]).outcome().succeeds();
}

/// Clients that say nothing, half of something, or something without an end, that pass descriptors, or listen: others are
/// served, and the supervisor does not grow.
#[test]
fn clients_that_take_all_there_is_are_in_nobodys_way() {
    needs!(place(Place::Host));
    let env = needs!(Env::of(User::WithRange));
    let pod = Pod::start(&env, &sleeper(&env), "beset", &["--net=none"]);
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", pod.monitor)).expect("it runs");
        let high = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
        high.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    };
    let before = memory();
    let works = || {
        env.proa(["status", "beset"]).outcome().succeeds().shows("state=running");
        env.proa(["enter", "beset", "/bin/true"]).outcome().succeeds();
        env.proa(["logs", "beset"]).outcome().succeeds().shows("began");
    };
    // As many as there are places, and some that wait for one.
    let many = |say: &dyn Fn(&mut UnixStream)| {
        let mut clients: Vec<UnixStream> = (0..120).map(|_| pod.connect()).collect();
        clients.iter_mut().for_each(say);
        works();
    };
    many(&|_| {});
    many(&|client| client.write_all(b"{\"version\":1,").expect("it is connected"));
    let long = vec![b'x'; 4 << 20];
    many(&|client| {
        client.set_write_timeout(Some(Duration::from_millis(20))).expect("a socket");
        let _ = client.write_all(&long);
    });
    let null = std::fs::File::open("/dev/null").expect("it is there");
    many(&|client| {
        let fds = [null.as_fd(); 240];
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(240))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
        // What is under way for a user is bounded by the kernel.
        let _ = sendmsg(&*client, &[IoSlice::new(b"{")], &mut ancillary, SendFlags::NOSIGNAL);
    });
    let used = std::fs::read_dir(format!("/proc/{}/fd", pod.monitor)).expect("root may look").count();
    assert!(used < 400, "{used} descriptors");
    let mut watchers: Vec<UnixStream> = (0..64).map(|_| pod.connect()).collect();
    watchers.iter_mut().for_each(|client| assert!(ask(client, EVENTS).contains("event")));
    let mut last = pod.connect();
    let _ = last.write_all(b"{\"version\":1,\"call\":\"events\"}\n");
    assert!(ask(&mut last, "").contains("64 clients listen"), "no place for what lasts");
    env.proa(["status", "beset"]).outcome().succeeds().shows("state=running");
    let after = memory();
    assert!(after < before + (40 << 10), "{before} kB, then {after} kB");
    env.proa(["stop", "beset"]).outcome().succeeds();
    env.proa(["rm", "beset"]).outcome().succeeds();
}
