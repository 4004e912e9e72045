use super::*;
use appc::PodManifest;

const NOTHING: Modules = Modules { apparmor: false, selinux: false };

fn rights_in(annotations: &str, app: &str, isolators: &str) -> Result<(Rights, Vec<String>), BadIsolator> {
    let json = format!(
        r#"{{"acKind": "PodManifest", "acVersion": "0.8.11", "annotations": [{annotations}], "apps": [{{"name": "a",
            "image": {{"id": "sha512-aa"}}, "annotations": [{app}],
            "app": {{"exec": ["x"], "user": "0", "group": "0", "isolators": [{isolators}]}}}}]}}"#
    );
    let manifest = PodManifest::from_json(json.as_bytes()).expect("a valid manifest");
    let app = manifest.apps[0].app.as_ref().expect("an app");
    rights(
        &manifest.annotations,
        &manifest.apps[0],
        app,
        &Host { modules: || NOTHING, controllers: &["memory".to_owned()], ..Host::unknown() },
    )
    .map(|(rights, report)| (rights, report.iter().map(ToString::to_string).collect()))
}

fn rights_of(isolators: &str) -> Result<(Rights, Vec<String>), BadIsolator> {
    rights_in("", "", isolators)
}

/// As [`rights_of`], for isolators that the operator gave.
fn approved(isolators: &str) -> Result<(Rights, Vec<String>), BadIsolator> {
    let names = r#"[\"os/linux/capabilities-retain-set\",\"os/linux/seccomp-retain-set\"]"#;
    rights_in("", &format!(r#"{{"name": "{}", "value": "{names}"}}"#, choices::OPERATOR_ISOLATORS), isolators)
}

fn defaults() -> Rights {
    Rights {
        capabilities: crate::capabilities::DEFAULT,
        no_new_privs: false,
        filter: Filter::Default,
        oom_score_adj: None,
        landlock: None,
        label: None,
        ulimits: Vec::new(),
    }
}

const RETAIN: &str = r#"{"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_KILL", "CAP_SYS_ADMIN"]}}"#;

#[test]
fn without_isolators_the_defaults() {
    let (rights, report) = rights_of("").unwrap();
    assert_eq!(rights, defaults());
    assert!(report.is_empty());
}

#[test]
fn an_images_sets_narrow_and_never_widen() {
    let remove = r#"{"name": "os/linux/capabilities-remove-set", "value": {"set": ["CAP_KILL", "CAP_SYS_ADMIN"]}}"#;
    let (rights, report) = rights_of(remove).unwrap();
    assert_eq!(rights.capabilities, crate::capabilities::DEFAULT.difference(CapabilitySet::KILL));
    assert_eq!(report, ["os/linux/capabilities-remove-set: enforced"]);

    let (rights, report) = rights_of(RETAIN).unwrap();
    assert_eq!(rights.capabilities, CapabilitySet::KILL);
    assert_eq!(
        report,
        ["os/linux/capabilities-retain-set: modified: an image is not granted CAP_SYS_ADMIN: that takes --caps-retain"]
    );
}

#[test]
fn an_operators_set_is_the_set_with_the_calls_it_is_for() {
    let (rights, report) = approved(RETAIN).unwrap();
    assert_eq!(rights.capabilities, CapabilitySet::KILL.union(CapabilitySet::SYS_ADMIN));
    assert!(matches!(rights.filter, Filter::Own(_)), "{:?}", rights.filter);
    assert_eq!(report, ["os/linux/capabilities-retain-set: enforced"]);
}

#[test]
fn retaining_and_removing_at_once_is_an_error() {
    let remove = r#"{"name": "os/linux/capabilities-remove-set", "value": {"set": ["CAP_KILL"]}}"#;
    let error = rights_of(&format!("{RETAIN}, {remove}")).unwrap_err();
    assert!(matches!(error, BadIsolator::Set(_)), "{error}");
}

#[test]
fn a_misspelt_name_is_an_error() {
    for name in ["CAP_PONIES", "KILL", "cap_kill", "CAP_"] {
        let retain = format!(r#"{{"name": "os/linux/capabilities-retain-set", "value": {{"set": ["{name}"]}}}}"#);
        let unknown = BadIsolator::UnknownCapability {
            isolator: "os/linux/capabilities-retain-set".to_owned(),
            name: name.to_owned(),
        };
        assert_eq!(rights_of(&retain).unwrap_err(), unknown);
    }
    let calls = r#"{"name": "os/linux/seccomp-remove-set", "value": {"set": ["reboot", "ponies"]}}"#;
    let error = rights_of(calls).unwrap_err().to_string();
    assert_eq!(error, "isolator os/linux/seccomp-remove-set: no system call is named \"ponies\"");
}

#[test]
fn all_calls_are_the_operators_to_give() {
    let all = r#"{"name": "os/linux/seccomp-retain-set", "value": {"set": ["@appc.io/all"]}}"#;
    let (rights, report) = rights_of(all).unwrap();
    assert!(matches!(rights.filter, Filter::Own(_)));
    assert_eq!(
        report,
        ["os/linux/seccomp-retain-set: modified: an image is not granted @appc.io/all: that takes --seccomp"]
    );
    let (rights, report) = approved(all).unwrap();
    assert_eq!(rights.filter, Filter::None);
    assert_eq!(report, ["os/linux/seccomp-retain-set: enforced"]);
}

#[test]
fn choices_of_the_operator_are_annotations_of_the_pod() {
    let insecure = format!(r#"{{"name": "{}", "value": "capabilities,seccomp"}}"#, choices::INSECURE_OPTIONS);
    let (rights, report) = rights_in(&insecure, "", RETAIN).unwrap();
    assert_eq!((rights.capabilities, rights.filter), (CapabilitySet::all(), Filter::None));
    assert_eq!(report, ["os/linux/capabilities-retain-set: ignored: --insecure-options=capabilities"]);

    let strict = format!(r#"{{"name": "{}", "value": "strict"}}"#, choices::PROFILE);
    let (rights, _) = rights_in(&strict, "", "").unwrap();
    assert_eq!(rights, Rights { capabilities: crate::capabilities::STRICT, no_new_privs: true, ..defaults() });

    let landlock = format!(r#"{{"name": "{}", "value": "strict"}}"#, choices::LANDLOCK);
    let (rights, _) = rights_in(&landlock, "", "").unwrap();
    assert_eq!(rights, Rights { landlock: Some(Strict::default()), ..defaults() });

    let unknown = format!(r#"{{"name": "{}", "value": "capabilities,ponies"}}"#, choices::INSECURE_OPTIONS);
    rights_in(&unknown, "", "").unwrap_err();
}

#[test]
fn the_rest_is_reported() {
    let (rights, report) = rights_of(
        r#"{"name": "os/linux/no-new-privileges", "value": true},
           {"name": "os/linux/oom-score-adj", "value": 300},
           {"name": "os/linux/selinux-context", "value": {"user": "u", "role": "r", "type": "t", "level": "s0"}},
           {"name": "example.com/x", "value": 1},
           {"name": "resource/memory", "value": {"limit": "1G"}},
           {"name": "resource/cpu", "value": {"limit": "1"}}"#,
    )
    .unwrap();
    assert!(rights.no_new_privs);
    assert_eq!(rights.oom_score_adj, Some(OomScore { value: 300, may_be_low: false }));
    assert_eq!(report[1], "os/linux/oom-score-adj: enforced");
    assert_eq!(report[2], "os/linux/selinux-context: ignored: this host runs without SELinux");
    assert_eq!(report[3], "example.com/x: ignored: not known");
    assert_eq!(report[4], "resource/memory: enforced");
    assert_eq!(report[5], "resource/cpu: ignored: the pod's control group has no cpu controller");
    let (_, report) = rights_of(r#"{"name": "os/linux/oom-score-adj", "value": -5}"#).unwrap();
    assert_eq!(report, ["os/linux/oom-score-adj: ignored: only the host's root can lower it"]);
}

#[test]
fn a_profile_that_nothing_can_apply_is_an_error() {
    let error = rights_of(r#"{"name": "os/linux/apparmor-profile", "value": {"profile": "web"}}"#).unwrap_err();
    assert_eq!(error, BadIsolator::NoApparmor { profile: "web".to_owned() });
}
