//! Isolators: the values of each known name, and the rules for sets of them.

use appc::isolator::capabilities::CapabilitySet;
use appc::isolator::limit::Limit;
use appc::isolator::report::{Outcome, ReportEntry};
use appc::isolator::scheduling::{CpuShares, OomScoreAdj};
use appc::isolator::seccomp::SeccompSet;
use appc::isolator::{names, set};
use appc::{App, Dialect, ImageManifest, Isolator, IsolatorValue};

use crate::{image_with_app, pod, refusal};

/// Reads the isolator as one of a pod, where there are no rules for the set.
fn isolator(name: &str, value: &str) -> Result<Isolator, appc::ManifestError> {
    pod(&format!(r#""isolators":[{{"name":"{name}","value":{value}}}]"#)).map(|mut pod| pod.isolators.remove(0))
}

fn app(isolators: &[(&str, &str)]) -> Result<App, appc::ManifestError> {
    let list: Vec<_> =
        isolators.iter().map(|(name, value)| format!(r#"{{"name":"{name}","value":{value}}}"#)).collect();
    image_with_app(&format!(r#""isolators":[{}]"#, list.join(","))).map(|image| image.app.expect("an app"))
}

const RANGE: &str = "os/linux/cpu-shares must be between 2 and 262144, got";
const ADJUSTMENT: &str = "os/linux/oom-score-adj must be between -1000 and 1000, got";
const NOT_A_NUMBER: &str = "expected a whole number, found a string";
const NOT_A_BOOLEAN: &str = "expected a boolean, found";
const EMPTY_SET: &str = "set must be non-empty";
const NO_DEFAULT: &str = "default must be true";

/// Name, value, and how the refusal begins; an empty one means the value is good.
const CASES: [(&str, &str, &str); 52] = [
    (names::CPU_SHARES, "2048", ""),
    (names::CPU_SHARES, "1", RANGE),
    (names::CPU_SHARES, "\"pants\"", NOT_A_NUMBER),
    (names::CPU_SHARES, "\"262145\"", NOT_A_NUMBER),
    (names::CPU_SHARES, "\"-1\"", NOT_A_NUMBER),
    (names::CPU_SHARES, "262145", RANGE),
    (names::OOM_SCORE_ADJ, "250", ""),
    (names::OOM_SCORE_ADJ, "-250", ""),
    (names::OOM_SCORE_ADJ, "-2500", ADJUSTMENT),
    (names::OOM_SCORE_ADJ, "\"pants\"", NOT_A_NUMBER),
    (names::OOM_SCORE_ADJ, "1.5", "expected a whole number, found 1.5"),
    (names::NO_NEW_PRIVILEGES, "true", ""),
    (names::NO_NEW_PRIVILEGES, "false", ""),
    (names::NO_NEW_PRIVILEGES, "123", NOT_A_BOOLEAN),
    (names::NO_NEW_PRIVILEGES, r#"{"set":["CAP_KILL"]}"#, NOT_A_BOOLEAN),
    (names::NO_NEW_PRIVILEGES, "\"foo\"", NOT_A_BOOLEAN),
    (names::CAPABILITIES_RETAIN, r#"{"set":["CAP_KILL"]}"#, ""),
    (names::CAPABILITIES_RETAIN, r#"{"set":["CAP_PONIES"]}"#, ""),
    (names::CAPABILITIES_RETAIN, r#"{"set":[]}"#, EMPTY_SET),
    (names::CAPABILITIES_RETAIN, r#"{"set":"CAP_PONIES"}"#, "expected an array, found a string"),
    (names::CAPABILITIES_REMOVE, "{}", EMPTY_SET),
    (names::SECCOMP_RETAIN, r#"{"set":["open"],"errno":""}"#, ""),
    (names::SECCOMP_REMOVE, r#"{"set":["@appc.io/empty"],"errno":"EACCESS"}"#, ""),
    (names::SECCOMP_REMOVE, r#"{"set":[],"errno":"EPERM"}"#, EMPTY_SET),
    (names::SECCOMP_REMOVE, r#"{"set":["a"],"errno":"PERM"}"#, "errno must start with an 'E' character, got PERM"),
    (
        names::SECCOMP_REMOVE,
        r#"{"set":["a"],"errno":"EPeRM"}"#,
        "errno can only contain upper case or numeric characters, got EPeRM",
    ),
    (names::BLOCK_BANDWIDTH, r#"{"default":true,"limit":"1G"}"#, ""),
    (names::BLOCK_BANDWIDTH, r#"{"default":false,"limit":"1G"}"#, NO_DEFAULT),
    (names::BLOCK_BANDWIDTH, r#"{"request":"30G","limit":"1G"}"#, NO_DEFAULT),
    (names::BLOCK_IOPS, r#"{"default":true,"limit":"1G"}"#, ""),
    (names::BLOCK_IOPS, r#"{"default":false,"limit":"1G"}"#, NO_DEFAULT),
    (names::BLOCK_IOPS, r#"{"request":"30G","limit":"1G"}"#, NO_DEFAULT),
    (names::BLOCK_IOPS, r#"{"default":true,"request":"30G"}"#, "request not supported by this resource, must be empty"),
    (names::CPU, r#"{"request":"30m","limit":"1m"}"#, ""),
    (names::MEMORY, r#"{"request":"1G","limit":"2Gi"}"#, ""),
    (names::MEMORY, r#"{"default":true,"request":"1G","limit":"2G"}"#, "default must be false"),
    (names::MEMORY, r#"{"limit":"1K"}"#, "unable to parse quantity's suffix"),
    (names::MEMORY, "{}", ""),
    (names::NETWORK_BANDWIDTH, r#"{"default":true,"limit":"1G"}"#, ""),
    (names::NETWORK_BANDWIDTH, r#"{"default":false,"limit":"1G"}"#, NO_DEFAULT),
    (names::NETWORK_BANDWIDTH, r#"{"request":"30G","limit":"1G"}"#, NO_DEFAULT),
    (names::SYSCTL, r#"{"net.ipv4.tcp_rfc1337":"1"}"#, ""),
    (names::SYSCTL, "{}", ""),
    (names::SYSCTL, r#"{"net.ipv4.tcp_rfc1337":1}"#, "expected a string, found a number"),
    (names::SYSCTL, r#"{["net.ipv4.tcp_rfc1337"]}"#, "\nError at line 1"),
    (names::SELINUX_CONTEXT, r#"{"user":"user_u","role":"role_r","type":"type_r","level":"s0-s0"}"#, ""),
    (names::SELINUX_CONTEXT, r#"{"user":"user_u","role":"role_r","type":"type_r","level":"s0-s0:c0"}"#, ""),
    (
        names::SELINUX_CONTEXT,
        r#"{"user":"u","role":"role_r:type_t","type":"t","level":"s0"}"#,
        "invalid role value \"role_r:type_t\"",
    ),
    (names::SELINUX_CONTEXT, r#"{"user":"u","role":"","type":"t","level":"s0"}"#, "invalid role value \"\""),
    (names::SELINUX_CONTEXT, r#"{"user":"u","role":"r","type":"t"}"#, "invalid level value \"\""),
    (names::APPARMOR_PROFILE, r#"{"profile":"rkt-default"}"#, ""),
    (names::APPARMOR_PROFILE, r#"{"profile":""}"#, "invalid profile value \"\""),
];

#[test]
fn isolator_verdicts() {
    for (name, value, refused) in CASES {
        match isolator(name, value) {
            Ok(isolator) => {
                assert_eq!(refused, "", "{name} {value}");
                assert_eq!(isolator.value().name(), Some(name));
            }
            Err(error) => {
                let message = error.to_string();
                assert!(!refused.is_empty() && message.starts_with(refused), "{name} {value}: {message}");
            }
        }
        assert_eq!(app(&[(name, value)]).is_ok(), refused.is_empty(), "{name} {value} in an app");
    }
}

#[test]
fn values_have_their_meaning() {
    let meaning = |name: &str, value: &str| isolator(name, value).expect(name).value().clone();
    let IsolatorValue::Cpu(cpu) = meaning(names::CPU, r#"{"request":"30m","limit":"1m"}"#) else { panic!("cpu") };
    assert_eq!(cpu.request.as_ref().map(|quantity| quantity.milli_value()), Some(30));
    assert_eq!(cpu.limit.map(|quantity| quantity.milli_value()), Some(1));
    let IsolatorValue::Memory(memory) = meaning(names::MEMORY, r#"{"request":1e9,"limit":" 2Gi "}"#) else {
        panic!("memory")
    };
    assert_eq!(memory.request.as_ref().map(|quantity| quantity.value()), Some(1_000_000_000));
    assert_eq!(memory.limit.as_ref().map(|quantity| quantity.value()), Some(2_147_483_648));
    let IsolatorValue::Memory(memory) = meaning(names::MEMORY, r#"{"request":null,"limit":"1G"}"#) else {
        panic!("memory")
    };
    assert_eq!(memory.effective_request(), memory.limit.as_ref(), "the request defaults to the limit");

    assert_eq!(meaning(names::NO_NEW_PRIVILEGES, "true"), IsolatorValue::NoNewPrivileges(true));
    let IsolatorValue::SeccompRemove(calls) = meaning(names::SECCOMP_REMOVE, r#"{"set":["a","b"],"errno":"EPERM"}"#)
    else {
        panic!("seccomp")
    };
    assert_eq!((calls.entries(), calls.errno()), (["a".to_owned(), "b".to_owned()].as_slice(), Some("EPERM")));
    let context = r#"{"user":"u","role":"r","type":"t","level":"s0:c1"}"#;
    let IsolatorValue::SelinuxContext(context) = meaning(names::SELINUX_CONTEXT, context) else { panic!("selinux") };
    assert_eq!(context.to_string(), "u:r:t:s0:c1");
    let IsolatorValue::Sysctl(parameters) = meaning(names::SYSCTL, r#"{"a.b":"1"}"#) else { panic!("sysctl") };
    assert_eq!(parameters["a.b"], "1");
}

#[test]
fn the_last_of_several_counts() {
    let app =
        app(&[(names::CPU, r#"{"limit":"1"}"#), (names::NO_NEW_PRIVILEGES, "true"), (names::CPU, r#"{"limit":"2"}"#)])
            .expect("repeated resources are allowed");
    let IsolatorValue::Cpu(cpu) = set::last(&app.isolators, names::CPU).expect("there").value() else { panic!("cpu") };
    assert_eq!(cpu.limit.as_ref().map(|quantity| quantity.value()), Some(2));
    assert_eq!(set::last(&app.isolators, names::MEMORY), None);
}

#[test]
fn range_messages() {
    assert_eq!(refusal(isolator(names::CPU_SHARES, "1")), "os/linux/cpu-shares must be between 2 and 262144, got 1");
    let refused = refusal(isolator(names::OOM_SCORE_ADJ, "-2500"));
    assert_eq!(refused, "os/linux/oom-score-adj must be between -1000 and 1000, got -2500");
    assert_eq!(CpuShares::new(2).map(CpuShares::get), Ok(2));
    assert_eq!(OomScoreAdj::new(1000).map(OomScoreAdj::get), Ok(1000));
    assert!(CpuShares::new(262_145).is_err() && OomScoreAdj::new(1001).is_err());
}

#[test]
fn some_isolators_stand_once_in_an_app() {
    let good = |name: &str| CASES.iter().find(|case| case.0 == name && case.2.is_empty()).expect(name).1;
    for name in names::ALL.into_iter().filter(|&name| name != names::CAPABILITIES_REMOVE) {
        let value = good(name);
        let once = [names::SECCOMP_RETAIN, names::SECCOMP_REMOVE, names::OOM_SCORE_ADJ, names::CPU_SHARES]
            .into_iter()
            .chain([names::SELINUX_CONTEXT, names::APPARMOR_PROFILE, names::SYSCTL])
            .any(|single| single == name);
        let twice = app(&[(name, value), (name, value)]);
        if once {
            assert_eq!(refusal(twice), format!("isolators set contains too many instances of type {name}\""));
        } else {
            assert!(twice.is_ok(), "{name}");
        }
        assert!(
            pod(&format!(r#""isolators":[{{"name":"{name}","value":{value}}},{{"name":"{name}","value":{value}}}]"#))
                .is_ok(),
            "a pod may have {name} twice"
        );
    }
}

#[test]
fn seccomp_sets_exclude_one_another() {
    let (retain, remove) = ((names::SECCOMP_RETAIN, r#"{"set":["a"]}"#), (names::SECCOMP_REMOVE, r#"{"set":["a"]}"#));
    for pair in [[retain, remove], [remove, retain]] {
        assert_eq!(refusal(app(&pair)), "isolators set contains incompatible types");
    }
    let error = app(&[retain, remove]).expect_err("incompatible");
    assert_eq!(error.path().expect("a place").to_string(), "$.app");
}

#[test]
fn capability_sets_may_be_read_together_but_not_run() {
    let both = app(&[
        (names::CAPABILITIES_RETAIN, r#"{"set":["CAP_KILL"]}"#),
        (names::CAPABILITIES_REMOVE, r#"{"set":["CAP_KILL"]}"#),
    ])
    .expect("readable");
    assert_eq!(
        set::check_runnable(&both.isolators).expect_err("the specification forbids it").to_string(),
        "isolators set contains incompatible types"
    );
    assert_eq!(set::check_runnable(&both.isolators[..1]), Ok(()));
}

#[test]
fn a_known_isolator_needs_a_value() {
    for name in names::ALL {
        let message = format!("isolator {name}: \"value\" is required");
        for fields in [format!(r#""name":"{name}""#), format!(r#""name":"{name}","value":null"#)] {
            let list = format!(r#""isolators":[{{{fields}}}]"#);
            assert_eq!(refusal(pod(&list)), message);
            let error = image_with_app(&list).expect_err(name);
            assert_eq!(error.located().to_string(), format!("$.app.isolators[0]: {message}"));
        }
    }
}

#[test]
fn unknown_isolators_are_kept_and_told() {
    let list = r#""isolators":[{"name":"resource/network-ponies","value":{"b":1.50,"a":[]}},{"value":0},
        {"name":"os/linux/no-new-privileges","value":true}]"#;
    let image = image_with_app(list).expect("readable");
    let app = image.app.as_ref().expect("an app");
    let unknown: Vec<_> = set::unrecognized(&app.isolators).map(|isolator| isolator.name().as_str()).collect();
    assert_eq!(unknown, ["resource/network-ponies", ""]);
    assert_eq!(app.isolators[0].json(), Some(r#"{"b":1.50,"a":[]}"#));
    assert_eq!(set::unrecognized(&pod(list).expect("readable").isolators).count(), 2);
}

#[test]
fn actool_refuses_unknown_isolators_of_an_app() {
    let json = br#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"a",
        "app":{"user":"0","group":"0","isolators":[{"name":"foo","value":1}]}}"#;
    assert_eq!(refusal(ImageManifest::from_json_in(json, Dialect::Actool)), "invalid isolator");
    assert!(ImageManifest::from_json(json).is_ok());
}

#[test]
fn isolators_made_in_code_print_and_read_back() {
    let calls = SeccompSet::new(vec!["open".to_owned()], Some("EPERM".to_owned())).expect("valid");
    let capabilities = CapabilitySet::new(vec!["CAP_KILL".to_owned()]).expect("valid");
    assert!(capabilities.contains("CAP_KILL") && !capabilities.contains("CAP_CHOWN"));
    let values = [
        (
            IsolatorValue::Cpu(Limit::parse("0.5", "1500m").expect("valid")),
            r#"{"default":false,"request":"500m","limit":"1500m"}"#,
        ),
        (
            IsolatorValue::BlockIops(Limit { default: true, ..Limit::default() }),
            r#"{"default":true,"request":null,"limit":null}"#,
        ),
        (IsolatorValue::NoNewPrivileges(true), "true"),
        (IsolatorValue::SeccompRetain(calls), r#"{"set":["open"],"errno":"EPERM"}"#),
        (IsolatorValue::CapabilitiesRemove(capabilities), r#"{"set":["CAP_KILL"]}"#),
        (IsolatorValue::OomScoreAdj(OomScoreAdj::new(-5).expect("valid")), "-5"),
        (IsolatorValue::CpuShares(CpuShares::new(512).expect("valid")), "512"),
    ];
    for (value, json) in values {
        let made = Isolator::new(value.clone()).expect("a known kind");
        assert_eq!(made.json(), Some(json));
        assert_eq!(isolator(made.name().as_str(), json), Ok(made));
    }
    assert_eq!(Isolator::new(IsolatorValue::Unknown), None);
    assert_eq!(
        Limit::parse("x", "1").expect_err("no quantity").to_string(),
        "error parsing request: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    );
}

#[test]
fn isolators_are_replaced_by_name() {
    let mut list =
        app(&[(names::CPU, r#"{"limit":"1"}"#), (names::OOM_SCORE_ADJ, "1"), (names::CPU, r#"{"limit":"2"}"#)])
            .expect("valid")
            .isolators;
    let new = isolator(names::CPU, r#"{"limit":"3"}"#).expect("valid");
    set::replace(&mut list, new.clone(), &[names::CPU]);
    assert_eq!(
        list.iter().map(|isolator| isolator.name().as_str()).collect::<Vec<_>>(),
        [names::OOM_SCORE_ADJ, names::CPU]
    );
    assert_eq!(list[1], new);
}

#[test]
fn report_entries_read_well_and_round_trip() {
    let entry = |outcome| ReportEntry { isolator: names::MEMORY.parse().expect("a name"), outcome };
    let ignored = entry(Outcome::Ignored("no cgroup delegation".to_owned()));
    assert_eq!(ignored.to_string(), "resource/memory: ignored: no cgroup delegation");
    assert_eq!(entry(Outcome::Enforced).to_string(), "resource/memory: enforced");
    let json = serde_json::to_string(&ignored).expect("JSON");
    assert_eq!(json, r#"{"isolator":"resource/memory","outcome":"ignored","why":"no cgroup delegation"}"#);
    assert_eq!(serde_json::from_str::<ReportEntry>(&json).expect("reads back"), ignored);
}
