//! What ContainerSSH needs of an engine, through `proa enter`, and its agent in images that do not have it.

use std::fs;

use integration_tests::images::{Aci, Layout, Tree, busybox, sha256};
use integration_tests::needs::tool;
use integration_tests::{Env, Outcome, User, binaries, each_user, needs};
use serde_json::{Value, json};

const AGENT: &str = "/usr/bin/containerssh-agent";

/// A pod whose app is ContainerSSH's idle command, in an image that has a shell and no agent.
struct Idle<'e> {
    env: &'e Env,
    uuid: String,
}

impl<'e> Idle<'e> {
    fn start(env: &'e Env) -> Self {
        let image = Aci::new("guest", busybox()).build(env);
        let idle = ["--exec", AGENT, "--", "wait-signal", "--signal", "INT", "--signal", "TERM"];
        let args = ["--insecure-options=image", "run", "--detach", "--net=none", "--guest-agent"];
        let args = [&args[..], &[image.to_str().expect("UTF-8")], &idle].concat();
        let uuid = env.proa(args).outcome().succeeds().stdout.trim().to_owned();
        Self { env, uuid }
    }

    fn enter(&self, options: &[&str], words: &[&str]) -> integration_tests::Proa<'e> {
        self.env.proa([&["enter"], options, &[&*self.uuid], words].concat())
    }

    /// Ends it as ContainerSSH does: the idle command gets a signal, and ends well.
    fn stop(self) -> Value {
        self.env.proa(["stop", &self.uuid]).outcome().succeeds();
        let status = self.env.proa(["status", "--format=json", &self.uuid]).outcome().succeeds();
        self.env.proa(["rm", &self.uuid]).outcome().succeeds();
        serde_json::from_str(&status.stdout).expect("JSON")
    }
}

each_user! {
    the_agent_is_in_any_pod,
    the_agent_cannot_be_changed,
    status_streams_and_environment,
    signals_by_a_second_enter,
}

fn the_agent_is_in_any_pod(env: &Env) {
    // An image that has nothing at all.
    let image = Aci::new("empty", Tree::new().file("only", "", 0o644)).build(env);
    let run = |more: &[&str], words: &[&str]| {
        let args = ["--insecure-options=image", "run", "--net=none"];
        let args = [&args[..], more, &[image.to_str().expect("UTF-8"), "--exec", AGENT, "--"], words].concat();
        env.proa(args).outcome()
    };
    run(&["--guest-agent"], &["license"]).succeeds().quietly().shows("Apache License");
    run(&["--guest-agent"], &["nonsense"]).exits(1).stderr_shows("Error: invalid mode: nonsense\n");
    run(&[], &["license"]).refuses_with(127, AGENT);
    // What was prepared finds it later, and a read-only root is no hindrance.
    let args = ["--insecure-options=image", "prepare", "--net=none", "--guest-agent", image.to_str().expect("UTF-8")];
    let args = [&args[..], &["--readonly-rootfs", "--exec", AGENT, "--", "license"]].concat();
    let uuid = env.proa(args).outcome().succeeds().line().to_owned();
    fs::remove_file(env.data().join("guest-agent/containerssh-agent")).expect("it is there");
    env.proa(["run-prepared", &uuid]).outcome().succeeds().shows("Apache License");
    env.proa(["rm", &uuid]).outcome();
}

/// Not by the app's root, nor through the process that it is; and the program on the host is out of reach.
fn the_agent_cannot_be_changed(env: &Env) {
    let script = format!(
        "{AGENT} wait-signal --signal TERM & agent=$!\n\
         for file in {AGENT} /proc/$agent/exe; do (echo x >>$file) && echo \"$file was written\"; done\n\
         chmod 777 {AGENT} && echo chmod; rm -f {AGENT} && echo rm; mv /own {AGENT} && echo mv\n\
         mount -o remount,rw,bind {AGENT} && echo remount; umount {AGENT} && echo umount\n\
         echo x >>/own && echo control; kill $agent; {AGENT} license | grep -c Apache"
    );
    let image = Aci::new("attacker", busybox().file("own", "", 0o644)).sh(&script).build(env);
    let before = sha256(&fs::read(binaries::proa()).expect("it is there"));
    let outcome = env.run(&image, &[]).binary(env.own_proa()).outcome();
    assert!(outcome.stdout.contains("control"), "without the agent the script works: {outcome}");
    let args = ["--insecure-options=image", "run", "--net=none", "--guest-agent", image.to_str().expect("UTF-8")];
    let outcome = env.proa(args).binary(env.own_proa()).outcome().succeeds();
    let said: Vec<&str> = outcome.stdout.lines().collect();
    assert!(said[0] == "control" && said.len() == 2, "{outcome}");
    for file in [env.path("proa"), env.data().join("guest-agent/containerssh-agent")] {
        assert_eq!(sha256(&fs::read(&file).expect("it is there")), before, "{} was changed", file.display());
    }
}

fn status_streams_and_environment(env: &Env) {
    let pod = Idle::start(env);
    pod.enter(&[], &["sh", "-c", "exit 42"]).outcome().exits(42).prints("").quietly();
    let streams = pod.enter(&[], &["sh", "-c", "cat; echo error >&2"]).outcome_with_input(b"input");
    streams.succeeds().prints("input").stderr_shows("error\n");
    // As the engine sets it, and as the agent does.
    let shown = ["sh", "-c", "echo $FOO"];
    pod.enter(&["--env", "FOO=Hello world!"], &shown).outcome().succeeds().prints("Hello world!\n");
    let console = ["console", "--env", "FOO=Hello world!", "--", "/bin/sh", "-c", "echo $FOO"];
    pod.enter(&[], &[&[AGENT], &console[..]].concat()).outcome().succeeds().prints("Hello world!\n");
    // A file through standard input, to its end.
    let content: Vec<u8> = (0..100_000_u32).map(|it| (it % 251) as u8).collect();
    pod.enter(&[], &[AGENT, "write-file", "/tmp-file"]).outcome_with_input(&content).succeeds().quietly();
    let written = pod.enter(&[], &["sh", "-c", "stat -c %a /tmp-file; sha256sum </tmp-file"]).outcome().succeeds();
    written.prints(&format!("600\n{}  -\n", sha256(&content)));
    let status = pod.stop();
    assert_eq!(status["exit_status"], json!(0), "{status}");
}

fn signals_by_a_second_enter(env: &Env) {
    let pod = Idle::start(env);
    // Numbers are decimal here; the agent's own form is binary.
    let script = format!("echo $$; exec {AGENT} wait-signal --signal USR1 --message 'USR1 received'");
    let mut waiting = pod.enter(&[], &["sh", "-c", &script]).start();
    let pid = waiting.wait_for("");
    let asleep =
        format!("until grep -q '^State:.S' /proc/{pid}/status && grep -q agent /proc/{pid}/cmdline; do :; done");
    pod.enter(&[], &["sh", "-c", &asleep]).outcome().succeeds();
    pod.enter(&[], &[AGENT, "signal", "--pid", &pid, "--signal", "USR1"]).outcome().succeeds().quietly();
    waiting.wait().succeeds().prints(&format!("{pid}\nUSR1 received"));
    pod.enter(&[], &[AGENT, "signal", "--pid", &pid, "--signal", "USR1"]).outcome().exits(2);
    pod.stop();
}

fn with_range() -> Result<Env, integration_tests::needs::Why> {
    Env::of(User::WithRange)
}

/// The image says that it wants the agent, and the user has the last word.
#[test]
fn images_ask_for_the_agent() {
    let env = needs!(with_range());
    let script = format!("test -x {AGENT} && echo there || echo none");
    let annotated = Aci::new("annotated", busybox()).sh(&script).manifest(|manifest| {
        manifest["annotations"] = json!([{"name": "proa.local/guest-agent", "value": "true"}]);
    });
    let labelled = Layout::new("labelled").layer(busybox()).sh(&script);
    let labelled = labelled.config("Labels", json!({"proa.local/guest-agent": "true"})).build(&env);
    let plain = Layout::new("plain").layer(busybox()).sh(&script).build(&env);
    let of = |dir: &std::path::Path| format!("oci:{}:latest", dir.display());
    let run = |more: &[&str], image: &str| {
        let args = [&["--insecure-options=image", "run", "--net=none"], more, &[image]].concat();
        env.proa(args).outcome().succeeds().quietly()
    };
    for asking in [annotated.build(&env).display().to_string(), of(&labelled)] {
        run(&[], &asking).prints("there\n");
        run(&["--guest-agent=false"], &asking).prints("none\n");
    }
    run(&[], &of(&plain)).prints("none\n");
    run(&["--guest-agent"], &of(&plain)).prints("there\n");
    // A volume over it is the user's own affair, and is told.
    let args = ["run", "--net=none", "--guest-agent", "--volume=v,kind=empty", "--mount=volume=v,target=/usr/bin"];
    env.proa([&args[..], &[&*of(&plain)]].concat()).outcome().refuses("/usr/bin");
}

/// A terminal follows the client's: 80 columns, then 120.
#[test]
fn terminals_are_resized() {
    let python = needs!(tool("python3"));
    let env = needs!(with_range());
    let pod = Idle::start(&env);
    let script = r#"
import fcntl, os, pty, struct, sys, termios
def resize(fd, columns): fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
pid, terminal = pty.fork()
if pid == 0:
    resize(0, 80)
    os.execv(sys.argv[1], sys.argv[1:])
seen = b""
def wait_for(text):
    global seen
    while text not in seen:
        seen += os.read(terminal, 4096)
wait_for(b"first 25 80")
resize(terminal, 120)
wait_for(b"then 25 120")
print(seen.decode().replace("\r", ""), end="")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;
    let inside =
        "echo first $(stty size); until [ \"$(stty size)\" = '25 120' ]; do :; done; echo then $(stty size); exit 7";
    let wrapper = [python.to_str().expect("text"), "-c", script];
    let seen = pod.enter(&["--tty"], &["sh", "-c", inside]).through(wrapper).outcome();
    seen.exits(7).shows("first 25 80\n").shows("then 25 120\n");
    pod.stop();
}

/// Forwarding through the engine: the bytes arrive as they are, behind the number of the process.
#[test]
fn forwarding_starts_through_enter() {
    let env = needs!(with_range());
    let pod = Idle::start(&env);
    let setup = "a36454797065006c436f6e6e656374696f6e496400675061796c6f61645863a86e436f6e6e656374696f6e54797065026842696e6448\
                 6f7374606842696e64506f7274006850726f746f636f6c606653637265656e607053696e676c65436f6e6e656374696f6ef46c417574\
                 6850726f746f636f6c606a41757468436f6f6b696560";
    let success = "a36454797065016c436f6e6e656374696f6e496400675061796c6f6164f6";
    let forward = [AGENT, "console", "--pid", "--", AGENT, "forward-server"];
    // Output that is no text does not fit into a string.
    let wrapper = ["sh", "-c", "\"$@\" | od -An -v -tx1 | tr -d ' \\n'", "sh"];
    let outcome: Outcome =
        pod.enter(&[], &forward).through(wrapper).outcome_with_input(&hex::decode(setup).expect("it is hex"));
    let seen = outcome.succeeds().stdout;
    assert!(seen.len() == 8 + success.len() && seen.ends_with(success), "{seen}");
    pod.stop();
}
