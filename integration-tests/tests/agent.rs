//! The guest agent's modes but forwarding: contracts of ContainerSSH's agent, tried on the real binary.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Output, Stdio};

use integration_tests::needs::{Place, place, tool};
use integration_tests::{binaries, needs};
use tempfile::TempDir;

/// The agent with these arguments, output captured, no input, and a known environment.
fn agent<const N: usize>(args: [&str; N]) -> Command {
    let mut command = Command::new(binaries::agent());
    command.args(args).env_clear().env("FOO", "inherited").env("PATH", "/usr/bin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(command: &mut Command) -> Output {
    command.output().expect("the agent can be executed")
}

fn output_of(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("the agent can be executed");
    // An agent that refuses its first byte is gone before the last.
    let _ = child.stdin.take().expect("piped").write_all(input);
    child.wait_with_output().expect("it is our child")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A refusal of the command line: the error on standard error, the usage behind an empty line on standard output.
#[track_caller]
fn refused(output: &Output, status: i32, message: &str) {
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    assert_eq!(text(&output.stderr), format!("Error: {message}\n"));
    assert!(text(&output.stdout).starts_with("\ncontainerssh-agent"), "{output:?}");
}

#[track_caller]
fn ends(output: &Output, status: i32, stdout: &str, stderr: &str) {
    let got = (output.status.code(), text(&output.stdout), text(&output.stderr));
    assert_eq!(got, (Some(status), stdout.to_owned(), stderr.to_owned()));
}

#[test]
fn console_sets_variables() {
    let shown = output(&mut agent(["console", "--env", "FOO=bar", "--env", "NEW=", "--", "/usr/bin/env"]));
    ends(&shown, 0, "FOO=bar\nPATH=/usr/bin:/bin\nNEW=\n", "");
    // A shell sees what getenv sees.
    let seen = output(&mut agent(["console", "--env", "FOO=b=c", "--", "/bin/sh", "-c", "echo $FOO"]));
    ends(&seen, 0, "b=c\n", "");
    ends(&output(&mut agent(["console", "--", "/usr/bin/env"])), 0, "FOO=inherited\nPATH=/usr/bin:/bin\n", "");
}

#[test]
fn console_waits_for_one_byte() {
    for first in ["\0", "\n"] {
        let mut command = agent(["console", "--wait", "--", "/bin/cat"]);
        ends(&output_of(&mut command, format!("{first}\0rest\n").as_bytes()), 0, "\0rest\n", "");
    }
    let x = output_of(&mut agent(["console", "--wait", "--", "/bin/cat"]), b"x\n");
    refused(&x, 2, "Unexpected first character. Send either a null or a newline character to start program.");
    let end = output(&mut agent(["console", "--wait", "--", "/bin/cat"]));
    refused(&end, 2, "Failed to read from stdin (EOF)");
    let directory = fs::File::open("/").expect("it is there");
    let unreadable = output(agent(["console", "--wait", "--", "/bin/cat"]).stdin(directory));
    refused(&unreadable, 2, "Failed to read from stdin (is a directory)");
}

#[test]
fn console_tells_the_programs_pid() {
    // --wait comes first: nothing is written before the byte.
    let mut command = agent(["console", "--pid", "--wait", "--", "/bin/sh", "-c", "echo $$"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("the agent can be executed");
    let pid = child.id();
    child.stdin.take().expect("piped").write_all(b"\n").expect("it waits");
    let output = child.wait_with_output().expect("it is our child");
    let (head, rest) = output.stdout.split_at(4);
    assert_eq!(head, pid.to_le_bytes());
    assert_eq!(text(rest), format!("{pid}\n"));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there");
    let unwritable = agent(["console", "--pid", "--", "/bin/true"]).stdout(full).status();
    assert_eq!(unwritable.expect("it runs").code(), Some(3));
}

#[test]
fn console_reports_what_it_cannot_execute() {
    let dir = TempDir::new().expect("a folder");
    let file = |name: &str, mode| {
        let path = dir.path().join(name);
        fs::write(&path, "\x7fELF no more").expect("it is ours");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("it is ours");
        path.display().to_string()
    };
    for (program, message) in [
        ("/none/such", "no such file or directory"),
        // PATH is not searched.
        ("true", "no such file or directory"),
        (&file("closed", 0o644), "permission denied"),
        (&file("nonsense", 0o755), "exec format error"),
    ] {
        ends(&output(&mut agent(["console", "--", program])), 127, "", message);
    }
    refused(&output(&mut agent(["console"])), 1, "no program to run passed");
    refused(&output(&mut agent(["console", "--pid"])), 1, "no program to run passed");
    refused(&output(&mut agent(["console", "--"])), 1, "no program to run passed");
    refused(&output(&mut agent(["console", "--env"])), 1, "--env requires an argument");
    refused(&output(&mut agent(["console", "--env", "--pid"])), 1, "--env requires an argument");
    let form = "--env requires an argument in the format of NAME=VALUE";
    refused(&output(&mut agent(["console", "--env", "FOO"])), 1, form);
    refused(&output(&mut agent(["console", "/bin/true"])), 1, "invalid parameter: /bin/true");
}

/// The program begins as if the agent had not been there.
#[test]
fn console_leaves_signals_alone() {
    let masks = |output: Output| {
        let status = text(&output.stdout);
        // `SigQ` counts what is queued for all processes of the user.
        let is_mask = |it: &&str| it.starts_with("Sig") && !it.starts_with("SigQ");
        status.lines().filter(is_mask).map(str::to_owned).collect::<Vec<_>>()
    };
    let without = masks(Command::new("/bin/cat").arg("/proc/self/status").output().expect("it is there"));
    assert!(without.len() >= 4);
    assert_eq!(masks(output(&mut agent(["console", "--", "/bin/cat", "/proc/self/status"]))), without);
}

/// A process that any signal ends, as the user `nobody` when the test is root.
fn sleeper() -> std::process::Child {
    let mut command = Command::new("sleep");
    command.arg("1000");
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    command.spawn().expect("sleep is there")
}

#[test]
fn signals_are_sent() {
    for (name, number) in [("TERM", 15), ("USR1", 10), ("KILL", 9), ("ALRM", 14)] {
        let mut target = sleeper();
        let pid = target.id().to_string();
        ends(&output(&mut agent(["signal", "--pid", &pid, "--signal", name])), 0, "", "");
        assert_eq!(target.wait().expect("it is our child").signal(), Some(number));
    }
    let mut target = sleeper();
    let pid = target.id().to_string();
    target.kill().and_then(|()| target.wait()).expect("it is our child");
    let gone = output(&mut agent(["signal", "--pid", &pid, "--signal", "TERM"]));
    ends(&gone, 2, "", "process not found (no such process)");
    for (args, message) in [
        (&["--pid", "1", "--signal", "SIGTERM"][..], "unsupported signal: SIGTERM"),
        (&["--pid", "1", "--pid", "1"], "--pid is duplicate"),
        (&["--pid", "0"], "--pid requires a positive integer argument"),
        (&["--pid", "4294967297"], "--pid requires a positive integer argument"),
        (&["--pid"], "--pid requires an argument"),
        (&["--signal"], "--signal requires an argument"),
        (&["--signal", "TERM"], "missing required --pid option"),
        (&["--pid", "1"], "missing required --signal option"),
        (&["--force"], "unknown option: --force"),
    ] {
        refused(&output(agent(["signal"]).args(args)), 1, message);
    }
}

#[test]
fn a_signal_that_is_not_permitted_is_told() {
    let mut target = Command::new("sleep").arg("1000").spawn().expect("sleep is there");
    let pid = if rustix::process::geteuid().is_root() { target.id().to_string() } else { "1".to_owned() };
    let mut command = agent(["signal", "--pid", &pid, "--signal", "TERM"]);
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    ends(&output(&mut command), 3, "", "failed to send signal (operation not permitted)");
    target.kill().and_then(|()| target.wait()).expect("it is our child");
}

/// Waits until the process has blocked a signal: then it waits for it.
fn wait_until_blocked(pid: u32, signal: i32) {
    let deadline = std::time::Instant::now() + integration_tests::limit();
    let blocked = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let mask = status.lines().find_map(|it| it.strip_prefix("SigBlk:\t")).unwrap_or("0").to_owned();
        u64::from_str_radix(&mask, 16).expect("hexadecimal") >> (signal - 1) & 1 == 1
    };
    while !blocked() {
        assert!(std::time::Instant::now() < deadline, "process {pid} does not wait for signal {signal}");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn send(pid: u32, name: &str) {
    ends(&output(&mut agent(["signal", "--pid", &pid.to_string(), "--signal", name])), 0, "", "");
}

#[test]
fn wait_signal() {
    let args = ["wait-signal", "--signal", "INT", "--signal", "USR1", "--message", "Exited with INT."];
    for name in ["INT", "USR1"] {
        let child = agent(args).spawn().expect("the agent can be executed");
        wait_until_blocked(child.id(), 2);
        send(child.id(), name);
        ends(&child.wait_with_output().expect("it is our child"), 0, "Exited with INT.", "");
    }
    // Others keep their action.
    let child = agent(args).spawn().expect("the agent can be executed");
    wait_until_blocked(child.id(), 2);
    send(child.id(), "USR2");
    assert_eq!(child.wait_with_output().expect("it is our child").status.signal(), Some(12));
    for (args, message) in [
        (&[][..], "missing required --signal option"),
        (&["--message"], "--message requires an argument"),
        (&["--message", "a", "--message", "b"], "--message is duplicate"),
        (&["--signal", "SIGINT"], "unsupported signal: SIGINT"),
        (&["INT"], "unknown option: INT"),
    ] {
        refused(&output(agent(["wait-signal"]).args(args)), 1, message);
    }
}

/// As the first process of a pid namespace it gets its signal, and reaps what is left to it.
#[test]
fn wait_signal_as_process_1() {
    needs!(place(Place::Host));
    let unshare = needs!(tool("unshare"));
    let mut command = Command::new(unshare);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    // Its child leaves a grandchild behind that ends at once. Then the signal comes from inside, as through `exec`.
    let script = "agent=$1; (sh -c '(sleep 0.1 &) ; exec sleep 0.05' & wait; \
                  while grep -qs '^sleep$' /proc/[0-9]*/comm; do sh -c :; done; \
                  until \"$agent\" signal --pid 1 --signal INT; do :; done) & \
                  exec \"$agent\" wait-signal --signal INT --message bye";
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script, "sh"]);
    command.arg(binaries::agent());
    let output = command.stdin(Stdio::null()).output().expect("it can be executed");
    ends(&output, 0, "bye", "");
}

#[test]
fn write_file() {
    let dir = TempDir::new().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let mode = |path: &str| fs::metadata(path).expect("it is there").permissions().mode() & 0o7777;
    let (file, link) = (path("file"), path("link"));
    fs::write(&file, "what was there before, and longer").expect("it is ours");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("it is ours");
    symlink(&file, &link).expect("the folder is ours");
    // More than one read, and bytes that are no text.
    let content: Vec<u8> = (0..100_000_u32).map(|it| (it % 251) as u8).collect();
    for to in [&file, &link, &path("new")] {
        ends(&output_of(&mut agent(["write-file", to, "ignored"]), &content), 0, "", "");
        assert!(fs::read(to).expect("it is there") == content && mode(to) == 0o600, "{to}");
    }
    ends(&output(&mut agent(["write-file", &file])), 0, "", "");
    assert_eq!(fs::read(&file).expect("it is there"), b"");
    let missing = path("none/file");
    let message = format!("Error opening file: open {missing}: no such file or directory\n");
    ends(&output_of(&mut agent(["write-file", &missing]), b"x"), 1, "", &message);
    ends(&output(&mut agent(["write-file"])), 1, "", "");
    // A file that cannot grow. (Not /dev/full: root would change the mode of the host's device.)
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 0; exec \"$@\"", "sh"]).arg(agent([]).get_program());
    limited.args(["write-file", &path("limited")]).stdout(Stdio::piped()).stderr(Stdio::piped());
    ends(&output_of(&mut limited, b"x"), 1, "", "");
}

#[test]
fn usage_and_licence() {
    let licence = include_str!("../../LICENSE");
    ends(&output(&mut agent(["license"])), 0, &format!("{licence}\n"), "");
    refused(&output(&mut agent(["license", "x"])), 1, "license takes no arguments");
    refused(&output(&mut agent([])), 1, "not enough parameters");
    refused(&output(&mut agent(["shell"])), 1, "invalid mode: shell");
    for help in ["-h", "--help"] {
        let help = output(&mut agent([help]));
        assert_eq!((help.status.code(), &*help.stderr), (Some(0), &b""[..]));
        for mode in ["console", "signal", "wait-signal", "write-file", "forward-server", "license"] {
            assert!(text(&help.stdout).contains(&format!("\n{mode}\n    ")), "{mode} is not explained");
        }
        assert!(text(&help.stdout).lines().all(|it| it.len() <= 90), "a terminal shows it");
    }
    for words in [["license"], ["--help"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there");
        let full = output(agent(words).stdout(full));
        let message = "Error: write to standard output: no space left on device\n";
        assert_eq!((full.status.code(), text(&full.stderr)), (Some(1), message.into()), "{words:?}");
    }
    // Where standard output is a device, as the original: in red.
    let null = fs::OpenOptions::new().write(true).open("/dev/null").expect("it is there");
    let red = output(agent(["shell"]).stdout(null));
    assert_eq!(text(&red.stderr), "\u{1b}[31mError: invalid mode: shell\u{1b}[0m\n");
}

/// A terminal's client sees the byte that it sends echoed, and the program keeps the terminal.
#[test]
fn console_on_a_terminal() {
    needs!(place(Place::Host));
    let script = needs!(tool("script"));
    let line = format!("exec {} console --wait -- /usr/bin/tty", binaries::agent().display());
    let mut child = Command::new(script)
        .args(["--quiet", "--command", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be executed");
    child.stdin.take().expect("piped").write_all(b"\n").expect("it waits");
    let mut seen = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut seen).expect("text");
    assert!(child.wait().expect("it is our child").success(), "{seen}");
    assert!(seen.starts_with("\r\n/dev/pts/"), "{seen:?}");
}

/// In a root file system that has nothing but the agent.
#[test]
fn needs_nothing_of_the_image() {
    needs!(place(Place::Host));
    let unshare = needs!(tool("unshare"));
    let root = TempDir::new_in(binaries::work_dir()).expect("a folder");
    fs::copy(binaries::agent(), root.path().join("agent")).expect("the folder is ours");
    let mut command = Command::new(unshare);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg("--root").arg(root.path()).args(["/agent", "console", "--env", "A=1", "--", "/agent", "license"]);
    let output = command.output().expect("it can be executed");
    assert!(output.status.success() && text(&output.stdout).contains("Apache License"), "{output:?}");
}

#[test]
fn is_small() {
    let bytes = fs::read(binaries::agent()).expect("it is there");
    let stripped = !bytes.windows(8).any(|it| it == b".symtab\0");
    needs!(if stripped { Ok(()) } else { Err("needs the agent's release build".to_owned()) });
    assert!(bytes.len() <= 1_600_000, "{} bytes are too many for what is copied into every image", bytes.len());
}
