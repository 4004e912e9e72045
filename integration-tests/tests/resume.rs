//! A slow download that was killed goes on where it was.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use integration_tests::images::{Layout, OciLayer, Packing, Tree, busybox};
use integration_tests::registry::Setup;
use integration_tests::{Env, each_user, limit, needs};
use rustix::process::Signal;

/// Stands before a server: notes what it is asked, and lets no more than so many bytes of each connection's answers pass.
struct Gate {
    address: SocketAddr,
    most: Arc<AtomicU64>,
    asked: Arc<Mutex<String>>,
}

impl Gate {
    fn before(server: String, most: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let gate = Self { address, most: Arc::new(AtomicU64::new(most)), asked: Arc::default() };
        let (most, asked) = (Arc::clone(&gate.most), Arc::clone(&gate.asked));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(&server).expect("it listens");
                let (questions, answers) = (client.try_clone(), server.try_clone());
                let (asked, most) = (Arc::clone(&asked), Arc::clone(&most));
                let note = move |bytes: &[u8]| {
                    asked.lock().expect("nobody panicked").push_str(&String::from_utf8_lossy(bytes).to_lowercase());
                    true
                };
                let mut passed = 0;
                let stop = move |bytes: &[u8]| {
                    passed += bytes.len() as u64;
                    passed < most.load(Ordering::SeqCst)
                };
                std::thread::spawn(move || pass(questions.expect("a copy"), server, note));
                std::thread::spawn(move || pass(answers.expect("a copy"), client, stop));
            }
        });
        gate
    }
}

/// Passes on what `on` agrees to; then holds the connection, and says nothing more.
fn pass(mut from: TcpStream, mut to: TcpStream, mut on: impl FnMut(&[u8]) -> bool) {
    let mut bytes = vec![0; 64 << 10];
    let mut open = true;
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        open = open && on(&bytes[..length]);
        if open && to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// Bytes that no compression makes fewer, the same each time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

each_user! {
    a_killed_download_goes_on,
}

fn a_killed_download_goes_on(env: &Env) {
    let registry = needs!(Setup::plain().start(env, "registry"));
    let top = OciLayer::from(Tree::new().file("noise", noise(4 << 20), 0o644)).packed(Packing::Tar);
    let layout = Layout::new("app").layer(busybox()).layer(top).sh("wc -c </noise").build(env);
    needs!(registry.push(&layout, "app:v1", &["--preserve-digests"]));
    let gate = Gate::before(registry.host(), 3 << 20);
    let image = format!("docker://{}/app:v1", gate.address);
    let run = || env.proa(["--insecure-options=http", "run", "--net=none", "--progress=none", &image]);
    let running = run().start();
    let downloads = env.data().join("store/downloads");
    let kept = || -> u64 {
        let entries = fs::read_dir(&downloads).into_iter().flatten().flatten();
        entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).max().unwrap_or(0)
    };
    let deadline = Instant::now() + limit();
    while kept() < 2 << 20 {
        assert!(Instant::now() < deadline, "nothing of the download is kept");
        std::thread::sleep(Duration::from_millis(10));
    }
    running.kill(Signal::KILL);
    running.wait();
    let kept_then = kept();
    gate.most.store(u64::MAX, Ordering::SeqCst);
    gate.asked.lock().expect("nobody panicked").clear();
    run().outcome().succeeds().prints("4194304\n");
    let asked = gate.asked.lock().expect("nobody panicked").clone();
    let from = asked.lines().filter_map(|line| line.strip_prefix("range: bytes=")?.trim_end().strip_suffix('-'));
    let from: Option<u64> = from.filter_map(|from| from.parse().ok()).max();
    assert!(from.is_some_and(|from| from >= 2 << 20 && from <= kept_then), "of {kept_then}: {asked}");
    assert_eq!(kept(), 0, "it is in the store now");
    env.proa(["gc"]).outcome().succeeds();
}
