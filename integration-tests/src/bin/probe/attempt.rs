//! Attempts on files that belong to other processes, each told as one line of JSON.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use serde_json::json;

use crate::world;

/// Tries one path in every way a program can use it.
pub(crate) fn everything_on(path: &str) {
    tell(path, "read", read(path));
    tell(path, "write", OpenOptions::new().write(true).open(path).map(drop));
    tell(path, "read-write", OpenOptions::new().read(true).write(true).open(path).map(drop));
    tell(path, "list", list(path));
    tell(path, "execute", execute(path));
    match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => {
            let again = format!("/proc/self/fd/{}", fd.as_raw_fd());
            tell(path, "read by descriptor", read(&again));
            tell(path, "write by descriptor", OpenOptions::new().write(true).open(&again).map(drop));
            tell(path, "execute by descriptor", execute(&again));
            tell(path, "list by descriptor", list(&again));
        }
        Err(e) => tell(path, "path", Err(e.into())),
    }
}

/// Tries the files of every other process but the parent, the same app's, once there is one besides pid 1.
pub(crate) fn everything_on_siblings() {
    let own = [std::process::id(), std::os::unix::process::parent_id()].map(|pid| if pid == 1 { 0 } else { pid });
    let deadline = Instant::now() + Duration::from_secs(20);
    let others = loop {
        let others: Vec<u32> = world::numbered("/proc").into_iter().filter(|pid| !own.contains(pid)).collect();
        if others.len() > 1 || Instant::now() > deadline {
            break others;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    for pid in others {
        for file in ["exe", "root", "cwd", "fd", "environ", "mem", "maps", "fd/0", "fd/1", "fd/2"] {
            everything_on(&format!("/proc/{pid}/{file}"));
        }
        for file in ["root/probe", "root/bin/busybox", "root/etc/passwd", "cwd/probe", "map_files"] {
            everything_on(&format!("/proc/{pid}/{file}"));
        }
        let alive = rustix::process::Pid::from_raw(pid as i32).map(rustix::process::test_kill_process);
        tell(&format!("/proc/{pid}"), "signal", alive.expect("it is not 0").map_err(Into::into));
    }
}

/// The overwriting of a container runtime: take hold of the running program, wait until nothing executes it (the
/// kernel refuses to write a running program, whoever asks), write through what was taken hold of.
pub(crate) fn overwrite_program(pid: &str, when: &str) {
    let path = format!("/proc/{pid}/exe");
    let held = match File::open(&path) {
        Ok(held) => held,
        Err(e) => return tell(&path, "overwrite", Err(e)),
    };
    tell(&path, "hold", Ok(()));
    let deadline = Instant::now() + Duration::from_secs(20);
    while !Path::new(when).exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let again = format!("/proc/self/fd/{}", held.as_raw_fd());
    let write = || OpenOptions::new().write(true).open(&again)?.write_all_at(b"overwritten", 0);
    tell(&path, "overwrite", write());
}

fn read(path: &str) -> io::Result<()> {
    let mut byte = [0];
    // Not a byte may come; that there is none (an empty file, a closed pipe) is as good as having got one.
    let file = OpenOptions::new().read(true).open(path)?;
    rustix::fs::fcntl_setfl(&file, OFlags::NONBLOCK)?;
    match (&file).read(&mut byte) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
        other => other.map(drop),
    }
}

fn list(path: &str) -> io::Result<()> {
    // To open the folder is not enough: some of /proc refuse only when they are read.
    fs::read_dir(path)?.try_for_each(|entry| entry.map(drop))
}

fn execute(path: &str) -> io::Result<()> {
    let quiet = Stdio::null;
    Command::new(path).arg("--version").stdin(quiet()).stdout(quiet()).stderr(quiet()).status().map(drop)
}

fn tell(path: &str, how: &str, result: io::Result<()>) {
    let result = match result {
        Ok(()) => "ok".to_owned(),
        Err(e) => match e.raw_os_error() {
            Some(errno) => syscalls::Errno::new(errno).name().map_or_else(|| errno.to_string(), str::to_owned),
            None => e.to_string(),
        },
    };
    super::tell(&json!({"path": path, "how": how, "result": result}));
}
