//! Asks libseccomp, through a small C program, for the filter it would make of a policy.

use crate::seccomp::instruction::SockFilter;
use crate::seccomp::policy::{Action, Arch, Compare, Condition, Op};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

const SOURCE: &str = include_str!("libseccomp.c");

/// A filter in libseccomp's terms: one default action, and rules without an order.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) arch: Arch,
    pub(super) default: Action,
    pub(super) rules: Vec<RequestedRule>,
}

/// One rule; its action must not be the default one, which libseccomp refuses.
#[derive(Clone, Debug)]
pub(super) struct RequestedRule {
    /// Resolved by libseccomp's own table if given.
    pub(super) name: Option<String>,
    pub(super) number: u32,
    pub(super) action: Action,
    pub(super) all_of: Vec<Condition>,
}

/// What libseccomp made of a request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) program: Vec<SockFilter>,
    /// Numbers whose names this version of libseccomp does not know.
    pub(super) skipped: BTreeSet<u32>,
}

/// Builds the C program and has it answer all requests.
///
/// Returns `None`, after saying why, where the development files of libseccomp or a C compiler are missing.
///
/// # Panics
/// If they are missing in CI, or anything else goes wrong.
pub(super) fn ask(requests: &[Request]) -> Option<Vec<Answer>> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (source, program) = (dir.path().join("libseccomp.c"), dir.path().join("libseccomp"));
    std::fs::write(&source, SOURCE).expect("write the C source");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let missing = match Command::new(&compiler).arg("-o").arg(&program).arg(&source).arg("-lseccomp").output() {
        Err(error) => Some(format!("C compiler {compiler}: {error}")),
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let absent = text.contains("seccomp.h: No such file") || text.contains("-lseccomp");
            assert!(absent, "{compiler} failed on libseccomp.c:\n{text}");
            Some("libseccomp's development files (Debian: libseccomp-dev)".to_owned())
        }
    };
    if let Some(missing) = missing {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "missing in CI: {missing}");
        // Not eprintln!, which is not seen when a test passes.
        let note = format!("skipped: comparison with libseccomp, for want of {missing}\n");
        std::io::stderr().write_all(note.as_bytes()).expect("write to stderr");
        return None;
    }
    Some(parse(&converse(&program, &requests.iter().map(describe).collect::<String>()), requests.len()))
}

fn converse(program: &std::path::Path, input: &str) -> String {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start the program just compiled");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("wait for the program");
    writer.join().expect("the writer does not panic").expect("write the requests");
    assert!(output.status.success(), "the libseccomp program failed: {}", output.status);
    String::from_utf8(output.stdout).expect("it prints ASCII")
}

fn describe(request: &Request) -> String {
    let Request { arch, default, rules } = request;
    let mut text = format!("filter {:x} {:x}\n", arch.audit_value(), default.return_value());
    for RequestedRule { name, number, action, all_of } in rules {
        let name = name.as_deref().unwrap_or("-");
        write!(text, "call {name} {number:x} {:x} {:x}", action.return_value(), all_of.len()).expect("to a string");
        for condition in all_of {
            let (op, a, b) = comparison(condition.compare);
            write!(text, " {:x} {op:x} {a:x} {b:x}", condition.arg).expect("to a string");
        }
        text.push('\n');
    }
    text.push_str("end\n");
    text
}

/// A comparison as libseccomp's `enum scmp_compare` and its two values. It has no 32-bit comparisons, but equality under
/// a mask of the low half is the same.
fn comparison(compare: Compare) -> (u32, u64, u64) {
    match compare {
        Compare::Full(Op::Ne(value)) => (1, value, 0),
        Compare::Full(Op::Lt(value)) => (2, value, 0),
        Compare::Full(Op::Le(value)) => (3, value, 0),
        Compare::Full(Op::Eq(value)) => (4, value, 0),
        Compare::Full(Op::Ge(value)) => (5, value, 0),
        Compare::Full(Op::Gt(value)) => (6, value, 0),
        Compare::Full(Op::Masked { mask, value }) => (7, mask, value),
        Compare::Low(Op::Eq(value)) => (7, u64::from(u32::MAX), value.into()),
        Compare::Low(Op::Masked { mask, value }) => (7, mask.into(), value.into()),
        Compare::Low(op) => panic!("libseccomp cannot express {op:?} of the low half"),
    }
}

fn parse(text: &str, expected: usize) -> Vec<Answer> {
    let hex = |field: &str| u32::from_str_radix(field, 16).expect("a hexadecimal number");
    let mut answers = Vec::new();
    let mut current = Answer { program: Vec::new(), skipped: BTreeSet::new() };
    for line in text.lines() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["skipped", number] => {
                current.skipped.insert(hex(number));
            }
            ["instruction", code, jt, jf, k] => current.program.push(SockFilter {
                code: u16::try_from(hex(code)).expect("16 bits"),
                jt: u8::try_from(hex(jt)).expect("8 bits"),
                jf: u8::try_from(hex(jf)).expect("8 bits"),
                k: hex(k),
            }),
            ["end"] => {
                answers.push(std::mem::replace(&mut current, Answer { program: Vec::new(), skipped: BTreeSet::new() }));
            }
            ref other => panic!("unexpected answer {other:?}"),
        }
    }
    assert_eq!(answers.len(), expected, "one answer for each request");
    answers
}
