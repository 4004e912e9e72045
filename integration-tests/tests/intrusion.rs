//! Ways out of a pod, or from one into another, that go around the system call filter: what the app is handed, what pods
//! could share, and what is left when the filter is switched off.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use integration_tests::images::{Aci, Tree, busybox, with_perl};
use integration_tests::needs::{Why, tool};
use integration_tests::{Env, denial, each_user, limit, needs, process};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

each_user! {
    a_directory_that_is_passed_in_leads_nowhere,
    what_pods_could_share_is_their_own,
    namespaces_hold_without_the_filter,
    nobody_types_into_the_callers_terminal,
    an_apps_namespaces_and_devices_stay_what_they_are,
}

fn perl_tree() -> Result<Tree, Why> {
    tool("perl")?;
    with_perl(busybox().dir("tmp", 0o1777)).map_err(Why::from)
}

fn perl(env: &Env, name: &str, script: &str) -> Result<PathBuf, Why> {
    Ok(Aci::new(name, perl_tree()?.file("attack.pl", script, 0o644)).exec(["/usr/bin/perl", "/attack.pl"]).build(env))
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// `$name` for the number of each of these system calls.
fn numbers(names: &str) -> String {
    names.split_whitespace().map(|name| format!("my ${name} = {};\n", denial::number(name))).collect()
}

/// Somebody on the host, or a sibling, hands a directory over a socket on a volume. Landlock knows it is not the app's.
fn a_directory_that_is_passed_in_leads_nowhere(env: &Env) {
    let shared = env.path("shared");
    env.make_dir(&shared);
    env.write("marker", "the host's\n");
    let listener = UnixListener::bind(shared.join("s")).expect("a socket");
    std::fs::set_permissions(shared.join("s"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("ours");
    let script = numbers("recvmsg openat mkdirat unlinkat renameat2 linkat fchdir")
        + r#"
        socket(my $s, 1, 1, 0) or die "socket: $!";
        connect($s, pack("S a108", 1, "/v/s")) or die "connect: $!";
        my $data = "\0"; my $vector = pack("P Q", $data, 1); my $control = "\0" x 24;
        my $header = pack("Q L x4 P Q P Q i x4", 0, 0, $vector, 1, $control, 24, 0);
        syscall($recvmsg, fileno($s), $header, 0) == 1 or die "recvmsg: $!";
        my $dir = unpack("x16 i", $control);
        my $name = "marker"; my $new = "made"; my $up = "../..";
        sub told { my ($what, $result) = @_; print "$what ", $result < 0 ? $! + 0 : "ok", "\n" }
        told("open", syscall($openat, $dir, $name, 0, 0));
        told("create", syscall($openat, $dir, $new, 0101, 0644));
        told("up", syscall($openat, $dir, $up, 0200000, 0));
        told("mkdir", syscall($mkdirat, $dir, $new, 0755));
        told("unlink", syscall($unlinkat, $dir, $name, 0));
        told("rename", syscall($renameat2, $dir, $name, $dir, $new, 0));
        my $linked = "/tmp/linked"; told("link", syscall($linkat, $dir, $name, -100, $linked, 0));
        syscall($fchdir, $dir);
        told("from within", open(my $f, "<", $name) ? 0 : -1);
        "#;
    let image = needs!(perl(env, "passed", &script));
    let volume = format!("--volume=v,kind=host,source={}", shared.display());
    let args = ["--insecure-options=image", "run", "--net=none", &volume, shown(&image), "--mount=volume=v,target=/v"];
    let running = env.proa(args).start();
    listener.set_nonblocking(true).expect("it is a socket");
    let deadline = Instant::now() + limit();
    let stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(_) if process::read(running.pid()).is_some_and(|it| it.state != 'Z') => {
                assert!(Instant::now() < deadline, "the app does not connect");
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}: {}", running.wait()),
        }
    };
    let dir = std::fs::File::open(env.root()).expect("a directory");
    let (fds, mut space) = ([dir.as_fd()], [MaybeUninit::uninit(); 64]);
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(&stream, &[IoSlice::new(b"x")], &mut control, SendFlags::empty()).expect("it is taken");
    let outcome = running.wait().succeeds();
    // 13 is EACCES, 18 EXDEV: Landlock says that of links and renames that would widen what can be done.
    let told: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(told.len(), 8, "{outcome}");
    for line in told.iter().filter(|line| !line.starts_with("up ")) {
        assert!(line.ends_with(" 13") || line.ends_with(" 18"), "{line}: {outcome}");
    }
    assert_eq!(std::fs::read_to_string(env.path("marker")).expect("it is there"), "the host's\n");
    assert!(!env.path("made").exists());
    // The control: it is Landlock that refuses, the rights of the file do not.
    let host = env.command("cat", vec![env.path("marker").into()]).outcome();
    host.succeeds().prints("the host's\n");
}

/// Keys of System V, names of POSIX and abstract names are the same numbers in each pod, and not the same things.
fn what_pods_could_share_is_their_own(env: &Env) {
    let make = numbers("shmget semget msgget")
        + r#"
        my $key = 0x70726f61;
        syscall($_->[0], $key, $_->[1], 01666) >= 0 or die "make: $!" for [$shmget, 4096], [$semget, 1], [$msgget, 01666];
        open(my $f, ">", "/dev/shm/proa") or die; print $f "mine\n"; close $f;
        socket(my $s, 1, 1, 0); bind($s, pack("S a*", 1, "\0NAME")) or die "bind: $!"; listen($s, 8);
        $| = 1; print "made\n"; sleep 600;"#;
    let look = numbers("shmget semget msgget")
        + r#"
        my $key = 0x70726f61;
        print "shm ", syscall($shmget, $key, 0, 0) < 0 ? "none" : "found", "\n";
        print "sem ", syscall($semget, $key, 0, 0) < 0 ? "none" : "found", "\n";
        print "msg ", syscall($msgget, $key, 0) < 0 ? "none" : "found", "\n";
        print "file ", -e "/dev/shm/proa" ? "found" : "none", "\n";
        socket(my $s, 1, 1, 0);
        print "name ", connect($s, pack("S a*", 1, "\0NAME")) ? "found" : "none", "\n";"#;
    // A name of this test's own: others bind theirs on the host meanwhile.
    let name = env.root().file_name().expect("it is below a folder").to_string_lossy().into_owned();
    let [make, look] = [make, look].map(|script| script.replace("NAME", &name));
    let tree = needs!(perl_tree()).file("make.pl", make, 0o644).file("look.pl", look, 0o644);
    let maker = Aci::new("maker", tree.clone()).exec(["/usr/bin/perl", "/make.pl"]).build(env);
    let looker = Aci::new("looker", tree).exec(["/usr/bin/perl", "/look.pl"]).build(env);
    let run = ["--insecure-options=image", "run", "--net=none", "--name=maker", shown(&maker)];
    let mut running = env.proa(run).start();
    running.wait_for("made");
    let none = "shm none\nsem none\nmsg none\nfile none\nname none\n";
    env.run(&looker, &[]).outcome().succeeds().prints(none);
    // Abstract names go with the network, the others never.
    let host = ["--insecure-options=image", "run", "--net=host", shown(&looker)];
    env.proa(host).outcome().succeeds().prints(none);
    // The control: within the pod all are there.
    let inside = env.proa(["enter", "maker", "/usr/bin/perl", "/look.pl"]).outcome().succeeds();
    inside.prints(&none.replace("none", "found"));
    running.kill(rustix::process::Signal::TERM);
    running.wait();
    // With the host's network its abstract names are in reach, as the documents say, but for a strict Landlock domain.
    let listener = SocketAddr::from_abstract_name(&name).and_then(|name| UnixListener::bind_addr(&name));
    let Ok(_listener) = listener else { return };
    env.proa(host).outcome().succeeds().shows("name found\n");
    let strict = ["--insecure-options=image", "run", "--net=host", "--landlock=strict", shown(&looker)];
    let outcome = env.proa(strict).outcome().succeeds();
    if !outcome.stderr.contains("proa.local/landlock") {
        outcome.shows("name none\n");
    }
    env.run(&looker, &[]).outcome().succeeds().shows("name none\n");
}

/// The filter is one wall. Here it is switched off, and so are the limits of capabilities: the others hold.
fn namespaces_hold_without_the_filter(env: &Env) {
    let script = numbers(
        "pidfd_open pidfd_getfd setns process_vm_readv process_vm_writev ptrace kcmp unshare mount umount2 move_mount \
         open_tree open_by_handle_at perf_event_open quotactl settimeofday swapon init_module",
    ) + r#"
        sub others { opendir(my $d, "/proc"); grep { /^\d+$/ && $_ != 1 && $_ != $$ && !defined readlink "/proc/$_/root" } readdir $d }
        my ($sibling) = others();
        until ($sibling) {
            select(undef, undef, undef, 0.05);
            ($sibling) = others();
        }
        my $zeros = "\0" x 4096;
        sub told { my ($what, $result) = @_; print "$what ", $result < 0 ? $! + 0 : "ok", "\n" }
        for my $pid (1, $sibling) {
            my $who = $pid == 1 ? "init" : "sibling";
            my $fd = syscall($pidfd_open, $pid, 0);
            told("$who setns", syscall($setns, $fd, $_)) for 0x10000000, 0x00020000, 0x10020000;
            told("$who getfd", syscall($pidfd_getfd, $fd, 0, 0));
            told("$who seize", syscall($ptrace, 0x4206, $pid, 0, 0));
            my $local = pack("P Q", $zeros, 8); my $remote = pack("Q Q", 0x400000, 8);
            told("$who readv", syscall($process_vm_readv, $pid, $local, 1, $remote, 1, 0));
            told("$who writev", syscall($process_vm_writev, $pid, $local, 1, $remote, 1, 0));
            told("$who kcmp", syscall($kcmp, $$, $pid, 0, 0, 0));
            for my $name (qw(user mnt pid net)) {
                told("$who ns/$name", open(my $ns, "<", "/proc/$pid/ns/$name") ? 0 : -1);
            }
        }
        my ($none, $tmp, $root, $proc) = ("none", "/tmp", "/", "/proc/sys");
        for my $type (map { "$_" } qw(tmpfs proc sysfs cgroup cgroup2 overlay fuse ext4 devpts mqueue)) {
            my $options = $type eq "fuse" ? "fd=0,rootmode=40000,user_id=0,group_id=0" : "";
            told("mount $type", syscall($mount, $none, $tmp, $type, 0, $options));
        }
        told("bind", syscall($mount, $root, $tmp, 0, 4096, 0));
        told("remount", syscall($mount, $none, $proc, 0, 4096 | 32, 0));
        told("umount", syscall($umount2, $proc, 2));
        told("unshare user", syscall($unshare, 0x10000000));
        told("handle", syscall($open_by_handle_at, -100, pack("LL", 8, 1) . $zeros, 0));
        my $clock = pack("qq", 0, 0); told("clock", syscall($settimeofday, $clock, 0));
        told("swapon", syscall($swapon, $tmp, 0));
        told("module", syscall($init_module, $zeros, 16, $none));
        for my $file (qw(/proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/1/oom_score_adj /sys/kernel/uevent_helper)) {
            # A masked file is a null device: it may be opened, and nobody reads what is written there.
            next if -c $file;
            my $opened = open(my $f, "+<", $file);
            told($file, $opened && defined syswrite($f, "x") ? 0 : -1);
        }
        open(my $done, ">", "/v/done");"#;
    let attacker = needs!(perl(env, "attacker", &script));
    let sibling = Aci::new("sibling", busybox()).sh("until [ -e /v/done ]; do sleep 0.05; done").build(env);
    let options = ["--insecure-options=image,seccomp,capabilities", "run", "--net=none"];
    let volume = ["--volume=v,kind=empty,mode=1777", "--mount=volume=v,target=/v"];
    let images = [shown(&sibling), shown(&attacker)];
    let outcome = env.proa(options.iter().chain(&volume).chain(&images)).outcome().succeeds();
    let told: Vec<&str> = outcome.stdout.lines().collect();
    assert!(told.len() >= 43, "{outcome}");
    // What is readable without a right over anybody, by the kernel's rules for the files of /proc.
    let worked: Vec<&&str> = told.iter().filter(|line| line.ends_with(" ok")).collect();
    assert!(worked.is_empty(), "{worked:?}: {outcome}");
}

/// DEV-03: the app's terminal is its own, and so are ioctls that would type into it.
fn nobody_types_into_the_callers_terminal(env: &Env) {
    needs!(tool("script"));
    let script = numbers("ioctl")
        + r#"
        my $byte = "x";
        for (["sti", 0x5412], ["high half", 0x100005412], ["linux", 0x541c]) {
            print "$_->[0] ", syscall($ioctl, 0, $_->[1], $byte) < 0 ? $! + 0 : "ok", "\n";
        }
        print "terminal ", -t STDIN ? "is one" : "is none", "\n";
        print "console ", (stat("/dev/console"))[6] == (stat("/dev/null"))[6] ? "is nobody's" : "is somebody's", "\n";"#;
    let tree = needs!(perl_tree()).file("attack.pl", script, 0o644);
    // DEV-02: no terminal is bound to a place of the image; what it has there is not opened.
    let canary = env.write("canary", "untouched\n");
    let tree = tree.symlink("dev/console", shown(&canary)).file("dev/pts/0", "x", 0o666);
    let image = Aci::new("terminal", tree).exec(["/usr/bin/perl", "/attack.pl"]).build(env);
    let proa = integration_tests::binaries::proa().display().to_string();
    let run = format!("--insecure-options=image run --net=none --interactive {}", shown(&image));
    let line = format!("{proa} --dir {} {run}", env.data().display());
    let args = vec!["-c".into(), format!("sleep 1 | script -qec '{line}' /dev/null").into()];
    let outcome = env.command("sh", args).outcome().succeeds();
    for line in ["sti 1\r\n", "high half 1\r\n", "linux 1\r\n", "terminal is one\r\n", "console is nobody's\r\n"] {
        assert!(outcome.stdout.contains(line), "{line:?}: {outcome}");
    }
    assert_eq!(std::fs::read_to_string(canary).expect("it is there"), "untouched\n");
}

fn an_apps_namespaces_and_devices_stay_what_they_are(env: &Env) {
    let script = numbers("clone prctl execveat memfd_create")
        + r#"
        sub told { my ($what, $result) = @_; print "$what ", $result < 0 ? $! + 0 : "ok", "\n" }
        for my $flag (0x10000000, 0x00020000, 0x20000000, 0x40000000, 0x02000000, 0x04000000, 0x08000000) {
            my $pid = syscall($clone, $flag | 17, 0, 0, 0, 0);
            exit 0 if $pid == 0;
            told(sprintf("clone %x", $flag), $pid);
        }
        told("set_mm", syscall($prctl, 35, 13, 0, 0, 0));
        told("ambient", syscall($prctl, 47, 2, 21, 0, 0));
        for my $file (qw(/dev/fuse /dev/net/tun /dev/kvm /dev/vhost-vsock /dev/loop-control /dev/mem /dev/kmsg /dev/uinput)) {
            told($file, open(my $f, "+<", $file) ? 0 : -1);
        }
        # A program in memory runs, with no more rights than before.
        my $name = "x"; my $fd = syscall($memfd_create, $name, 0);
        open(my $to, ">&=", $fd); open(my $from, "<", "/bin/busybox"); local $/; my $program = <$from>; syswrite($to, $program);
        exec { "/proc/self/fd/$fd" } "busybox", "grep", "-E", "^(Seccomp|NoNewPrivs|CapBnd):", "/proc/self/status";
        print "exec ", $! + 0, "\n";"#;
    let image = needs!(perl(env, "namespaces", &script));
    let outcome = env.run(&image, &[]).outcome().succeeds();
    for line in outcome.stdout.lines() {
        let (what, result) = line.split_once(' ').unwrap_or((line, ""));
        match what {
            "clone" => assert!(line.ends_with(" 1"), "{line}: {outcome}"),
            "set_mm" => assert!(["1", "22"].contains(&result), "{line}: {outcome}"),
            "ambient" => assert_eq!(result, "1", "{outcome}"),
            what if what.starts_with("/dev/") => assert_eq!(result, "2", "{line}: {outcome}"),
            _ => {}
        }
    }
    assert!(outcome.stdout.matches("clone ").count() == 7 && outcome.stdout.matches("/dev/").count() == 8, "{outcome}");
    if outcome.stdout.contains("Seccomp:") {
        outcome.shows("Seccomp:\t2");
    } else {
        outcome.shows("exec 13");
    }
}
