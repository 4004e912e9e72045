//! Turns a policy into a filter program: the architecture check, then a balanced tree over ranges of numbers.
//!
//! A tree instead of a list because the kernel walks the filter once per known number when it is loaded (for its
//! bitmap of always allowed calls): a list of 380 names costs 700 µs of a start, the tree 50 µs.

use super::assembler::{Assembler, Label, Test};
use super::instruction::{
    ARCH_OFFSET, ARGUMENTS, MAX_INSTRUCTIONS, NUMBER_OFFSET, SockFilter, high_offset, low_offset,
};
use super::policy::{Action, Compare, Condition, Decision, MAX_ERRNO, Op, Policy, Rule};

/// Why a policy cannot be made into a filter.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompileError {
    /// A condition names an argument that system calls do not have.
    #[error("system call {number}: no argument {arg}, there are {ARGUMENTS}")]
    NoSuchArgument {
        /// The system call.
        number: u32,
        /// The argument.
        arg: u8,
    },
    /// An errno the kernel would not return as given.
    #[error("errno {0} is above {MAX_ERRNO}")]
    ErrnoTooLarge(u16),
    /// A decision for a number that belongs to another entry of the kernel (x32).
    #[error("system call number {0:#x} is not one of this architecture")]
    ForeignNumber(u32),
    /// The kernel would refuse a filter of this length.
    #[error("the filter has {0} instructions, above the kernel's {MAX_INSTRUCTIONS}")]
    TooLong(usize),
}

/// Compiles a policy. The same policy always gives the same program.
///
/// # Errors
/// See [`CompileError`]; nothing in a policy is silently left out.
pub fn compile(policy: &Policy) -> Result<Vec<SockFilter>, CompileError> {
    validate(policy)?;
    let mut asm = Assembler::default();
    let kill = asm.ret(Action::KillProcess.return_value());
    let targets: Vec<(u32, Label)> =
        ranges(policy).into_iter().map(|(first, decision)| (first, lower(&mut asm, &decision))).collect();
    let tree = search(&mut asm, &targets);
    let numbers = asm.load(NUMBER_OFFSET, tree);
    let check = asm.branch(Test::Eq(policy.arch.audit_value()), numbers, kill);
    let entry = asm.load(ARCH_OFFSET, check);
    let program = asm.finish(entry);
    if program.len() > MAX_INSTRUCTIONS {
        return Err(CompileError::TooLong(program.len()));
    }
    Ok(program)
}

fn validate(policy: &Policy) -> Result<(), CompileError> {
    let errno = |action: Action| match action {
        Action::Errno(errno) if errno > MAX_ERRNO => Err(CompileError::ErrnoTooLarge(errno)),
        _ => Ok(()),
    };
    errno(policy.unknown)?;
    for (&number, decision) in &policy.calls {
        // u32::MAX is -1, the number a tracer sets to have a call skipped; nobody decides about that one.
        if number == u32::MAX || policy.arch.first_foreign_number().is_some_and(|foreign| number >= foreign) {
            return Err(CompileError::ForeignNumber(number));
        }
        match decision {
            Decision::Always(action) => errno(*action)?,
            Decision::ByArguments { rules, otherwise } => {
                errno(*otherwise)?;
                for rule in rules {
                    errno(rule.action)?;
                    if let Some(bad) = rule.all_of.iter().find(|condition| condition.arg >= ARGUMENTS) {
                        return Err(CompileError::NoSuchArgument { number, arg: bad.arg });
                    }
                }
            }
        }
    }
    Ok(())
}

/// The policy as ranges that cover all numbers: each starts at its number and ends before the next one's.
/// Neighbours with the same decision are one range.
fn ranges(policy: &Policy) -> Vec<(u32, Decision)> {
    let mut ranges: Vec<(u32, Decision)> = Vec::new();
    let mut put = |first: u32, decision: Decision| match ranges.last() {
        Some((_, last)) if *last == decision => {}
        _ => ranges.push((first, decision)),
    };
    let unknown = Decision::Always(policy.unknown);
    let mut next = 0;
    for (&number, decision) in &policy.calls {
        if number > next {
            put(next, unknown.clone());
        }
        put(number, decision.clone());
        next = number + 1;
    }
    put(next, unknown.clone());
    if let Some(foreign) = policy.arch.first_foreign_number() {
        put(foreign, Decision::Always(Action::KillProcess));
        // A tracer that has a call skipped sets its number to -1 and the filter still sees that.
        put(u32::MAX, unknown);
    }
    ranges
}

/// A balanced search over the ranges' first numbers. The accumulator holds the number.
fn search(asm: &mut Assembler, ranges: &[(u32, Label)]) -> Label {
    match ranges {
        [] => unreachable!("ranges cover all numbers, so there is at least one"),
        [(_, target)] => *target,
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let first_high = high[0].0;
            let high = search(asm, high);
            let low = search(asm, low);
            asm.branch(Test::Ge(first_high), high, low)
        }
    }
}

fn lower(asm: &mut Assembler, decision: &Decision) -> Label {
    match decision {
        Decision::Always(action) => asm.ret(action.return_value()),
        Decision::ByArguments { rules, otherwise } => {
            let otherwise = asm.ret(otherwise.return_value());
            rules.iter().rfold(otherwise, |next_rule, rule| lower_rule(asm, rule, next_rule))
        }
    }
}

fn lower_rule(asm: &mut Assembler, rule: &Rule, otherwise: Label) -> Label {
    let action = asm.ret(rule.action.return_value());
    rule.all_of.iter().rfold(action, |then, condition| lower_condition(asm, condition, then, otherwise))
}

fn lower_condition(asm: &mut Assembler, condition: &Condition, yes: Label, no: Label) -> Label {
    let low = low_offset(condition.arg);
    match condition.compare {
        Compare::Low(Op::Eq(value)) => word(asm, low, Test::Eq(value), yes, no),
        Compare::Low(Op::Ne(value)) => word(asm, low, Test::Eq(value), no, yes),
        Compare::Low(Op::Lt(value)) => word(asm, low, Test::Ge(value), no, yes),
        Compare::Low(Op::Le(value)) => word(asm, low, Test::Gt(value), no, yes),
        Compare::Low(Op::Gt(value)) => word(asm, low, Test::Gt(value), yes, no),
        Compare::Low(Op::Ge(value)) => word(asm, low, Test::Ge(value), yes, no),
        Compare::Low(Op::Masked { mask, value }) => masked_word(asm, low, mask, value, yes, no),
        Compare::Full(op) => lower_full(asm, condition.arg, op, yes, no),
    }
}

/// A 64-bit comparison: the high halves decide unless they are equal, then the low ones do.
fn lower_full(asm: &mut Assembler, arg: u8, op: Op<u64>, yes: Label, no: Label) -> Label {
    match op {
        Op::Eq(value) => masked_double(asm, arg, u64::MAX, value, yes, no),
        Op::Ne(value) => masked_double(asm, arg, u64::MAX, value, no, yes),
        Op::Gt(value) => above(asm, arg, value, Test::Gt(halves(value).1), yes, no),
        Op::Ge(value) => above(asm, arg, value, Test::Ge(halves(value).1), yes, no),
        Op::Le(value) => above(asm, arg, value, Test::Gt(halves(value).1), no, yes),
        Op::Lt(value) => above(asm, arg, value, Test::Ge(halves(value).1), no, yes),
        Op::Masked { mask, value } => masked_double(asm, arg, mask, value, yes, no),
    }
}

/// The argument is above the value by its high half, or the high halves are equal and the low half passes the test.
fn above(asm: &mut Assembler, arg: u8, value: u64, low_test: Test, yes: Label, no: Label) -> Label {
    let (high, _) = halves(value);
    let low = word(asm, low_offset(arg), low_test, yes, no);
    let equal = asm.branch(Test::Eq(high), low, no);
    word(asm, high_offset(arg), Test::Gt(high), yes, equal)
}

fn masked_double(asm: &mut Assembler, arg: u8, mask: u64, value: u64, yes: Label, no: Label) -> Label {
    let ((high_mask, low_mask), (high, low)) = (halves(mask), halves(value));
    let low = masked_word(asm, low_offset(arg), low_mask, low, yes, no);
    masked_word(asm, high_offset(arg), high_mask, high, low, no)
}

fn masked_word(asm: &mut Assembler, offset: u32, mask: u32, value: u32, yes: Label, no: Label) -> Label {
    match (mask, value) {
        (0, 0) => yes,
        (u32::MAX, value) => word(asm, offset, Test::Eq(value), yes, no),
        (mask, value) => {
            let test = asm.branch(Test::Eq(value), yes, no);
            let masked = asm.and(mask, test);
            asm.load(offset, masked)
        }
    }
}

fn word(asm: &mut Assembler, offset: u32, test: Test, yes: Label, no: Label) -> Label {
    // Several rules in a row often ask the same argument, which is still loaded.
    let (yes, no) = (asm.after_load(offset, yes), asm.after_load(offset, no));
    let test = asm.branch(test, yes, no);
    asm.load(offset, test)
}

fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}
