//! Forms of references, and what is none.

use super::*;
use proptest::prelude::*;

fn aci(path: &str) -> ImageRef {
    ImageRef::Aci(path.into())
}

fn oci(dir: &str, reference: Option<&str>) -> ImageRef {
    ImageRef::OciLayout { dir: dir.into(), reference: reference.map(str::to_owned) }
}

#[test]
fn each_form_is_recognised() {
    let digest = format!("sha256:{}", "0a".repeat(32));
    let at_digest = format!("docker.io/library/debian@{digest}");
    let cases = [
        ("hello", ImageRef::Hello),
        ("hello:1", ImageRef::Name("hello:1".into())),
        ("docker://debian", ImageRef::Registry("debian".into())),
        ("docker://localhost:5000/a/b:c", ImageRef::Registry("localhost:5000/a/b:c".into())),
        ("./hello", aci("./hello")),
        ("busybox.aci", aci("busybox.aci")),
        ("dir/busybox.aci", aci("dir/busybox.aci")),
        ("a file.aci", aci("a file.aci")),
        ("/tmp/x", aci("/tmp/x")),
        ("../x", aci("../x")),
        ("file:///tmp/a%20b.aci", aci("/tmp/a b.aci")),
        ("file://localhost/x", aci("/x")),
        ("oci:dir", oci("dir", None)),
        ("oci:/a/b:latest", oci("/a/b", Some("latest"))),
        ("oci:a b:v1", oci("a b", Some("v1"))),
        ("oci:dir:docker.io/library/debian:12", oci("dir", Some("docker.io/library/debian:12"))),
        (&format!("oci:d:{digest}"), oci("d", Some(&digest))),
        ("sha512-ab", ImageRef::Id("sha512-ab".into())),
        ("sha512:ab", ImageRef::Id("sha512-ab".into())),
        ("sha256-0a1b", ImageRef::Id("sha256:0a1b".into())),
        (&digest, ImageRef::Id(digest.clone())),
        ("debian", ImageRef::Name("debian".into())),
        ("debian:12", ImageRef::Name("debian:12".into())),
        ("localhost:5000/debian:12", ImageRef::Name("localhost:5000/debian:12".into())),
        (&at_digest, ImageRef::Name(at_digest.clone())),
        ("example.com/app,os=linux,x=a@b:c", ImageRef::Name("example.com/app,os=linux,x=a@b:c".into())),
        ("sha1-beef", ImageRef::Name("sha1-beef".into())),
    ];
    for (text, expected) in cases {
        assert_eq!(text.parse::<ImageRef>(), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_displayed_parses_back() {
    for text in ["hello", "./a.aci", "oci:d", "oci:d:latest", "sha512-abcd", "sha256:ab", "debian:12"] {
        assert_eq!(text.parse::<ImageRef>().unwrap().to_string(), text);
    }
}

#[test]
fn bad_references_are_refused_by_reason() {
    let hex63 = "a".repeat(63);
    let long = "x".repeat(10 << 10);
    let md5 = format!("md5:{}", "a".repeat(32));
    let upper = format!("sha256:{}", "A".repeat(64));
    let too_long_id = format!("sha256:{hex63}bb");
    let cases: [(&str, &str); 38] = [
        ("", "is empty"),
        (&long, "10240 bytes"),
        ("a\0b.aci", "control character"),
        ("a b", "blank"),
        ("a\nb", r#""a\nb""#),
        ("oci:", "empty path"),
        ("oci::latest", "empty path"),
        ("oci:dir:", "empty reference"),
        ("oci:dir:a b", "blank"),
        ("oci:dir:\u{1b}[0m", "blank or control"),
        ("file://host/x", "file:///PATH"),
        ("file://", "file:///PATH"),
        ("file:///a%0", "file:///PATH"),
        ("file:///a%00", "file:///PATH"),
        ("file:///a%zz", "file:///PATH"),
        ("docker-daemon:debian", "transport \"docker-daemon:\""),
        ("docker://", "image reference \"docker://\""),
        ("docker://A", "image reference \"docker://A\""),
        ("docker://a:b:c", "image reference \"docker://a:b:c\""),
        ("https://user:secret@h/x.aci", "credentials"),
        ("https://", "image URL \"https://\": empty host"),
        ("https:///x.aci", "image URL \"https:///x.aci\": empty host"),
        ("https://user:secret@h:port/x.aci", "image URL \"h:port/x.aci\": invalid port number"),
        ("oci-archive:", "empty path"),
        ("sha512-", "image ID"),
        ("sha512-a", "image ID too short: \"sha512-a\""),
        ("sha256:../../x", "image ID"),
        ("sha256:AB", "image ID"),
        (&upper, "image ID"),
        (&too_long_id, "image ID"),
        (&md5, "unsupported algorithm"),
        ("a/../b", ".. component"),
        ("a/./b", ". component"),
        ("a//b", "empty path component"),
        ("user:secret@host/image", "credentials"),
        ("a/", "empty path component"),
        ("debian@sha256:ab", "debian@sha256:ab"),
        ("debian@12", "debian@12"),
    ];
    for (text, expected) in cases {
        let error = text.parse::<ImageRef>().unwrap_err().to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
        assert!(!error.contains("secret") && error.len() < 600 && !error.contains(char::is_control), "{error}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_reference_or_an_error_fit_for_a_terminal(text in any_reference()) {
        match text.parse::<ImageRef>() {
            Ok(reference) => {
                let again = reference.to_string().parse::<ImageRef>();
                // Only a decoded file URL may come back as another kind of text.
                prop_assert!(again.as_ref() == Ok(&reference) || text.starts_with("file://"), "{text:?}: {again:?}");
            }
            Err(error) => prop_assert!(!error.to_string().contains(char::is_control)),
        }
    }
}

/// Text that looks enough like a reference to reach every branch.
fn any_reference() -> impl Strategy<Value = String> {
    let start = "(|hello|oci:|file://|docker://|sha256[:-]|sha512[:-]|md5:|/|\\./|[a-z]{0,5}@sha256:)";
    let rest = proptest::string::string_regex("[a-f0-9]{0,70}([/:@,=%. a-zA-Z\\PC]|\u{1b}|\0){0,12}(|\\.aci)");
    (proptest::string::string_regex(start).expect("a valid pattern"), rest.expect("a valid pattern"))
        .prop_map(|(start, rest)| start + &rest)
}
