//! Isolators of apps: what each may change, and what only an operator may.

use super::default::ARCHES;
use super::evaluate::evaluate;
use super::interpreter::{Call, run};
use super::samples;
use crate::seccomp::isolator::{Isolator, IsolatorError, Mode, Origin, Outcome, policy, policy_with};
use crate::seccomp::policy::{Action, Arch, Decision, Policy};
use crate::seccomp::{compile, numbers, profile, wildcards};

const EPERM: Action = Action::Errno(1);
const ENOSYS: Action = Action::Errno(38);
const ENOTSUP: Action = Action::Errno(95);

fn default_policy() -> Policy {
    profile::default_policy(Arch::X86_64, &numbers::by_name(Arch::X86_64)).expect("as in the build script")
}

fn ask(mode: Mode, origin: Origin, entries: &[&str], errno: Option<&str>) -> Result<Outcome, IsolatorError> {
    policy_with(Arch::X86_64, &numbers::by_name(Arch::X86_64), &Isolator { mode, origin, entries, errno })
}

/// The compiled answer to a call with zeros as arguments.
fn answer(outcome: &Outcome, name: &str) -> u32 {
    answer_to(outcome, name, [0; 6])
}

fn answer_to(outcome: &Outcome, name: &str, args: [u64; 6]) -> u32 {
    let policy = outcome.policy.as_ref().expect("there is a filter");
    let program = compile(policy).expect("isolators give no longer filters than the default");
    let number = numbers::by_name(policy.arch)[name];
    run(&program, &Call { number, arch: policy.arch.audit_value(), args }).value
}

fn assert_answers(outcome: &Outcome, expected: &[(&str, Action)]) {
    for (name, action) in expected {
        assert_eq!(answer(outcome, name), action.return_value(), "{name} should be {action:?}");
    }
}

/// The example of the appc specification, which spells ENOTSUP, and that of its schema, which misspells EACCES.
#[test]
fn a_remove_set_refuses_its_calls_beside_the_default() {
    let set = ["clock_adjtime", "clock_settime", "reboot"];
    for (errno, action) in [
        (Some("ENOTSUP"), ENOTSUP),
        (Some("EACCESS"), Action::Errno(13)),
        (Some("EXFULL"), Action::Errno(54)),
        (Some("EMULTIHOP"), Action::Errno(72)),
        (None, Action::KillProcess),
    ] {
        for origin in [Origin::Image, Origin::Operator] {
            let outcome = ask(Mode::Remove, origin, &set, errno).expect("all is known");
            assert_answers(
                &outcome,
                &[
                    ("clock_adjtime", action),
                    ("clock_settime", action),
                    ("reboot", action),
                    ("read", Action::Allow),
                    ("stat", Action::Allow),
                    ("keyctl", EPERM),
                    ("clone3", ENOSYS),
                ],
            );
            assert!(outcome.narrowed.is_empty());
        }
    }
}

#[test]
fn a_retain_set_refuses_all_but_itself_and_the_life_cycle() {
    let set = ["accept", "bind", "listen", "read", "socket", "write"];
    let outcome = ask(Mode::Retain, Origin::Image, &set, None).expect("all is known");
    let policy = outcome.policy.as_ref().expect("there is a filter");
    let life_cycle = ["execve", "exit", "exit_group", "restart_syscall", "rt_sigreturn"];
    let usual = default_policy();
    for (name, number) in numbers::by_name(Arch::X86_64) {
        let wanted = if set.contains(&name) || life_cycle.contains(&name) || is_absent(&usual, number) {
            usual.calls[&number].clone()
        } else {
            Decision::Always(Action::KillProcess)
        };
        assert_eq!(policy.calls[&number], wanted, "{name}");
    }
    assert_eq!(policy.unknown, ENOSYS);
    assert!(outcome.narrowed.is_empty());
    // AF_INET as ever, AF_VSOCK as little as ever.
    assert_eq!(answer_to(&outcome, "socket", [2, 1, 0, 0, 0, 0]), Action::Allow.return_value());
    assert_eq!(answer_to(&outcome, "socket", [40, 1, 0, 0, 0, 0]), Action::Errno(97).return_value());
}

fn is_absent(policy: &Policy, number: u32) -> bool {
    policy.calls[&number] == Decision::Always(ENOSYS)
}

#[test]
fn an_image_cannot_widen_the_default() {
    let asks = ["mount", "clone3", "keyctl", "clone", "read", "@systemd/process", "@systemd/mount"];
    let outcome = ask(Mode::Retain, Origin::Image, &asks, Some("ENOTSUP")).expect("all is known");
    assert_answers(&outcome, &[("mount", EPERM), ("clone3", ENOSYS), ("keyctl", EPERM), ("setns", EPERM)]);
    assert_eq!(answer_to(&outcome, "clone", [0x1000_0000, 0, 0, 0, 0, 0]), EPERM.return_value());
    assert_eq!(outcome.narrowed, ["clone3", "keyctl", "mount"]);

    let all = ask(Mode::Retain, Origin::Image, &["@appc.io/all", "read"], None).expect("all is known");
    assert_eq!(all, Outcome { policy: Some(default_policy()), narrowed: vec!["@appc.io/all".to_owned()] });
}

/// Whatever the set: where the default refuses, an image's filter refuses as well.
#[test]
fn no_set_of_an_image_allows_what_the_default_refuses() {
    for arch in ARCHES {
        let table = numbers::by_name(arch);
        let default = profile::default_policy(arch, &table).expect("as in the build script");
        let everything: Vec<&str> = table.keys().copied().collect();
        let single: Vec<Vec<&str>> = wildcards::ALL.iter().map(|(name, _)| vec![*name]).collect();
        for entries in single.iter().chain([&everything]) {
            for mode in [Mode::Retain, Mode::Remove] {
                let isolator = Isolator { mode, origin: Origin::Image, entries, errno: None };
                let Ok(Outcome { policy: Some(policy), .. }) = policy_with(arch, &table, &isolator) else {
                    assert_eq!((mode, entries[0]), (Mode::Remove, "@appc.io/all"));
                    continue;
                };
                let program = compile(&policy).expect("not too long");
                for call in samples::calls(&default).step_by(37) {
                    let allowed = run(&program, &call).value;
                    assert_eq!(allowed, evaluate(&policy, &call).return_value(), "{call:x?}");
                    if allowed == Action::Allow.return_value() {
                        assert_eq!(evaluate(&default, &call), Action::Allow, "{mode:?} {entries:?} {call:x?}");
                    }
                }
            }
        }
    }
}

#[test]
fn an_operator_can_widen() {
    let asks = ["mount", "clone", "@systemd/process", "@systemd/clock"];
    let outcome = ask(Mode::Retain, Origin::Operator, &asks, Some("ENOTSUP")).expect("all is known");
    let allow = Action::Allow;
    // clone3 came with a wildcard only: without being named it stays absent, for nobody could look at its flags.
    assert_answers(
        &outcome,
        &[("mount", allow), ("setns", allow), ("clock_settime", allow), ("clone3", ENOSYS), ("read", ENOTSUP)],
    );
    assert_eq!(answer_to(&outcome, "clone", [0x1000_0000, 0, 0, 0, 0, 0]), EPERM.return_value());
    assert!(outcome.narrowed.is_empty());
    let named = ask(Mode::Retain, Origin::Operator, &["clone3"], None).expect("it is known");
    assert_answers(&named, &[("clone3", allow)]);
    let all = ask(Mode::Retain, Origin::Operator, &["read", "@appc.io/all"], None).expect("all is known");
    assert_eq!(all, Outcome { policy: None, narrowed: vec![] });
}

#[test]
fn an_empty_remove_set_is_the_default_filter() {
    for origin in [Origin::Image, Origin::Operator] {
        let outcome = ask(Mode::Remove, origin, &["read", "@appc.io/empty"], None).expect("all is known");
        assert_eq!(outcome, Outcome { policy: Some(default_policy()), narrowed: vec![] });
    }
    let nothing = ask(Mode::Retain, Origin::Image, &["@appc.io/empty"], None).expect("it is known");
    assert_answers(&nothing, &[("execve", Action::Allow), ("read", Action::KillProcess)]);
}

#[test]
fn a_retained_default_whitelist_is_the_default_with_another_errno() {
    for name in ["@docker/default-whitelist", "@rkt/default-whitelist"] {
        let outcome = ask(Mode::Retain, Origin::Image, &[name], Some("ENOTSUP")).expect("it is known");
        let mut expected = default_policy();
        for decision in expected.calls.values_mut().filter(|decision| **decision == Decision::Always(EPERM)) {
            *decision = Decision::Always(ENOTSUP);
        }
        assert_eq!(outcome.policy, Some(expected));
        assert!(outcome.narrowed.is_empty());
    }
}

/// A process under rkt's own blacklist, which kills, must still be able to make a thread.
#[test]
fn a_removed_default_blacklist_leaves_programs_alive() {
    for name in ["@docker/default-blacklist", "@rkt/default-blacklist"] {
        let outcome = ask(Mode::Remove, Origin::Image, &[name], None).expect("it is known");
        assert_answers(
            &outcome,
            &[
                ("clone", Action::Allow),
                ("clone3", ENOSYS),
                ("stat", Action::Allow),
                ("umount2", Action::KillProcess),
                ("ptrace", Action::KillProcess),
            ],
        );
    }
}

#[test]
fn unknown_entries_and_errnos_are_named() {
    let fail = |mode, entries: &[&str], errno| ask(mode, Origin::Operator, entries, errno).expect_err("not known");
    let call = IsolatorError::UnknownCall("raed".to_owned());
    assert_eq!(fail(Mode::Remove, &["read", "raed"], None), call);
    // Also beside a wildcard that would make the rest meaningless.
    assert_eq!(fail(Mode::Retain, &["@appc.io/all", "raed"], None), call);
    assert_eq!(call.to_string(), "no system call is named \"raed\"");
    for wildcard in ["@", "@appc.io", "@appc.io/", "@appc.io/none", "@systemd/nothing", "@all"] {
        let error = IsolatorError::UnknownWildcard(wildcard.to_owned());
        assert_eq!(fail(Mode::Remove, &[wildcard], None), error);
    }
    assert_eq!(fail(Mode::Remove, &[""], None), IsolatorError::UnknownCall(String::new()));
    assert_eq!(fail(Mode::Remove, &["read"], Some("EBOGUS")), IsolatorError::UnknownErrno("EBOGUS".to_owned()));
    assert_eq!(fail(Mode::Remove, &["read"], Some("")), IsolatorError::UnknownErrno(String::new()));
    assert_eq!(fail(Mode::Remove, &["@appc.io/all"], None), IsolatorError::NothingLeft);
}

#[test]
fn calls_of_other_architectures_are_no_mistake() {
    for name in ["stat64", "umount", "arm_fadvise64_64", "vm86"] {
        let outcome = ask(Mode::Remove, Origin::Image, &[name], None).expect("it exists elsewhere");
        assert_eq!(outcome.policy, Some(default_policy()), "{name}");
    }
    let table = numbers::by_name(Arch::Aarch64);
    let isolator =
        Isolator { mode: Mode::Retain, origin: Origin::Image, entries: &["stat", "newfstatat"], errno: None };
    let outcome = policy_with(Arch::Aarch64, &table, &isolator).expect("stat is x86_64's");
    assert_answers(&outcome, &[("newfstatat", Action::Allow), ("read", Action::KillProcess)]);
}

/// All errors of POSIX.1-2001 and C99, as the specification demands.
#[test]
fn all_posix_errnos_are_known() {
    let names = "E2BIG EACCES EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EALREADY EBADF EBADMSG EBUSY ECANCELED ECHILD \
        ECONNABORTED ECONNREFUSED ECONNRESET EDEADLK EDESTADDRREQ EDOM EDQUOT EEXIST EFAULT EFBIG EHOSTUNREACH EIDRM \
        EILSEQ EINPROGRESS EINTR EINVAL EIO EISCONN EISDIR ELOOP EMFILE EMLINK EMSGSIZE EMULTIHOP ENAMETOOLONG \
        ENETDOWN ENETRESET ENETUNREACH ENFILE ENOBUFS ENODATA ENODEV ENOENT ENOEXEC ENOLCK ENOLINK ENOMEM ENOMSG \
        ENOPROTOOPT ENOSPC ENOSR ENOSTR ENOSYS ENOTCONN ENOTDIR ENOTEMPTY ENOTSOCK ENOTSUP ENOTTY ENXIO EOPNOTSUPP \
        EOVERFLOW EPERM EPIPE EPROTO EPROTONOSUPPORT EPROTOTYPE ERANGE EROFS ESPIPE ESRCH ESTALE ETIME ETIMEDOUT \
        ETXTBSY EWOULDBLOCK EXDEV";
    for name in names.split_whitespace() {
        let outcome = ask(Mode::Remove, Origin::Image, &["reboot"], Some(name)).expect(name);
        let value = answer(&outcome, "reboot");
        assert!(matches!(value, 0x0005_0001..=0x0005_0085), "{name}: {value:#x}");
    }
    let number = |name| answer(&ask(Mode::Remove, Origin::Image, &["reboot"], Some(name)).expect(name), "reboot");
    for (name, expected) in [
        ("EPERM", 1),
        ("EAGAIN", 11),
        ("EWOULDBLOCK", 11),
        ("EDEADLK", 35),
        ("EDEADLOCK", 35),
        ("ENOTSUP", 95),
        ("EHWPOISON", 133),
    ] {
        assert_eq!(number(name) & 0xffff, expected, "{name}");
    }
}

#[test]
fn wildcards_hold_only_calls_there_are() {
    for (wildcard, meaning) in wildcards::ALL {
        let wildcards::Wildcard::Names(names) = meaning else { continue };
        let mut seen = Vec::new();
        for name in names.split_whitespace() {
            assert!(!seen.contains(&name), "{name} twice in {wildcard}");
            seen.push(name);
            ask(Mode::Remove, Origin::Image, &[name], None).unwrap_or_else(|error| panic!("{wildcard}: {error}"));
        }
        assert!(!seen.is_empty());
    }
}

#[test]
fn the_built_in_tables_are_those_of_this_architecture() {
    let arch = Arch::from_rust_name(std::env::consts::ARCH).expect("the crate was built for it");
    let table = numbers::by_name(arch);
    for name in table.keys() {
        let isolator = Isolator { mode: Mode::Remove, origin: Origin::Image, entries: &[name], errno: Some("ENOTSUP") };
        assert_eq!(policy(&isolator), policy_with(arch, &table, &isolator), "{name}");
    }
}
