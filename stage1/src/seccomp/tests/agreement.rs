//! The default profile's filters against those that libseccomp makes of the same table.

use super::default::{ARCHES, compiled};
use super::interpreter::{Call, run};
use super::libseccomp::{self, Request, RequestedRule};
use super::samples;
use crate::seccomp::numbers;
use crate::seccomp::policy::{Action, Arch, Decision, Policy};
use std::collections::{BTreeMap, BTreeSet};

/// Libseccomp has one default action for a whole filter and no "otherwise" for a call: each answer that calls decided by
/// arguments fall back to needs a filter of its own, with those calls only. The one for all other calls comes first.
fn requests(policy: &Policy, name: impl Fn(u32) -> Option<String>) -> Vec<Request> {
    let mut simple = Vec::new();
    let mut by_fallback: BTreeMap<Action, Vec<RequestedRule>> = BTreeMap::new();
    for (&number, decision) in &policy.calls {
        let name = name(number);
        match decision {
            Decision::Always(action) if *action == policy.unknown => {}
            Decision::Always(action) => {
                simple.push(RequestedRule { name, number, action: *action, all_of: vec![] });
            }
            Decision::ByArguments { rules, otherwise } => {
                by_fallback.entry(*otherwise).or_default().extend(rules.iter().map(|rule| RequestedRule {
                    name: name.clone(),
                    number,
                    action: rule.action,
                    all_of: rule.all_of.clone(),
                }));
            }
        }
    }
    let arch = policy.arch;
    std::iter::once(Request { arch, default: policy.unknown, rules: simple })
        .chain(by_fallback.into_iter().map(|(default, rules)| Request { arch, default, rules }))
        .collect()
}

/// Compares all calls and returns the numbers libseccomp could not be asked about.
fn compare(arch: Arch, name: impl Fn(u32) -> Option<String>) -> Option<BTreeSet<u32>> {
    let (policy, program) = compiled(arch);
    let requests = requests(&policy, name);
    let answers = libseccomp::ask(&requests)?;
    let skipped: BTreeSet<u32> = answers.iter().flat_map(|answer| answer.skipped.iter().copied()).collect();
    let theirs = |call: &Call| {
        let default = match policy.calls.get(&call.number) {
            Some(Decision::ByArguments { otherwise, .. }) => Some(*otherwise),
            _ => None,
        };
        let index = default.map_or(0, |default| {
            1 + requests[1..].iter().position(|request| request.default == default).expect("one was asked for")
        });
        run(&answers[index].program, call).value
    };
    for call in samples::calls(&policy).filter(|call| !skipped.contains(&call.number)) {
        assert_eq!(run(&program, &call).value, theirs(&call), "{arch:?} {call:x?}");
    }
    for number in samples::numbers(&policy) {
        let call = Call { number, arch: 0x4000_0003, args: [0; 6] };
        assert_eq!(run(&program, &call).value, theirs(&call), "i386 {call:x?}");
    }
    Some(skipped)
}

/// By number, so that each call of the profile is compared, also those newer than libseccomp. Only the architecture the
/// tests run on: libseccomp takes numbers to be those of its own.
#[test]
fn the_default_filter_answers_what_libseccomp_answers() {
    let arch = Arch::from_rust_name(std::env::consts::ARCH).expect("the crate was built for it");
    if let Some(skipped) = compare(arch, |_| None) {
        assert!(skipped.is_empty());
    }
}

/// By name, so that libseccomp's table of numbers is compared with ours as well.
#[test]
fn libseccomp_has_the_same_numbers_for_the_names() {
    for arch in ARCHES {
        let names: BTreeMap<u32, &str> = numbers::by_name(arch).into_iter().map(|(name, n)| (n, name)).collect();
        let Some(skipped) = compare(arch, |number| Some(names[&number].to_owned())) else { return };
        // Version 2.5.4 ends with cachestat, and never had those the kernel puts into probed processes.
        let newer: Vec<_> = skipped.iter().map(|number| names[number]).collect();
        let may_be_missing = |number: u32| number > 451 || names[&number].contains("probe");
        assert!(skipped.iter().all(|&number| may_be_missing(number)), "{arch:?}: {newer:?}");
    }
}
