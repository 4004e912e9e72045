//! Which calls to try on a policy, so that every answer it can give is asked for.

use super::interpreter::Call;
use crate::seccomp::policy::{Compare, Condition, Decision, Op, Policy};
use std::collections::{BTreeMap, BTreeSet};

/// Every number a table could hold, and those at the borders of the foreign ranges.
pub(super) fn numbers(policy: &Policy) -> Vec<u32> {
    let high = [
        0x3fff_ffff,
        0x4000_0000,
        0x4000_0001,
        0x4000_0100,
        0x4000_0200,
        0x4000_0223,
        0x7fff_ffff,
        0x8000_0000,
        0xbfff_ffff,
        0xc000_0000,
        0xffff_fffe,
        0xffff_ffff,
    ];
    let around = policy.calls.keys().flat_map(|&number| [number.saturating_sub(1), number, number.saturating_add(1)]);
    (0..=1024).chain(high).chain(around).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Enough for all combinations of the default profile's calls.
const ALL_COMBINATIONS: usize = 50_000;

/// Argument sets for one number: zeros and ones where arguments do not matter; where they do, every combination of
/// interesting values, or, if those are more than `limit`, each value in turn beside arguments that fulfil a rule.
pub(super) fn argument_sets(policy: &Policy, number: u32, limit: usize) -> Vec<[u64; 6]> {
    let mut sets = vec![[0; 6], [u64::MAX; 6]];
    let Some(Decision::ByArguments { rules, .. }) = policy.calls.get(&number) else { return sets };
    let mut values: BTreeMap<u8, BTreeSet<u64>> = BTreeMap::new();
    for condition in rules.iter().flat_map(|rule| &rule.all_of) {
        values.entry(condition.arg).or_default().extend(interesting(condition));
    }
    let combinations = values.values().fold(1, |product: usize, values| product.saturating_mul(values.len()));
    if combinations <= limit {
        let product = values.iter().fold(vec![[0; 6]], |sets, (&arg, values)| vary(&sets, arg, values));
        sets.extend(product);
    } else {
        for rule in rules {
            let mut fulfilled = [0; 6];
            for condition in &rule.all_of {
                fulfilled[usize::from(condition.arg)] = fulfilling(condition);
            }
            sets.extend(values.iter().flat_map(|(&arg, values)| vary(&[fulfilled], arg, values)));
        }
    }
    sets
}

/// Each set with each of the values in the place of one argument.
fn vary(sets: &[[u64; 6]], arg: u8, values: &BTreeSet<u64>) -> Vec<[u64; 6]> {
    let with = |set: &[u64; 6], value: u64| {
        let mut set = *set;
        set[usize::from(arg)] = value;
        set
    };
    sets.iter().flat_map(|set| values.iter().map(move |&value| with(set, value))).collect()
}

/// A value that a condition holds for, if there is one.
fn fulfilling(condition: &Condition) -> u64 {
    match condition.compare {
        Compare::Low(Op::Eq(value) | Op::Le(value) | Op::Ge(value) | Op::Masked { value, .. }) => value.into(),
        Compare::Low(Op::Ne(value)) => (value ^ 1).into(),
        Compare::Low(Op::Lt(value)) => value.wrapping_sub(1).into(),
        Compare::Low(Op::Gt(value)) => value.wrapping_add(1).into(),
        Compare::Full(Op::Eq(value) | Op::Le(value) | Op::Ge(value) | Op::Masked { value, .. }) => value,
        Compare::Full(Op::Ne(value)) => value ^ 1,
        Compare::Full(Op::Lt(value)) => value.wrapping_sub(1),
        Compare::Full(Op::Gt(value)) => value.wrapping_add(1),
    }
}

/// All calls to try on a policy's own architecture.
pub(super) fn calls(policy: &Policy) -> impl Iterator<Item = Call> {
    let arch = policy.arch.audit_value();
    numbers(policy).into_iter().flat_map(move |number| {
        argument_sets(policy, number, ALL_COMBINATIONS).into_iter().map(move |args| Call { number, arch, args })
    })
}

/// Values at both sides of what a condition tells apart, and with bits above the low half.
fn interesting(condition: &Condition) -> Vec<u64> {
    let (point, mask) = match condition.compare {
        Compare::Low(op) => {
            let (value, mask) = constants(op, u32::MAX);
            (u64::from(value), u64::from(mask))
        }
        Compare::Full(op) => constants(op, u64::MAX),
    };
    let mut values = vec![0, u64::from(u32::MAX), u64::MAX, point | !mask, point & mask];
    for near in [point.wrapping_sub(1), point, point.wrapping_add(1)] {
        values.extend([near, near ^ (1 << 32), near ^ (1 << 63), near & 0xffff_ffff]);
    }
    // Inside the mask each bit must matter, outside none may.
    values.extend((0..64).map(|bit| point ^ (1 << bit)));
    values
}

/// The constant of a comparison, and which bits it looks at.
fn constants<T: Copy>(op: Op<T>, all: T) -> (T, T) {
    match op {
        Op::Eq(value) | Op::Ne(value) | Op::Lt(value) | Op::Le(value) | Op::Gt(value) | Op::Ge(value) => (value, all),
        Op::Masked { mask, value } => (value, mask),
    }
}
