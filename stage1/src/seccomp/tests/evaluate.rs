//! What a policy says about a call, worked out from the policy alone: the measure for compiled programs.

use super::interpreter::Call;
use crate::seccomp::policy::{Action, Compare, Condition, Decision, Op, Policy};

/// The answer of a policy.
pub(super) fn evaluate(policy: &Policy, call: &Call) -> Action {
    if call.arch != policy.arch.audit_value() {
        return Action::KillProcess;
    }
    // -1 is what a tracer sets to have a call skipped; it is no x32 call though it has the bit.
    if policy.arch.first_foreign_number().is_some_and(|first| call.number >= first) && call.number != u32::MAX {
        return Action::KillProcess;
    }
    match policy.calls.get(&call.number) {
        None => policy.unknown,
        Some(Decision::Always(action)) => *action,
        Some(Decision::ByArguments { rules, otherwise }) => rules
            .iter()
            .find(|rule| rule.all_of.iter().all(|condition| holds(condition, call)))
            .map_or(*otherwise, |rule| rule.action),
    }
}

fn holds(condition: &Condition, call: &Call) -> bool {
    let argument = call.args[usize::from(condition.arg)];
    match condition.compare {
        Compare::Low(op) => op_holds(widen(op), argument & 0xffff_ffff),
        Compare::Full(op) => op_holds(op, argument),
    }
}

fn op_holds(op: Op<u64>, argument: u64) -> bool {
    match op {
        Op::Eq(value) => argument == value,
        Op::Ne(value) => argument != value,
        Op::Lt(value) => argument < value,
        Op::Le(value) => argument <= value,
        Op::Gt(value) => argument > value,
        Op::Ge(value) => argument >= value,
        Op::Masked { mask, value } => argument & mask == value,
    }
}

fn widen(op: Op<u32>) -> Op<u64> {
    match op {
        Op::Eq(value) => Op::Eq(value.into()),
        Op::Ne(value) => Op::Ne(value.into()),
        Op::Lt(value) => Op::Lt(value.into()),
        Op::Le(value) => Op::Le(value.into()),
        Op::Gt(value) => Op::Gt(value.into()),
        Op::Ge(value) => Op::Ge(value.into()),
        Op::Masked { mask, value } => Op::Masked { mask: mask.into(), value: value.into() },
    }
}
