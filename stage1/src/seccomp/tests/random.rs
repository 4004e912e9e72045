//! Random policies: compiled, they answer what they say, and what libseccomp's filters answer.

use super::evaluate::evaluate;
use super::interpreter::{Call, run};
use super::libseccomp::{self, Request, RequestedRule};
use super::samples;
use crate::seccomp::compile;
use crate::seccomp::policy::{Action, Arch, Compare, Condition, Decision, Op, Policy, Rule};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

fn action() -> impl Strategy<Value = Action> + Clone {
    prop_oneof![
        Just(Action::Allow),
        Just(Action::KillProcess),
        Just(Action::Errno(1)),
        Just(Action::Errno(38)),
        (0u16..=4095).prop_map(Action::Errno),
    ]
}

fn word() -> impl Strategy<Value = u32> + Clone {
    prop_oneof![0u32..4, Just(u32::MAX), (0u32..32).prop_map(|bit| 1 << bit), any::<u32>()]
}

fn double() -> impl Strategy<Value = u64> + Clone {
    (word(), word()).prop_map(|(high, low)| u64::from(high) << 32 | u64::from(low))
}

fn op<T: Copy + std::fmt::Debug + 'static>(value: impl Strategy<Value = T> + Clone + 'static) -> BoxedStrategy<Op<T>> {
    prop_oneof![
        value.clone().prop_map(Op::Eq),
        value.clone().prop_map(Op::Ne),
        value.clone().prop_map(Op::Lt),
        value.clone().prop_map(Op::Le),
        value.clone().prop_map(Op::Gt),
        value.clone().prop_map(Op::Ge),
        (value.clone(), value).prop_map(|(mask, value)| Op::Masked { mask, value }),
    ]
    .boxed()
}

fn condition() -> impl Strategy<Value = Condition> {
    let compare = prop_oneof![op(word()).prop_map(Compare::Low), op(double()).prop_map(Compare::Full)];
    (0u8..6, compare).prop_map(|(arg, compare)| Condition { arg, compare })
}

fn decision() -> impl Strategy<Value = Decision> {
    let rule =
        (prop::collection::vec(condition(), 0..4), action()).prop_map(|(all_of, action)| Rule { all_of, action });
    prop_oneof![
        3 => action().prop_map(Decision::Always),
        1 => (prop::collection::vec(rule, 0..4), action())
            .prop_map(|(rules, otherwise)| Decision::ByArguments { rules, otherwise }),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    let arch = prop_oneof![Just(Arch::X86_64), Just(Arch::Aarch64)];
    let number = prop_oneof![4 => 0u32..100, 4 => 0u32..500, 1 => Just(0x3fff_ffff_u32), 1 => 0u32..0x4000_0000];
    (arch, prop::collection::btree_map(number, decision(), 0..120), action())
        .prop_map(|(arch, calls, unknown)| Policy { arch, calls, unknown })
}

/// Calls around those a policy decides about; of very many combinations of arguments only some hundred.
fn some_calls(policy: &Policy) -> Vec<Call> {
    let arch = policy.arch.audit_value();
    let around = policy.calls.keys().flat_map(|&number| [number.wrapping_sub(1), number, number.wrapping_add(1)]);
    around
        .chain([0, 1024, 0x4000_0000, u32::MAX])
        .flat_map(|number| {
            let sets = samples::argument_sets(policy, number, 1000);
            let step = (sets.len() / 300).max(1);
            sets.into_iter().step_by(step).map(move |args| Call { number, arch, args }).collect::<Vec<_>>()
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn compiled_policies_answer_what_they_say(policy in policy()) {
        let program = compile(&policy).expect("at most 120 calls fit");
        for call in some_calls(&policy) {
            prop_assert_eq!(run(&program, &call).value, evaluate(&policy, &call).return_value(), "{:x?}", call);
        }
    }
}

/// Policies that libseccomp can express and gets right: one condition for each argument of a rule, values without bits
/// outside the mask, and either one rule for a call or several that ask one argument for equality. (Of several rules
/// with ordered 64-bit comparisons libseccomp 2.5.4 loses some.)
fn policy_for_libseccomp() -> impl Strategy<Value = Policy> {
    let full = op(double()).prop_map(|op| match op {
        Op::Masked { mask, value } => Op::Masked { mask, value: value & mask },
        op => op,
    });
    let compare = prop_oneof![
        4 => full.prop_map(Compare::Full),
        1 => word().prop_map(|value| Compare::Low(Op::Eq(value))),
        1 => (word(), word()).prop_map(|(mask, value)| Compare::Low(Op::Masked { mask, value: value & mask })),
    ];
    let one_rule = prop::collection::btree_map(0u8..6, compare, 1..4)
        .prop_map(|all| vec![all.into_iter().map(|(arg, compare)| Condition { arg, compare }).collect()]);
    let equalities = (0u8..6, prop::collection::btree_set(word(), 1..6)).prop_map(|(arg, values)| {
        let condition = |value| Condition { arg, compare: Compare::Low(Op::Eq(value)) };
        values.into_iter().map(|value| vec![condition(value)]).collect()
    });
    let rules = prop_oneof![4 => Just(vec![]), 1 => one_rule, 1 => equalities];
    let calls = prop::collection::btree_map(0u32..450, (action(), rules), 1..80);
    (action(), calls).prop_map(|(unknown, calls)| {
        let calls = calls
            .into_iter()
            .filter(|(_, (action, _))| *action != unknown)
            .map(|(number, (action, rules))| (number, agreeing(action, rules, unknown)))
            .collect();
        Policy { arch: Arch::X86_64, calls, unknown }
    })
}

fn agreeing(action: Action, rules: Vec<Vec<Condition>>, otherwise: Action) -> Decision {
    if rules.is_empty() {
        return Decision::Always(action);
    }
    let rules = rules.into_iter().map(|all_of| Rule { all_of, action }).collect();
    Decision::ByArguments { rules, otherwise }
}

fn request(policy: &Policy) -> Request {
    let requested =
        |number: u32, action: Action, all_of: Vec<Condition>| RequestedRule { name: None, number, action, all_of };
    let rules = policy
        .calls
        .iter()
        .flat_map(|(&number, decision)| match decision {
            Decision::Always(action) => vec![requested(number, *action, vec![])],
            Decision::ByArguments { rules, .. } => {
                rules.iter().map(|rule| requested(number, rule.action, rule.all_of.clone())).collect()
            }
        })
        .collect();
    Request { arch: policy.arch, default: policy.unknown, rules }
}

#[test]
fn compiled_policies_answer_what_libseccomp_answers() {
    let mut runner = TestRunner::deterministic();
    let policies: Vec<Policy> =
        (0..60).map(|_| policy_for_libseccomp().new_tree(&mut runner).expect("no filters reject").current()).collect();
    let Some(answers) = libseccomp::ask(&policies.iter().map(request).collect::<Vec<_>>()) else { return };
    for (index, (policy, answer)) in policies.iter().zip(answers).enumerate() {
        let program = compile(policy).expect("at most 80 calls fit");
        for call in some_calls(policy) {
            let (ours, theirs) = (run(&program, &call).value, run(&answer.program, &call).value);
            assert_eq!(ours, theirs, "policy {index}, {call:x?}: {:?}", policy.calls.get(&call.number));
        }
    }
}
