//! The units of docs/guides/services.md, as they stand there, under a systemd user manager: the lab's guest has one.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use integration_tests::images::{Layout, busybox};
use integration_tests::needs::{Place, place};
use integration_tests::{Env, User, binaries, limit, needs, process};
use rustix::process::Signal;
use serde_json::json;

const GUIDE: &str = include_str!("../../docs/guides/services.md");

/// The indented lines that follow the first mention of a file: a unit, or several.
fn written(file: &str) -> String {
    let (_, after) = GUIDE.split_once(file).unwrap_or_else(|| panic!("{file} is not in the guide"));
    let lines = after.lines().skip(1).skip_while(|line| !line.starts_with("    "));
    let lines = lines.take_while(|line| line.is_empty() || line.starts_with("    "));
    lines.map(|line| format!("{}\n", line.trim_start())).collect()
}

/// Units of the user's manager that go with the test.
struct Units<'a> {
    env: &'a Env,
    files: Vec<PathBuf>,
}

impl<'a> Units<'a> {
    fn of(env: &'a Env) -> Self {
        Self { env, files: Vec::new() }
    }

    /// Gives the manager a unit, with this test's proa, data directory and files in the places of the user's.
    fn add(&mut self, name: &str, unit: &str) {
        let proa = format!("{} --dir {}", binaries::proa().display(), self.env.data().display());
        let unit = unit.replace("%h/bin/proa", &proa).replace("%h/bin/docker", &format!("{proa} docker"));
        let unit = unit.replace("%h", &self.env.root().display().to_string());
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").expect("a login session has one");
        let dir = PathBuf::from(runtime).join("systemd/user");
        std::fs::create_dir_all(&dir).expect("the session's directory is ours");
        let file = dir.join(name);
        std::fs::write(&file, unit).expect("the session's directory is ours");
        self.files.push(file);
        systemctl(&["daemon-reload"]);
    }
}

impl Drop for Units<'_> {
    fn drop(&mut self) {
        for file in &self.files {
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            let _ = Command::new("systemctl").args(["--user", "stop", &name]).status();
            let _ = std::fs::remove_file(file);
        }
        let _ = Command::new("systemctl").args(["--user", "daemon-reload"]).status();
    }
}

/// What `systemctl --user` says.
#[track_caller]
fn systemctl(words: &[&str]) -> String {
    let output = Command::new("systemctl").arg("--user").args(words).output().expect("the guest has systemd");
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success(), "{words:?}: {said} {}", String::from_utf8_lossy(&output.stderr));
    said
}

fn property(unit: &str, name: &str) -> String {
    systemctl(&["show", unit, "--property", name, "--value"])
}

/// What is served at the port, or why nothing is.
fn page(port: u16) -> std::io::Result<String> {
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    server.set_read_timeout(Some(Duration::from_secs(10)))?;
    server.write_all(b"GET /index.html HTTP/1.0\r\n\r\n")?;
    let mut page = String::new();
    server.read_to_string(&mut page)?;
    Ok(page)
}

/// Waits until the port serves this.
#[track_caller]
fn serves(port: u16, text: &str) {
    let deadline = Instant::now() + limit();
    loop {
        let served = page(port);
        if served.as_ref().is_ok_and(|page| page.contains(text)) {
            return;
        }
        assert!(Instant::now() < deadline, "{served:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// An image that serves its pages at port 8080, called as in the guide.
fn image(env: &Env) {
    let serves = ["busybox", "httpd", "-f", "-p", "8080", "-h", "/usr/share/nginx/html"];
    let layout = Layout::new("nginx")
        .layer(busybox().dir("usr/share/nginx/html", 0o755))
        .config("Cmd", json!(serves))
        .build(env);
    let id = env.store(format!("oci:{}", layout.display()));
    env.proa(["image", "tag", &id, "registry.example.com/nginx:1"]).outcome().succeeds();
}

fn names(env: &Env, list: &[&str]) -> String {
    env.proa(["docker", "ps", "--format", "{{.Names}}"].iter().chain(list)).outcome().succeeds().stdout
}

#[test]
fn a_service_serves_comes_back_when_it_is_killed_and_stops_in_order() {
    needs!(place(Place::Vm));
    let env = needs!(Env::of(User::WithRange));
    image(&env);
    let pages = env.path("pages");
    env.make_dir(&pages);
    env.write("pages/index.html", "of the site\n");
    let mut units = Units::of(&env);
    // The guest has no pasta: it serves on the host's network.
    let unit = written("`~/.config/systemd/user/site.service`").replace("--port=80:8080", "--net=host");
    units.add("site.service", &unit);
    systemctl(&["start", "site"]);
    serves(8080, "of the site");
    env.proa(["status", "site"]).outcome().succeeds().shows("state=running\n");

    // Nothing is left in the way of the next one.
    let supervisor: i32 = property("site", "MainPID").parse().expect("a number");
    process::kill(supervisor, Signal::KILL);
    let deadline = Instant::now() + limit();
    while ["0".to_owned(), supervisor.to_string()].contains(&property("site", "MainPID")) {
        assert!(Instant::now() < deadline, "systemd has not started it again");
        std::thread::sleep(Duration::from_millis(100));
    }
    serves(8080, "of the site");

    // `TERM` ends the server, and that is no failure.
    systemctl(&["stop", "site"]);
    assert_eq!((property("site", "ActiveState"), property("site", "Result")), ("inactive".into(), "success".into()));
    page(8080).expect_err("nobody listens");
    assert_eq!(names(&env, &["-a"]), "");
    drop(units);
}

#[test]
fn containers_with_a_policy_are_started_with_the_machine_and_stopped_with_it() {
    needs!(place(Place::Vm));
    let env = needs!(Env::of(User::WithRange));
    image(&env);
    let run = |options: &[&str]| {
        let base = ["docker", "run", "-d", "--network=none"];
        let words = [&base[..], options, &["registry.example.com/nginx:1", "sleep", "1000"]].concat();
        env.proa(words).outcome().succeeds();
    };
    run(&["--name=always", "--restart=always"]);
    run(&["--name=unless", "--restart=unless-stopped"]);
    run(&["--name=stopped", "--restart=unless-stopped"]);
    run(&["--name=never"]);
    let mut units = Units::of(&env);
    units.add("containers.service", &written("`~/.config/systemd/user/containers.service`"));
    env.proa(["docker", "kill", "always", "stopped"]).outcome().succeeds();
    // As after a reboot.
    for name in ["unless", "never"] {
        let pid = env.proa(["docker", "inspect", "-f", "{{.State.Pid}}", name]).outcome().succeeds();
        let pid = pid.line().parse().expect("a number");
        assert!(process::kill(process::read(pid).expect("it runs").parent, Signal::KILL));
    }
    env.proa(["docker", "wait", "always", "unless", "stopped", "never"]).outcome().succeeds();
    assert_eq!(names(&env, &[]), "");
    // The machine's way down is nobody's wish.
    for _ in 0..2 {
        systemctl(&["start", "containers"]);
        let mut running: Vec<String> = names(&env, &[]).lines().map(str::to_owned).collect();
        running.sort();
        assert_eq!(running, ["always", "unless"]);
        systemctl(&["stop", "containers"]);
        assert_eq!(names(&env, &[]), "");
        assert_eq!(property("containers", "Result"), "success");
    }
    drop(units);
    env.proa(["docker", "rm", "always", "unless", "stopped", "never"]).outcome().succeeds();
}

#[test]
fn a_timer_removes_what_has_ended() {
    needs!(place(Place::Vm));
    let env = needs!(Env::of(User::WithRange));
    image(&env);
    env.proa(["docker", "run", "--name=over", "--network=none", "registry.example.com/nginx:1", "true"])
        .outcome()
        .succeeds();
    let both = written("`~/.config/systemd/user/proa-gc.service` and `proa-gc.timer`");
    let (service, timer) = both.split_once("[Timer]").expect("there are two units");
    let mut units = Units::of(&env);
    // The first marks what has ended, and the next finds that it has been so for long enough.
    units.add("proa-gc.service", &service.replace("--grace-period=7d", "--grace-period=0s"));
    units.add("proa-gc.timer", &format!("[Timer]{timer}"));
    systemctl(&["start", "proa-gc.timer"]);
    assert_eq!(property("proa-gc.timer", "ActiveState"), "active");
    for _ in 0..2 {
        systemctl(&["start", "proa-gc.service"]);
        assert_eq!(property("proa-gc.service", "Result"), "success");
    }
    assert_eq!(names(&env, &["-a"]), "");
    drop(units);
}
