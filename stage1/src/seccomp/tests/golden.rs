//! The default filters as listings under `src/seccomp/golden`, so that a change of a filter is seen in review.

use super::default::{ARCHES, compiled};
use crate::seccomp::instruction::{
    AND, ARCH_OFFSET, JUMP, JUMP_EQ, JUMP_GE, JUMP_GT, LOAD, NUMBER_OFFSET, RETURN, SockFilter, low_offset,
};
use crate::seccomp::numbers;
use crate::seccomp::policy::{Action, Arch};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

#[test]
fn the_default_filters_are_the_reviewed_ones() {
    for arch in ARCHES {
        let listing = listing(arch, &compiled(arch).1);
        let name = match arch {
            Arch::X86_64 => "x86_64.txt",
            Arch::Aarch64 => "aarch64.txt",
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/seccomp/golden").join(name);
        if std::env::var_os("PROA_BLESS").is_some() {
            std::fs::write(&path, &listing).expect("write the golden file");
        }
        let golden = std::fs::read_to_string(&path).expect("the golden file is there");
        assert_eq!(listing, golden, "{name} differs; if that is meant, run this test with PROA_BLESS=1 and review it");
    }
}

/// One line for each instruction: its index, what it does, and where a jump goes. Answers are written in place of jumps
/// to them, and system calls by name where a range of them starts.
fn listing(arch: Arch, program: &[SockFilter]) -> String {
    let names: BTreeMap<u32, &str> = numbers::by_name(arch).into_iter().map(|(name, number)| (number, name)).collect();
    let mut text = String::new();
    for (at, SockFilter { code, jt, jf, k }) in program.iter().copied().enumerate() {
        let target = |distance: u32| goal(program, at + 1 + distance as usize);
        let compared = |operator: &str, value: String| {
            format!("if {operator} {value} then {} else {}", target(jt.into()), target(jf.into()))
        };
        let line = match code {
            LOAD => format!("load {}", field(k)),
            AND => format!("and {k:#x}"),
            JUMP => format!("go to {}", target(k)),
            JUMP_EQ => compared("==", format!("{k:#x}")),
            JUMP_GT => compared(">", format!("{k:#x}")),
            JUMP_GE => compared(">=", number(&names, k)),
            RETURN => answer(k),
            other => panic!("the compiler does not write {other:#x}"),
        };
        writeln!(text, "{at:3}  {line}").expect("to a string");
    }
    text
}

fn number(names: &BTreeMap<u32, &str>, number: u32) -> String {
    match names.get(&number) {
        Some(name) => format!("{number} {name}"),
        None if number < 1024 => number.to_string(),
        None => format!("{number:#x}"),
    }
}

fn goal(program: &[SockFilter], at: usize) -> String {
    match program[at] {
        SockFilter { code: RETURN, k, .. } => answer(k),
        _ => at.to_string(),
    }
}

fn field(offset: u32) -> String {
    match offset {
        NUMBER_OFFSET => "number".to_owned(),
        ARCH_OFFSET => "architecture".to_owned(),
        _ => {
            let argument = (offset - low_offset(0)) / 8;
            let half = if offset == low_offset(argument as u8) { "low" } else { "high" };
            format!("argument {argument} {half}")
        }
    }
}

fn answer(value: u32) -> String {
    if value == Action::Allow.return_value() {
        "ALLOW".to_owned()
    } else if value == Action::KillProcess.return_value() {
        "KILL".to_owned()
    } else {
        let errno = value & 0xffff;
        assert_eq!(Action::Errno(errno as u16).return_value(), value);
        match errno {
            1 => "EPERM".to_owned(),
            38 => "ENOSYS".to_owned(),
            97 => "EAFNOSUPPORT".to_owned(),
            other => format!("ERRNO {other}"),
        }
    }
}
