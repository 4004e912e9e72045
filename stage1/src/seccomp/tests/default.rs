//! The default profile: what it answers, how deep and how long its filter is.

use super::evaluate::evaluate;
use super::interpreter::{Call, run};
use super::samples;
use crate::seccomp::groups::{ABSENT_EVERYWHERE, EAFNOSUPPORT, ENOSYS, EPERM, GROUPS};
use crate::seccomp::instruction::SockFilter;
use crate::seccomp::policy::{Action, Arch, Decision, Policy};
use crate::seccomp::{compile, default_filter, numbers, profile};

pub(super) const ARCHES: [Arch; 2] = [Arch::X86_64, Arch::Aarch64];

fn default_policy(arch: Arch) -> Policy {
    profile::default_policy(arch, &numbers::by_name(arch)).expect("the build script made the same policy")
}

pub(super) fn compiled(arch: Arch) -> (Policy, Vec<SockFilter>) {
    let policy = default_policy(arch);
    let program = compile(&policy).expect("the build script compiled the same policy");
    (policy, program)
}

#[test]
fn the_built_in_filter_is_the_compiled_default_policy() {
    let arch = Arch::from_rust_name(std::env::consts::ARCH).expect("the crate was built for it");
    assert_eq!(default_filter(), compiled(arch).1);
}

#[test]
fn the_filter_answers_what_the_policy_says() {
    for arch in ARCHES {
        let (policy, program) = compiled(arch);
        let mut tried = 0;
        for call in samples::calls(&policy) {
            let wanted = evaluate(&policy, &call).return_value();
            assert_eq!(run(&program, &call).value, wanted, "{arch:?} {call:x?}");
            tried += 1;
        }
        assert!(tried > 5_000, "only {tried} calls tried on {arch:?}");
    }
}

#[test]
fn calls_of_another_architecture_kill() {
    // i386, arm, and each the other of ours.
    let foreign = [0x4000_0003, 0x4000_0028, 0, u32::MAX];
    for arch in ARCHES {
        let (policy, program) = compiled(arch);
        for other in ARCHES.iter().filter(|other| **other != arch).map(|other| other.audit_value()).chain(foreign) {
            for number in samples::numbers(&policy) {
                let call = Call { number, arch: other, args: [0; 6] };
                assert_eq!(run(&program, &call).value, Action::KillProcess.return_value(), "{call:x?}");
            }
        }
    }
}

#[test]
fn x32_calls_kill_and_a_tracers_skipped_call_does_not() {
    let (policy, program) = compiled(Arch::X86_64);
    let answer = |number| run(&program, &Call { number, arch: policy.arch.audit_value(), args: [0; 6] }).value;
    for number in 0..=1024 {
        assert_eq!(answer(0x4000_0000 | number), Action::KillProcess.return_value(), "x32 call {number}");
    }
    assert_eq!(answer(u32::MAX), Action::Errno(ENOSYS).return_value());
}

#[test]
fn the_tree_is_shallow_and_the_filter_short() {
    for arch in ARCHES {
        let (policy, program) = compiled(arch);
        assert!(program.len() < 256, "{} instructions on {arch:?}", program.len());
        let deepest = samples::calls(&policy).map(|call| run(&program, &call).before_arguments).max();
        assert!(deepest <= Some(14), "{deepest:?} instructions on {arch:?}");
    }
}

/// The kernel answers calls from a bitmap if their path through the filter looks at nothing but number and
/// architecture; only the calls decided by arguments may look further.
#[test]
fn allowed_calls_look_at_no_argument() {
    for arch in ARCHES {
        let (policy, program) = compiled(arch);
        for (&number, decision) in &policy.calls {
            let outcome = run(&program, &Call { number, arch: arch.audit_value(), args: [0; 6] });
            let looks = outcome.before_arguments < outcome.executed;
            assert_eq!(looks, matches!(decision, Decision::ByArguments { .. }), "{arch:?} call {number}");
        }
    }
}

/// Written out by hand from the documentation, so that a slip in the groups does not go unseen.
#[test]
fn calls_get_the_documented_answers() {
    const ALLOW: Action = Action::Allow;
    const PERM: Action = Action::Errno(EPERM);
    const NOSYS: Action = Action::Errno(ENOSYS);
    const NOFAMILY: Action = Action::Errno(EAFNOSUPPORT);
    const HIGH: u64 = 0xdead_beef_0000_0000;
    const SIGCHLD: u64 = 17;
    let mut cases: Vec<(&str, [u64; 3], Action)> = vec![
        // glibc's fork and pthread_create.
        ("clone", [0x0120_0000 | SIGCHLD, 0, 0], ALLOW),
        ("clone", [0x003d_0f00, 0, 0], ALLOW),
        ("clone", [HIGH | SIGCHLD, 0, 0], ALLOW),
        ("unshare", [0, 0, 0], ALLOW),
        ("unshare", [0x200 | 0x400 | 0x4_0000, 0, 0], ALLOW),
        ("unshare", [0x80, 0, 0], PERM),
        ("ioctl", [0, 0x5401, 0], ALLOW),
        ("ioctl", [0, 0x5411, 0], ALLOW),
        ("ioctl", [0, 0x5413, 0], ALLOW),
        ("ioctl", [0, 0x5412, 0], PERM),
        ("ioctl", [0, 0x541c, 0], PERM),
        ("ioctl", [0, HIGH | 0x5412, 0], PERM),
        ("ioctl", [0, HIGH | 0x541c, 0], PERM),
        ("personality", [0x40000, 0, 0], PERM),
        ("personality", [HIGH | 0x40000, 0, 0], PERM),
        ("clone3", [0, 0, 0], NOSYS),
        // Another's limits may be read; those of the pod's pid 1 not be set.
        ("prlimit64", [0, 7, 0x7fff_0000_0000], ALLOW),
        ("prlimit64", [2, 7, 0x7fff_0000_0000], ALLOW),
        ("prlimit64", [1, 7, 0], ALLOW),
        ("prlimit64", [1, 7, 0x7fff_0000_0000], PERM),
        ("prlimit64", [HIGH | 1, 7, 0x1000], PERM),
    ];
    for flag in [0x2_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
        for high in [0, HIGH] {
            cases.push(("clone", [high | flag | SIGCHLD, 0, 0], PERM));
            cases.push(("unshare", [high | flag, 0, 0], PERM));
        }
    }
    for persona in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff, HIGH | 0xffff_ffff] {
        cases.push(("personality", [persona, 0, 0], ALLOW));
    }
    for call in ["socket", "socketpair"] {
        for family in 0..64 {
            let known = [1, 2, 10].contains(&family);
            for high in [0, HIGH] {
                cases.push((call, [high | family, 1, 6], if known { ALLOW } else { NOFAMILY }));
                let route = known || family == 16;
                cases.push((call, [high | family, 1, high], if route { ALLOW } else { NOFAMILY }));
            }
        }
    }
    let refused = "add_key keyctl request_key setns mount umount2 pivot_root io_uring_setup io_uring_enter \
        io_uring_register bpf perf_event_open userfaultfd kcmp pidfd_getfd process_madvise open_by_handle_at \
        fanotify_init quotactl acct init_module finit_module delete_module kexec_load kexec_file_load reboot swapon \
        swapoff settimeofday clock_settime sethostname setdomainname syslog vhangup mbind move_pages lookup_dcookie";
    let absent = "open_tree open_tree_attr move_mount fsopen fsconfig fsmount fspick mount_setattr nfsservctl \
        file_setattr";
    let allowed = "read execve ptrace process_vm_readv process_vm_writev landlock_create_ruleset landlock_add_rule \
        landlock_restrict_self seccomp chroot newfstatat rt_sigreturn exit_group prctl mseal";
    for (names, action) in [(refused, PERM), (absent, NOSYS), (allowed, ALLOW)] {
        cases.extend(names.split_whitespace().map(|name| (name, [0; 3], action)));
    }
    for arch in ARCHES {
        let program = compiled(arch).1;
        let table = numbers::by_name(arch);
        for (name, [a, b, c], wanted) in &cases {
            let number = table[name];
            let call = Call { number, arch: arch.audit_value(), args: [*a, *b, *c, 0, 0, 0] };
            assert_eq!(run(&program, &call).value, wanted.return_value(), "{arch:?} {name} {a:#x} {b:#x} {c:#x}");
        }
        for number in [470, 471, 500, 511, 512, 547, 1000] {
            let call = Call { number, arch: arch.audit_value(), args: [0; 6] };
            assert_eq!(run(&program, &call).value, NOSYS.return_value(), "{arch:?} unknown call {number}");
        }
    }
    let x86 = numbers::by_name(Arch::X86_64);
    let x86_only = [
        ("arch_prctl", ALLOW),
        ("modify_ldt", PERM),
        ("iopl", PERM),
        ("ioperm", PERM),
        ("uselib", NOSYS),
        ("_sysctl", NOSYS),
        ("vserver", NOSYS),
    ];
    let program = compiled(Arch::X86_64).1;
    for (name, wanted) in x86_only {
        let call = Call { number: x86[name], arch: Arch::X86_64.audit_value(), args: [0; 6] };
        assert_eq!(run(&program, &call).value, wanted.return_value(), "{name}");
    }
}

/// Docker's always allowed names, of which none may get lost in the grouping, are 361; here `socket` and `ioctl` are
/// decided by arguments, and six calls are allowed in addition.
#[test]
fn as_many_calls_are_allowed_as_documented() {
    let allowed: Vec<&str> = GROUPS
        .iter()
        .filter(|group| group.action == Action::Allow)
        .flat_map(|group| group.names.split_whitespace())
        .collect();
    let by_arguments = ["ioctl", "prlimit64", "socketpair"];
    let added = ["arch_prctl", "chroot", "process_vm_readv", "process_vm_writev", "ptrace", "uprobe"];
    assert_eq!(allowed.len() + by_arguments.len() - added.len(), 361);
    for name in added {
        assert!(allowed.contains(&name), "{name}");
    }
}

#[test]
fn absent_names_are_absent_on_both() {
    for arch in ARCHES {
        let table = numbers::by_name(arch);
        for name in ABSENT_EVERYWHERE.split_whitespace() {
            assert!(!table.contains_key(name), "{name} on {arch:?}");
        }
    }
}
