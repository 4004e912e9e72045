//! Much data, many connections, slow readers.

use super::*;

/// A stream of bytes that repeats only after long, so that a lost or doubled block cannot go unnoticed.
fn noise(seed: u64) -> impl FnMut(&mut [u8]) {
    let mut state = seed | 1;
    move |block| {
        for word in block.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
        }
    }
}

const BULK: usize = 100 << 20;

const BLOCK: usize = 32 << 10;

/// Writes the noise to its end and gives its checksum.
fn pour(mut write: impl FnMut(&[u8]), seed: u64) -> Vec<u8> {
    let (mut fill, mut hash, mut block) = (noise(seed), Sha256::new(), vec![0; BLOCK]);
    for _ in 0..BULK / BLOCK {
        fill(&mut block);
        hash.update(&block);
        write(&block);
    }
    hash.finalize().to_vec()
}

/// 100 MB from the backend to a socket and 100 MB back, at the same time.
fn carry(mut backend: Backend, socket: impl Read + Write + Send + 'static, clone: impl Write + Send + 'static) {
    let mut socket = socket;
    let mut clone = clone;
    let into = std::thread::spawn(move || pour(|it| clone.write_all(it).expect("the agent reads"), 1));
    let out = std::thread::spawn(move || {
        let (mut hash, mut block, mut left) = (Sha256::new(), vec![0; 1 << 16], BULK);
        while left > 0 {
            let count = socket.read(&mut block).expect("the agent writes");
            assert!(count > 0, "{left} bytes are missing");
            hash.update(&block[..count]);
            left -= count;
        }
        (hash.finalize().to_vec(), socket)
    });
    let mut stdin = backend.take_stdin();
    let sent = std::thread::spawn(move || {
        let sum = pour(|it| stdin.write_all(&packet(DATA, 1, Some(it))).expect("the agent reads"), 2);
        (sum, stdin)
    });
    let (mut hash, mut left) = (Sha256::new(), BULK);
    while left > 0 {
        let data = backend.expect(DATA, 1);
        hash.update(&data);
        left -= data.len();
    }
    assert!(hash.finalize().to_vec() == into.join().expect("all is written"), "to the backend");
    let (received, socket) = out.join().expect("all is read");
    let (sum, mut stdin) = sent.join().expect("all is sent");
    assert!(received == sum, "from the backend");
    drop(socket);
    backend.expect(CLOSE, 1);
    stdin.write_all(&[packet(SUCCESS, 1, None), packet(NO_MORE, 0, None)].concat()).expect("the agent reads");
    backend.ends(0);
}

#[test]
fn direct_forward_carries_100_mb_both_ways() {
    needs!(place(Place::Host));
    let (listener, port) = listening();
    let mut backend = Backend::set_up(&DIAL);
    backend.dial(1, "127.0.0.1", port);
    let (socket, _) = listener.accept().expect("the agent connects");
    backend.expect(SUCCESS, 1);
    let clone = socket.try_clone().expect("a descriptor");
    carry(backend, socket, clone);
}

#[test]
fn reverse_forward_carries_100_mb_both_ways() {
    needs!(place(Place::Host));
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().join("socket");
    let shown = path.display().to_string();
    let mut backend = Backend::set_up(&Setup { kind: 3, host: &shown, protocol: "unix", ..DIAL });
    let socket = loop {
        if let Ok(socket) = UnixStream::connect(&path) {
            break socket;
        }
    };
    backend.expect(NEW_CONNECTION, 1);
    backend.send(SUCCESS, 1, None);
    let clone = socket.try_clone().expect("a descriptor");
    carry(backend, socket, clone);
}

/// The most memory the process has had, in bytes.
fn peak_memory(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|it| it.starts_with("VmHWM:")).expect("the line is there");
    line.split_whitespace().nth(1).and_then(|it| it.parse::<usize>().ok()).expect("a number") << 10
}

#[test]
fn a_slow_reader_is_its_own_problem() {
    let (listener, port) = listening();
    let mut backend = Backend::set_up(&DIAL);
    backend.dial(1, "127.0.0.1", port);
    let (slow, _) = listener.accept().expect("the agent connects");
    backend.expect(SUCCESS, 1);
    let server = shouting(listener, |it| it.accept().expect("the agent connects").0);
    backend.dial(2, "127.0.0.1", port);
    backend.expect(SUCCESS, 2);
    // More than the kernel keeps for a reader that never reads.
    for _ in 0..200 {
        backend.send(DATA, 1, Some(&[7; 100_000]));
    }
    backend.send(DATA, 2, Some(b"beside it"));
    assert_eq!(backend.data(2, 9), b"BESIDE IT");
    // More than the agent keeps: the connection that holds up the other one is closed, and memory is bounded.
    for _ in 0..400 {
        backend.send(DATA, 1, Some(&[7; 100_000]));
    }
    backend.send(DATA, 2, Some(b"still"));
    let mut heard = Vec::new();
    let mut closed = false;
    while heard.len() < 5 || !closed {
        let packet = backend.packet().expect("a packet");
        match (packet.kind, packet.id) {
            (CLOSE, 1) => closed = true,
            (DATA, 2) => heard.extend(packet.payload.expect("data")),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(heard, b"STILL");
    assert!(peak_memory(backend.pid()) < 80 << 20, "{} bytes", peak_memory(backend.pid()));
    backend.close_stdin();
    server.join().expect("the server saw the end");
    assert!(backend.ends(0).contains("\"code\":\"AGENT_CONNECTION_STALLED\""));
    drop(slow);
}

/// A reader that is alone holds up only itself, for as long as it likes.
#[test]
fn a_slow_reader_that_is_alone_loses_nothing() {
    let (listener, port) = listening();
    let mut backend = Backend::set_up(&DIAL);
    backend.dial(1, "127.0.0.1", port);
    let (mut slow, _) = listener.accept().expect("the agent connects");
    backend.expect(SUCCESS, 1);
    let mut stdin = backend.take_stdin();
    let sender = std::thread::spawn(move || {
        for _ in 0..600 {
            stdin.write_all(&packet(DATA, 1, Some(&[7; 100_000]))).expect("the agent reads in the end");
        }
        stdin.write_all(&packet(CLOSE, 1, None)).expect("the agent reads in the end");
        stdin
    });
    while peak_memory(backend.pid()) < 32 << 20 {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(100));
    assert!(!sender.is_finished(), "the agent stopped reading");
    let mut all = Vec::new();
    slow.read_to_end(&mut all).expect("it is closed in order");
    assert_eq!(all.len(), 60_000_000);
    backend.expect(SUCCESS, 1);
    drop(sender.join().expect("all is sent"));
    assert!(peak_memory(backend.pid()) < 80 << 20);
    backend.ends(0);
}

/// A backend that does not read does not make the agent hoard what sockets send.
#[test]
fn a_backend_that_does_not_read_stops_the_sockets() {
    let (listener, port) = listening();
    let mut backend = Backend::set_up(&DIAL);
    backend.dial(1, "127.0.0.1", port);
    let (mut socket, _) = listener.accept().expect("the agent connects");
    backend.expect(SUCCESS, 1);
    socket.set_write_timeout(Some(Duration::from_millis(300))).expect("a time");
    let mut sent = 0;
    while let Ok(count) = socket.write(&[1; 1 << 16]) {
        sent += count;
    }
    assert!(peak_memory(backend.pid()) < 16 << 20, "{sent} bytes were taken");
    let pid = backend.pid();
    backend.data(1, sent);
    assert!(peak_memory(pid) < 16 << 20);
}

/// Many at once, each with its own order.
#[test]
fn hundreds_of_connections() {
    let (listener, port) = listening();
    let mut backend = Backend::set_up(&DIAL);
    const COUNT: u64 = 300;
    let server = std::thread::spawn(move || {
        let mut sockets: Vec<TcpStream> =
            (0..COUNT).map(|_| listener.accept().expect("the agent connects").0).collect();
        for socket in &mut sockets {
            let mut line = [0; 8];
            socket.read_exact(&mut line).expect("the agent writes");
            socket.write_all(&line).expect("the agent reads");
        }
    });
    for id in 1..=COUNT {
        backend.dial(id, "127.0.0.1", port);
    }
    let mut sums = vec![Vec::new(); COUNT as usize + 1];
    let mut open = 0;
    while open < COUNT || sums[1..].iter().any(|it| it.len() < 8) {
        let packet = backend.packet().expect("a packet");
        match packet.kind {
            SUCCESS => {
                open += 1;
                backend.send(DATA, packet.id, Some(&packet.id.to_le_bytes()));
            }
            DATA => sums[packet.id as usize].extend(packet.payload.expect("data")),
            CLOSE => backend.send(SUCCESS, packet.id, None),
            _ => panic!("{packet:?}"),
        }
    }
    assert!((1..=COUNT).all(|id| sums[id as usize] == id.to_le_bytes()));
    server.join().expect("it is done");
}
