use rustix::thread::CapabilitySet;

use super::{Circumstances, Profile, ProfileError, policy};
use crate::seccomp::compile;
use crate::seccomp::isolator::NUMBERS;
use crate::seccomp::policy::{Action, Decision, Policy};

fn of(text: &str, capabilities: CapabilitySet) -> Result<(Policy, Vec<String>), ProfileError> {
    let here = Circumstances { kernel: (6, 1), ..Circumstances::here(capabilities).expect("filters are made here") };
    let made = policy(&Profile::parse(text)?, &here)?;
    Ok((made.policy, made.unknown))
}

fn answer(policy: &Policy, name: &str) -> Decision {
    let number = NUMBERS.iter().find(|(call, _)| *call == name).map(|(_, number)| *number).expect("a call");
    policy.calls[&number].clone()
}

const DENY: &str = r#""defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":13"#;

#[test]
fn calls_are_answered_as_the_profile_says() {
    let text = format!(
        r#"{{{DENY},"comment":"not known","flags":null,"syscalls":[
            {{"names":["read","write","statx"],"action":"SCMP_ACT_ALLOW","args":null}},
            {{"name":"mkdir","action":"SCMP_ACT_KILL_PROCESS"}},
            {{"names":["getpid"],"action":"SCMP_ACT_LOG"}},
            {{"names":["getppid"],"action":"SCMP_ACT_TRAP"}},
            {{"names":["ptrace"],"action":"SCMP_ACT_ERRNO"}},
            {{"names":["socketcall","no_such_call"],"action":"SCMP_ACT_ALLOW"}}]}}"#
    );
    let (policy, unknown) = of(&text, CapabilitySet::empty()).unwrap();
    for (name, action) in [
        ("read", Action::Allow),
        ("mkdir", Action::KillProcess),
        ("getpid", Action::Log),
        ("getppid", Action::Trap),
        ("ptrace", Action::Errno(1)),
        ("chmod", Action::Errno(13)),
        // Newer than statx, the newest that the profile knows.
        ("clone3", Action::Errno(38)),
    ] {
        assert_eq!(answer(&policy, name), Decision::Always(action), "{name}");
    }
    assert_eq!(policy.unknown, Action::Errno(38));
    assert_eq!(unknown, ["no_such_call"], "socketcall is another architecture's");
    compile(&policy).unwrap();
}

#[test]
fn an_answer_without_conditions_stands_before_others() {
    let text = format!(
        r#"{{{DENY},"syscalls":[
            {{"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[{{"index":0,"value":8,"op":"SCMP_CMP_EQ"}}]}},
            {{"names":["read"],"action":"SCMP_ACT_ALLOW"}},
            {{"names":["read"],"action":"SCMP_ACT_KILL"}},
            {{"names":["read"],"action":"SCMP_ACT_KILL","args":[{{"index":0,"value":8,"op":"SCMP_CMP_EQ"}}]}}]}}"#
    );
    let (policy, _) = of(&text, CapabilitySet::empty()).unwrap();
    assert_eq!(answer(&policy, "read"), Decision::Always(Action::Allow));
    let Decision::ByArguments { rules, otherwise } = answer(&policy, "personality") else { panic!("by arguments") };
    assert_eq!((rules.len(), otherwise), (1, Action::Errno(13)));
}

#[test]
fn an_entry_with_the_default_s_action_says_nothing() {
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
        {"names":["mkdir"],"action":"SCMP_ACT_ALLOW"},{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}"#;
    let (policy, _) = of(text, CapabilitySet::empty()).unwrap();
    assert_eq!(answer(&policy, "mkdir"), Decision::Always(Action::Errno(1)));
}

#[test]
fn conditions_on_one_argument_count_each_alone() {
    let args = r#"[{"index":0,"value":0,"op":"SCMP_CMP_EQ"},{"index":0,"value":8,"op":"SCMP_CMP_EQ"}]"#;
    let text =
        format!(r#"{{{DENY},"syscalls":[{{"names":["personality"],"action":"SCMP_ACT_ALLOW","args":{args}}}]}}"#);
    let (policy, _) = of(&text, CapabilitySet::empty()).unwrap();
    let Decision::ByArguments { rules, .. } = answer(&policy, "personality") else { panic!("by arguments") };
    assert_eq!(rules.iter().map(|rule| rule.all_of.len()).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn entries_for_others_do_not_count() {
    let entry = |what: &str| {
        let text = format!(
            r#"{{{DENY},"syscalls":[{{"names":["mount"],"action":"SCMP_ACT_ALLOW",{what}}}, {{"names":["read",
            "process_mrelease"],"action":"SCMP_ACT_ALLOW"}}]}}"#
        );
        let (policy, _) = of(&text, CapabilitySet::SYS_ADMIN).unwrap();
        answer(&policy, "mount") == Decision::Always(Action::Allow)
    };
    for yes in [
        r#""includes":{}"#,
        r#""includes":{"caps":["CAP_SYS_ADMIN"]},"excludes":{}"#,
        r#""includes":{"minKernel":"4.8"}"#,
        r#""excludes":{"caps":["CAP_BPF"]}"#,
        r#""excludes":{"arches":["s390x"],"minKernel":"7.0"}"#,
    ] {
        assert!(entry(yes), "{yes}");
    }
    for no in [
        r#""includes":{"caps":["CAP_SYS_ADMIN","CAP_BPF"]}"#,
        r#""includes":{"arches":["s390","s390x"]}"#,
        r#""includes":{"minKernel":"6.2"}"#,
        r#""excludes":{"caps":["CAP_SYS_ADMIN"]}"#,
        r#""excludes":{"arches":["amd64","arm64"]}"#,
    ] {
        assert!(!entry(no), "{no}");
    }
}

#[test]
fn a_profile_that_makes_no_sense_is_refused() {
    let entry = |entry: &str| format!(r#"{{{DENY},"syscalls":[{entry}]}}"#);
    for text in [
        String::new(),
        "[]".to_owned(),
        "{}".to_owned(),
        r#"{"defaultAction":"ALLOW"}"#.to_owned(),
        format!(r#"{{{DENY},"listenerPath":"/run/agent"}}"#),
        entry(r#"{"names":["read"]}"#),
        entry(r#"{"names":["read"],"action":"SCMP_ACT_NOTIFY"}"#),
        entry(r#"{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":0,"op":"EQ"}]}"#),
        entry(r#"{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":-1,"op":"SCMP_CMP_EQ"}]}"#),
        entry(r#"{"names":["read"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"new"}}"#),
        " ".repeat(super::MAX_BYTES as usize + 1),
    ] {
        of(&text, CapabilitySet::empty()).expect_err(&text[..text.len().min(200)]);
    }
    // An argument that calls do not have and an errno that the kernel would change are the compiler's to refuse.
    for text in [
        entry(r#"{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}"#),
        entry(r#"{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":70000}"#),
    ] {
        let (policy, _) = of(&text, CapabilitySet::empty()).unwrap();
        compile(&policy).expect_err(&text);
    }
}
