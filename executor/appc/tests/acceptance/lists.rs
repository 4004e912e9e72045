//! Labels, annotations, environment, event handlers, working directory, dependencies.

use appc::platform::{self, GoPlatform};
use appc::{AcIdentifier, Annotations, Environment, Labels};

use crate::{image, image_with_app, pod, refusal};

fn labels(pairs: &[(&str, &str)]) -> Result<appc::ImageManifest, appc::ManifestError> {
    image(&format!(r#""labels":[{}]"#, list(pairs)))
}

fn annotations(pairs: &[(&str, &str)]) -> Result<appc::ImageManifest, appc::ManifestError> {
    image(&format!(r#""annotations":[{}]"#, list(pairs)))
}

fn environment(pairs: &[(&str, &str)]) -> Result<appc::ImageManifest, appc::ManifestError> {
    image_with_app(&format!(r#""environment":[{}]"#, list(pairs)))
}

fn list(pairs: &[(&str, &str)]) -> String {
    let object = |(name, value): &(&str, &str)| format!(r#"{{"name":"{name}","value":"{value}"}}"#);
    pairs.iter().map(object).collect::<Vec<_>>().join(",")
}

fn identifier(text: &str) -> AcIdentifier {
    text.parse().expect(text)
}

#[test]
fn os_and_arch_table() {
    let good = [
        ("linux", "amd64 i386 aarch64 aarch64_be armv6l armv7l armv7b ppc64 ppc64le s390x"),
        ("freebsd", "amd64 i386 arm"),
        ("darwin", "x86_64 i386"),
    ];
    for (os, architectures) in good {
        for arch in architectures.split(' ') {
            assert!(labels(&[("os", os), ("arch", arch)]).is_ok(), "{os} {arch}");
            assert!(labels(&[("arch", arch), ("os", os)]).is_ok(), "{os} {arch}");
        }
        let refused = refusal(labels(&[("os", os), ("arch", "arm64")]));
        assert_eq!(refused, format!("bad arch \"arm64\" for {os} (must be one of: [{architectures}])"));
    }
    let refused = refusal(labels(&[("os", "OS/360"), ("arch", "S/360")]));
    assert_eq!(refused, "bad os \"OS/360\" (must be one of: [darwin freebsd linux])");
    assert!(labels(&[("arch", "S/360")]).is_ok(), "an architecture alone is not checked");
    assert!(labels(&[("os", "linux")]).is_ok());
}

#[test]
fn label_names_are_unique_and_not_name() {
    assert_eq!(refusal(image(r#""labels":[{"name":"name"}]"#)), "invalid label name: \"name\"");
    let refused = refusal(labels(&[("arch", "amd64"), ("os", "freebsd"), ("arch", "x86_64")]));
    assert_eq!(refused, "duplicate labels of name \"arch\"");
    assert_eq!(refusal(image(r#""labels":[{"value":"x"},{"value":"y"}]"#)), "duplicate labels of name \"\"");
    let error = labels(&[("a", "1"), ("B", "2")]).expect_err("upper case");
    assert_eq!(error.path().expect("a place").to_string(), "$.labels[1].name");
}

#[test]
fn platforms_translate_both_ways() {
    let both = [
        ("linux", "amd64", "amd64", ""),
        ("linux", "aarch64", "arm64", ""),
        ("linux", "i386", "386", ""),
        ("linux", "armv6l", "arm", "6"),
        ("linux", "armv7l", "arm", "7"),
        ("linux", "ppc64", "ppc64", ""),
        ("linux", "ppc64le", "ppc64le", ""),
        ("linux", "s390x", "s390x", ""),
        ("freebsd", "amd64", "amd64", ""),
        ("freebsd", "i386", "386", ""),
        ("freebsd", "arm", "arm", "6"),
        ("darwin", "x86_64", "amd64", ""),
        ("darwin", "i386", "386", ""),
    ];
    for (os, arch, go_arch, variant) in both {
        assert_eq!(platform::to_go(os, arch), Ok(GoPlatform { os, arch: go_arch, variant }));
        assert_eq!(platform::from_go(os, go_arch, variant), Ok((os, arch)));
        assert_eq!(platform::check(Some(os), Some(arch)), Ok(()));
    }
    assert_eq!(platform::from_go("linux", "arm", ""), Ok(("linux", "armv6l")));
    assert_eq!(platform::from_go("linux", "arm", "v7"), Ok(("linux", "armv7l")), "OCI writes a v");
    assert_eq!(platform::from_go("linux", "arm64", "v8"), Ok(("linux", "aarch64")));
    assert_eq!(platform::from_go("freebsd", "arm", "5"), Ok(("freebsd", "arm")));
    for arch in ["aarch64_be", "armv7b", "arm64"] {
        let error = platform::to_go("linux", arch).expect_err(arch).to_string();
        assert_eq!(error, format!("unknown arch tuple: \"linux\" - \"{arch}\""));
    }
    let error = platform::from_go("linux", "riscv64", "").expect_err("appc has no name for it").to_string();
    assert_eq!(error, "unknown arch tuple: \"linux\" - \"riscv64\" - \"\"");
}

#[test]
fn labels_are_looked_up_and_replaced_in_place() {
    let mut labels = Labels::default();
    labels.set(identifier("os"), "linux");
    labels.set(identifier("version"), "1");
    labels.set(identifier("os"), "freebsd");
    assert_eq!(labels.iter().map(|label| label.value.as_str()).collect::<Vec<_>>(), ["freebsd", "1"]);
    let wanted: Labels = [(identifier("version"), "1".to_owned())].into_iter().collect();
    assert!(labels.satisfy(&wanted) && !wanted.satisfy(&labels));
    assert_eq!(labels.remove("os").as_deref(), Some("freebsd"));
    assert_eq!((labels.get("os"), labels.get("version")), (None, Some("1")));
}

#[test]
fn annotation_table() {
    let good = [
        vec![("created", "2004-05-14T23:11:14+00:00"), ("documentation", "http://example.com/docs")],
        vec![("created", "2014-11-14T17:36:54-08:00")],
        vec![("created", "2001-02-03T04:05:06.789Z")],
        vec![("foo", "bar"), ("homepage", "https://homepage.com")],
        vec![("appc.io/executor/supports-systemd-notify", "false")],
        vec![],
    ];
    for pairs in good {
        assert!(annotations(&pairs).is_ok(), "{pairs:?}");
    }
    assert_eq!(refusal(annotations(&[("foo", "bar"), ("foo", "baz")])), "duplicate annotations of name \"foo\"");
    let dates = [
        "garbage",
        "1416015188",
        "Fri Nov 14 17:53:02 PST 2014",
        "2014-11-14 17:36:54",
        "2014-11-1417:36:54",
        "2014-11-14T17:36:54",
        "2014-11-14t17:36:54Z",
        "2014-02-29T17:36:54Z",
        "2014-11-14T24:00:00Z",
        "2014-11-14T17:36:60Z",
        "2014-11-14T17:36:54.Z",
        "2014-11-14T17:36:54+1:00",
        "",
        "é14-11-14T17:36:54Z",
    ];
    for date in dates {
        let refused = refusal(annotations(&[("created", date)]));
        assert!(refused.starts_with("bad Date: "), "{date}: {refused}");
    }
    for name in ["homepage", "documentation"] {
        for address in ["ftp://isnotallowed.com", "not-A$@#URL", "unix://file.net", "example.com", "not a url", ""] {
            assert_eq!(refusal(annotations(&[(name, address)])), "bad URL scheme, must be http/https", "{address}");
        }
        for address in ["http://a b/", "http://a/%zz", "http://a:x/", "http://[::1/", ":a", "a:b c"] {
            let refused = refusal(annotations(&[(name, address)]));
            assert!(refused.starts_with("bad URL"), "{address}: {refused}");
        }
    }
}

#[test]
fn dates_print_canonically() {
    let table = [
        ("2004-05-14T23:11:14+00:00", "2004-05-14T23:11:14Z"),
        ("2014-11-14T17:36:54.25-08:30", "2014-11-14T17:36:54-08:30"),
        ("2016-02-29T00:00:00Z", "2016-02-29T00:00:00Z"),
    ];
    for (text, printed) in table {
        assert_eq!(text.parse::<appc::date::Date>().expect(text).to_string(), printed);
    }
}

#[test]
fn annotations_of_an_app_override_those_of_its_image_in_place() {
    let annotation = |name: &str, value: &str| (identifier(name), value.to_owned());
    let of_image: Annotations = [annotation("a", "1"), annotation("b", "2")].into_iter().collect();
    let of_app: Annotations = [annotation("c", "3"), annotation("a", "4")].into_iter().collect();
    let merged = of_image.overridden_by(&of_app);
    let merged: Vec<_> = merged.iter().map(|it| (it.name.as_str(), it.value.as_str())).collect();
    assert_eq!(merged, [("a", "4"), ("b", "2"), ("c", "3")]);
}

#[test]
fn environment_names() {
    for name in ["_0_DEBUG_0_", "DEBUG.0", "DEBUG-0", "conf.mod", "server-block", "_"] {
        assert!(environment(&[(name, "true")]).is_ok(), "{name}");
    }
    for name in ["0DEBUG", "VERBOSE|DEBUG", "A B", "A=", "-A", ".A", "é"] {
        let refused = refusal(environment(&[(name, "true")]));
        assert_eq!(refused, format!("environment variable does not have valid identifier \"{name}\""));
    }
    assert_eq!(refusal(environment(&[("", "true")])), "environment variable name must not be empty");
    let refused = refusal(environment(&[("DEBUG", "true"), ("DEBUG", "true")]));
    assert_eq!(refused, "duplicate environment variable of name \"DEBUG\"");
    // Each name is checked before it is compared with the earlier ones.
    let refused = refusal(environment(&[("A", ""), ("0", ""), ("A", "")]));
    assert_eq!(refused, "environment variable does not have valid identifier \"0\"");
}

#[test]
fn environment_is_replaced_in_place() {
    let mut environment: Environment = [("A", "1"), ("B", "2")].into_iter().collect();
    environment.set("A", "3");
    environment.set("C", "");
    let all: Vec<_> = environment.iter().map(|it| (it.name.as_str(), it.value.as_str())).collect();
    assert_eq!(all, [("A", "3"), ("B", "2"), ("C", "")]);
    assert_eq!((environment.get("C"), environment.get("c")), (Some(""), None));
    assert_eq!((environment.remove("A").as_deref(), environment.len()), (Some("3"), 2));
}

#[test]
fn event_handlers() {
    let handlers = |names: &[&str]| {
        let list: Vec<_> = names.iter().map(|name| format!(r#"{{"name":"{name}"}}"#)).collect();
        image_with_app(&format!(r#""eventHandlers":[{}]"#, list.join(",")))
    };
    let app = handlers(&["post-stop", "pre-start"]).expect("valid").app.expect("an app");
    assert!(app.event_handler(appc::Event::PreStart).is_some_and(|handler| handler.exec.is_empty()));
    for event in ["pre-start", "post-stop"] {
        let other = if event == "pre-start" { "post-stop" } else { "pre-start" };
        let expected = format!("Only one eventHandler of name \"{event}\" allowed");
        assert_eq!(refusal(handlers(&[event, event])), expected);
        assert_eq!(refusal(handlers(&[event, other, event])), expected);
    }
    assert_eq!(refusal(handlers(&["foo"])), "bad eventHandler \"name\": \"foo\"");
    assert_eq!(refusal(handlers(&[""])), "eventHandler \"name\" cannot be empty");
}

#[test]
fn the_working_directory_is_absolute() {
    for path in ["stuff", "../x", "./"] {
        let refused = refusal(image_with_app(&format!(r#""workingDirectory":"{path}""#)));
        assert_eq!(refused, "workingDirectory must be an absolute path");
    }
    for absent in [r#""workingDirectory":"""#, r#""workingDirectory":null"#, ""] {
        assert_eq!(image_with_app(absent).expect("valid").app.expect("an app").working_directory, None);
    }
}

#[test]
fn exec_may_be_anything_or_nothing() {
    for exec in ["null", "[]", r#"["app"]"#, r#"["bin/app","arg"]"#] {
        assert!(image(&format!(r#""app":{{"exec":{exec},"user":"0","group":"0"}}"#)).is_ok(), "{exec}");
    }
    assert_eq!(refusal(image(r#""app":{"exec":"not a list"}"#)), "expected an array, found a string");
}

#[test]
fn dependencies_name_an_image() {
    assert_eq!(refusal(image(r#""dependencies":[{}]"#)), "imageName cannot be empty");
    assert_eq!(refusal(image(r#""dependencies":[{"imageName":"a","imageID":""}]"#)), "badly formatted hash string");
    let image =
        image(r#""dependencies":[{"imageName":"a","imageID":null,"size":18446744073709551615}]"#).expect("valid");
    assert_eq!((image.dependencies[0].image_id.as_ref(), image.dependencies[0].size), (None, u64::MAX));
}

#[test]
fn exposed_ports_have_addresses_or_none() {
    let address = |text: &str| pod(&format!(r#""ports":[{{"name":"p","hostPort":80,"hostIP":{text}}}]"#));
    let of = |text: &str| address(text).expect(text).ports[0].host_ip.map(|ip| ip.to_string());
    assert_eq!(of("\"10.1.2.3\"").as_deref(), Some("10.1.2.3"));
    assert_eq!(of("\"::ffff:10.1.2.3\"").as_deref(), Some("10.1.2.3"));
    assert_eq!(of("\"2001:DB8::0:1\"").as_deref(), Some("2001:db8::1"));
    assert_eq!((of("\"\""), of("null")), (None, None));
    assert_eq!(refusal(address("\"localhost\"")), "invalid IP address: localhost");
}
