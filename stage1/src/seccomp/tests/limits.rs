//! Long programs, and policies and profiles that cannot be compiled.

use super::evaluate::evaluate;
use super::interpreter::run;
use super::samples;
use crate::seccomp::instruction::{JUMP, JUMP_EQ, JUMP_GE, JUMP_GT};
use crate::seccomp::policy::{Action, Arch, Compare, Condition, Decision, MAX_ERRNO, Op, Policy, Rule};
use crate::seccomp::profile::{ProfileError, default_policy};
use crate::seccomp::{CompileError, compile, numbers};
use std::collections::BTreeMap;

fn policy(calls: impl IntoIterator<Item = (u32, Decision)>) -> Policy {
    Policy { arch: Arch::X86_64, calls: calls.into_iter().collect(), unknown: Action::Errno(38) }
}

/// A decision that shares no instruction with that of another number but the answers.
fn unlike_others(number: u32) -> Decision {
    let compare = Compare::Full(Op::Eq(u64::from(number) << 32 | u64::from(number)));
    let condition = |arg| Condition { arg, compare };
    let rule = |arg, errno| Rule { all_of: vec![condition(arg)], action: Action::Errno(errno) };
    Decision::ByArguments { rules: vec![rule(0, 1), rule(1, 2), rule(2, 3)], otherwise: Action::Allow }
}

#[test]
fn long_programs_jump_in_steps() {
    let policy = policy((0..250).map(|number| (number * 2, unlike_others(number))));
    let program = compile(&policy).expect("it is long, not too long");
    assert!(program.len() > 3000, "{} instructions", program.len());
    assert!(program.iter().any(|instruction| instruction.code == JUMP));
    // An unconditional jump to the next instruction would be a waste in each call's path.
    assert!(program.iter().all(|instruction| instruction.code != JUMP || instruction.k > 0));
    for call in samples::calls(&policy).step_by(7) {
        assert_eq!(run(&program, &call).value, evaluate(&policy, &call).return_value(), "{call:x?}");
    }
}

/// The kernel's verifier refuses a program with any jump past the end, also where it is never taken.
#[test]
fn all_jumps_stay_inside() {
    for number in [1, 10, 100, 250] {
        let program = compile(&policy((0..number).map(|n| (n * 3, unlike_others(n))))).expect("not too long");
        for (at, instruction) in program.iter().enumerate() {
            let distance = match instruction.code {
                JUMP => instruction.k as usize,
                JUMP_EQ | JUMP_GT | JUMP_GE => usize::from(instruction.jt.max(instruction.jf)),
                _ => 0,
            };
            assert!(at + 1 + distance < program.len() || at + 1 == program.len(), "{at}: {instruction:?}");
        }
    }
}

#[test]
fn programs_the_kernel_would_refuse_are_not_made() {
    let error = compile(&policy((0..600).map(|number| (number, unlike_others(number))))).expect_err("too long");
    assert!(matches!(error, CompileError::TooLong(length) if length > 4096), "{error}");
    let argument = |arg| {
        let all_of = vec![Condition { arg, compare: Compare::Low(Op::Eq(0)) }];
        let rules = vec![Rule { all_of, action: Action::Allow }];
        policy([(7, Decision::ByArguments { rules, otherwise: Action::KillProcess })])
    };
    assert!(compile(&argument(5)).is_ok());
    assert_eq!(compile(&argument(6)), Err(CompileError::NoSuchArgument { number: 7, arg: 6 }));
}

#[test]
fn errnos_the_kernel_would_change_are_refused() {
    let action = Action::Errno(MAX_ERRNO + 1);
    let rule = |action| Rule { all_of: vec![], action };
    let by_rule = |rule, otherwise| Decision::ByArguments { rules: vec![rule], otherwise };
    for decision in
        [Decision::Always(action), by_rule(rule(action), Action::Allow), by_rule(rule(Action::Allow), action)]
    {
        assert_eq!(compile(&policy([(0, decision)])), Err(CompileError::ErrnoTooLarge(MAX_ERRNO + 1)));
    }
    let unknown = Policy { unknown: action, ..policy([]) };
    assert_eq!(compile(&unknown), Err(CompileError::ErrnoTooLarge(MAX_ERRNO + 1)));
    assert!(compile(&policy([(0, Decision::Always(Action::Errno(MAX_ERRNO)))])).is_ok());
}

#[test]
fn numbers_of_another_entry_are_refused() {
    let at = |arch, number| {
        compile(&Policy { arch, ..policy([(number, Decision::Always(Action::Allow))]) }).map(|program| program.len())
    };
    assert!(at(Arch::X86_64, 0x3fff_ffff).is_ok());
    assert_eq!(at(Arch::X86_64, 0x4000_0000), Err(CompileError::ForeignNumber(0x4000_0000)));
    assert!(at(Arch::Aarch64, 0x4000_0000).is_ok());
    assert_eq!(at(Arch::Aarch64, u32::MAX), Err(CompileError::ForeignNumber(u32::MAX)));
}

#[test]
fn a_table_that_does_not_fit_the_profile_is_an_error() {
    let table = || numbers::by_name(Arch::X86_64);
    let with = |change: &dyn Fn(&mut BTreeMap<&'static str, u32>)| {
        let mut table = table();
        change(&mut table);
        default_policy(Arch::X86_64, &table).expect_err("the table does not fit")
    };
    let missing = with(&|table| {
        table.remove("read");
    });
    assert_eq!(missing, ProfileError::Unknown { arch: Arch::X86_64, name: "read".to_owned() });
    let new = with(&|table| {
        table.insert("read_minds", 999);
    });
    assert_eq!(new, ProfileError::Undecided("read_minds".to_owned()));
    let present = with(&|table| {
        table.insert("vm86", 998);
    });
    assert_eq!(present, ProfileError::NotAbsent { arch: Arch::X86_64, name: "vm86".to_owned() });
}
