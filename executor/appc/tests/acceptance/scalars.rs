//! Names, versions, image IDs, UUIDs: the types that are one string.

use appc::version::Compatibility;
use appc::{AcIdentifier, AcName, Algorithm, Hash, ImageId, PodUuid, SemVer};

fn identifier(text: &str) -> Result<AcIdentifier, String> {
    text.parse().map_err(|error: appc::name::NameError| error.to_string())
}

fn name(text: &str) -> Result<AcName, String> {
    text.parse().map_err(|error: appc::name::NameError| error.to_string())
}

const IDENTIFIER_CHARACTERS: &str = "ACIdentifier must contain only lower case alphanumeric characters plus \"-._~/\"";
const IDENTIFIER_EDGES: &str = "ACIdentifier must start and end with only lower case alphanumeric characters";
const NAME_CHARACTERS: &str = "ACName must contain only lower case alphanumeric characters plus \"-\"";
const NAME_EDGES: &str = "ACName must start and end with only lower case alphanumeric characters";

#[test]
fn identifier_table() {
    let good = [
        "asdf",
        "foo-bar-baz",
        "zab_rab_oof",
        "database",
        "my~database",
        "example.com/database",
        "example.com/~bob/database",
        "example.com/ourapp-1.0.0",
        "sub-domain.example.com/org/product/~alice/release-1.0.0",
        "a--b",
        "a//b",
        "0",
    ];
    for text in good {
        assert_eq!(identifier(text).as_ref().map(AcIdentifier::as_str), Ok(text));
    }
    assert_eq!(identifier(""), Err("ACIdentifier cannot be empty".to_owned()));
    for text in ["BAR", "foo#", "EXAMPLE.com", "foo.com/BAR", "a b", "ä", "-A"] {
        assert_eq!(identifier(text), Err(IDENTIFIER_CHARACTERS.to_owned()), "{text}");
    }
    for text in ["/app", "app/", "-app", "app-", ".app", "app.", "_app", "app_", "~app", "app~", "/"] {
        assert_eq!(identifier(text), Err(IDENTIFIER_EDGES.to_owned()), "{text}");
    }
}

#[test]
fn name_table() {
    for text in ["asdf", "foo-bar-baz", "database", "a--b", "7"] {
        assert_eq!(name(text).as_ref().map(AcName::as_str), Ok(text));
    }
    assert_eq!(name(""), Err("ACName cannot be empty".to_owned()));
    for text in
        ["foo#", "example.com", "EXAMPLE.com", "example/database-1.0.0", "example.com/app_1", "/app", "app.", "a\n"]
    {
        assert_eq!(name(text), Err(NAME_CHARACTERS.to_owned()), "{text}");
    }
    for text in ["-app", "app-", "-"] {
        assert_eq!(name(text), Err(NAME_EDGES.to_owned()), "{text}");
    }
}

#[test]
fn sanitize_table() {
    let identifiers = [
        ("foo#", "foo"),
        ("FOO", "foo"),
        ("EXAMPLE.com", "example.com"),
        ("foo.com/BAR", "foo.com/bar"),
        ("/app", "app"),
        ("app_", "app"),
        ("app///", "app"),
        ("-/.app..", "app"),
        ("-/app.name-test/-/", "app.name-test"),
        ("a b", "a_b"),
        (
            "sub-domain.example.com/org/product/~alice/release-1.0.0",
            "sub-domain.example.com/org/product/~alice/release-1.0.0",
        ),
    ];
    for (text, clean) in identifiers {
        assert_eq!(AcIdentifier::sanitize(text).expect(text), clean);
    }
    let names = [
        ("foo#", "foo"),
        ("EXAMPLE.com", "example-com"),
        ("example.com/app_1", "example-com-app-1"),
        ("-/.app..", "app"),
        ("-/app.name-test/-/", "app-name-test"),
    ];
    for (text, clean) in names {
        assert_eq!(AcName::sanitize(text).expect(text), clean);
    }
    for text in ["", "#", "-/-", "ÄÖÜ"] {
        let nothing = "must contain at least one valid character";
        assert_eq!(AcIdentifier::sanitize(text).expect_err(text).to_string(), nothing);
        assert_eq!(AcName::sanitize(text).expect_err(text).to_string(), nothing);
    }
}

#[test]
fn semver_table() {
    let good = [
        ("1.0.0", "1.0.0"),
        ("3.2.1", "3.2.1"),
        ("3.2.1-foo", "3.2.1-foo"),
        ("1.2.3-alpha+git", "1.2.3-alpha+git"),
        ("0.8.11+git", "0.8.11+git"),
        ("0.0.0+x", "0.0.0+x"),
        ("01.002.3", "1.2.3"),
        ("1.2.3-a-b+c-d+e", "1.2.3-a-b+c-d+e"),
        ("9223372036854775807.0.0", "9223372036854775807.0.0"),
    ];
    for (text, printed) in good {
        assert_eq!(text.parse::<SemVer>().expect(text).to_string(), printed);
    }
    let bad = [
        "",
        "1",
        "1.2",
        "1.2.3.4",
        "v1.2.3",
        "-1.2.3",
        "1.-2.3",
        "1..3",
        " 1.2.3",
        "1_0.2.3",
        "9223372036854775808.0.0",
    ];
    for text in bad {
        assert_eq!(text.parse::<SemVer>().expect_err(text).to_string(), "SemVer is bad");
    }
    assert_eq!("0.0.0".parse::<SemVer>().expect_err("zero").to_string(), "SemVer cannot be zero");
}

#[test]
fn only_the_major_version_decides() {
    let compatibility = |text: &str| text.parse::<SemVer>().expect(text).compatibility();
    for text in ["0.8.11", "0.8.11+git", "0.3.0", "0.8.11-pre"] {
        assert_eq!(compatibility(text), Compatibility::Supported, "{text}");
    }
    for text in ["0.8.12", "0.9.0"] {
        assert_eq!(compatibility(text), Compatibility::Newer, "{text}");
    }
    assert_eq!(compatibility("1.0.0"), Compatibility::Incompatible);
    assert_eq!(SemVer::current().to_string(), appc::SPEC_VERSION);
}

#[test]
fn image_id_in_a_manifest_table() {
    let refused = |text: &str| text.parse::<Hash>().expect_err(text).to_string();
    assert_eq!("sha512-abc".parse::<Hash>().expect("lenient").to_string(), "sha512-abc");
    assert_eq!("sha512-...".parse::<Hash>().expect("lenient").value(), "...");
    assert_eq!(refused("sha1-abc"), "unrecognized hash type: sha1");
    for text in ["abc", "", "sha512", "sha512-a-b", "sha512:abc"] {
        assert_eq!(refused(text), "badly formatted hash string");
    }
    assert_eq!(refused("sha512-"), "unexpected empty hash value");
    assert_eq!(refused("-abc"), "unexpected empty hash type");
    for text in ["sha256:abc", "sha256-abc"] {
        let hash: Hash = text.parse().expect(text);
        assert_eq!((hash.algorithm(), hash.to_string().as_str()), (Algorithm::Sha256, "sha256:abc"));
    }
    assert_eq!(refused("sha256:"), "unexpected empty hash value");
}

#[test]
fn image_ids_are_complete() {
    let aci = format!("sha512-{}", "0a".repeat(64));
    let id: ImageId = aci.parse().expect("complete");
    assert_eq!((id, id.to_string().as_str(), id.file_name().as_str()), (ImageId::sha512([10; 64]), &*aci, &*aci));
    assert_eq!(aci.replacen('-', ":", 1).parse(), Ok(id));

    let oci = format!("sha256:{}", "0b".repeat(32));
    let id: ImageId = oci.parse().expect("complete");
    assert_eq!((id, id.to_string().as_str()), (ImageId::sha256([11; 32]), &*oci));
    assert_eq!(id.file_name(), oci.replace(':', "-"));
    assert_eq!(id.file_name().parse(), Ok(id));
    assert_eq!((id.algorithm(), id.hex()), (Algorithm::Sha256, "0b".repeat(32)));

    assert_eq!(id.short(), oci[..39]);

    let hash = Hash::from(id);
    assert_eq!(hash.to_string(), oci);
    assert_eq!(ImageId::try_from(&hash), Ok(id));
    assert!(ImageId::try_from(&"sha512-abc".parse::<Hash>().expect("lenient")).is_err());
}

#[test]
fn incomplete_image_ids_are_refused() {
    let half = "0a".repeat(32);
    for text in [
        String::new(),
        half.clone(),
        format!("sha512-{half}"),
        format!("sha256:{half}0"),
        format!("sha256:{}", half.to_uppercase()),
        format!("sha256:{}", half.replace('0', "g")),
        format!("sha256:-{}", &half[1..]),
        format!("sha256:{}", "é".repeat(32)),
        format!("md5:{half}"),
        format!("SHA256:{half}"),
    ] {
        assert!(text.parse::<ImageId>().is_err(), "{text}");
    }
}

#[test]
fn uuid_table() {
    let canonical = "6733c088-a507-4694-aabf-edbe4fc5266f";
    for text in ["6733C088-A507-4694-AABF-EDBE4FC5266F", "6733C088A5074694AABFEDBE4FC5266F", canonical] {
        assert_eq!(text.parse::<PodUuid>().expect(text).to_string(), canonical);
    }
    for text in ["", "asdf", "0AAF0A79-1A39-4D59-ABBF-1BEBCA8209D2ABC"] {
        assert_eq!(text.parse::<PodUuid>().expect_err(text).to_string(), "bad UUID length != 32");
    }
    let not_hex = "6733c088-a507-4694-aabf-edbe4fc5266g";
    assert_eq!(not_hex.parse::<PodUuid>().expect_err(not_hex).to_string(), "bad UUID digit 'g'");
    let zero = "00000000-0000-0000-0000-000000000000";
    assert_eq!(zero.parse::<PodUuid>().expect_err(zero).to_string(), "UUID cannot be empty");
}

#[test]
fn new_uuids_are_random_and_of_version_4() {
    let (one, other) = (PodUuid::new_v4(), PodUuid::new_v4());
    assert_ne!(one, other);
    assert_eq!(one.as_bytes()[6] >> 4, 4);
    assert_eq!(one.to_string().parse(), Ok(one));
    assert_eq!(PodUuid::from_random([0xff; 16]).to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
}
