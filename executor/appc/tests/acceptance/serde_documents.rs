//! Manifests, parts of them and names inside other documents, through serde.

use appc::{AcName, Hash, ImageId, ImageManifest, PodManifest, PodUuid, SemVer, Volume};
use serde::{Deserialize, Serialize};

use crate::{image, image_with_app};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    id: ImageId,
    uuid: PodUuid,
    app: AcName,
    version: SemVer,
    hash: Hash,
    manifest: ImageManifest,
    volumes: Vec<Volume>,
}

fn record() -> Record {
    Record {
        id: ImageId::sha256([1; 32]),
        uuid: PodUuid::new_v4(),
        app: "worker".parse().expect("a name"),
        version: SemVer::current(),
        hash: "sha512-abc".parse().expect("a hash"),
        manifest: image_with_app(
            r#""ports":[{"name":"web","protocol":"tcp","port":80}],"supplementaryGIDs":[-1,5],
            "isolators":[{"name":"foo","value":{"z":[1,-2,18446744073709551615,null,true,"é<"],"a":{}}}]"#,
        )
        .expect("valid"),
        volumes: vec!["v,kind=host,source=/x,readOnly=true".parse().expect("a volume")],
    }
}

#[test]
fn a_manifest_in_a_record_round_trips_as_a_structure() {
    let record = record();
    let json = serde_json::to_string(&record).expect("JSON");
    assert_eq!(serde_json::from_str::<Record>(&json).expect("reads back"), record);
    let tree = serde_json::to_value(&record).expect("a tree");
    assert_eq!(tree["manifest"]["app"]["ports"][0]["port"], 80);
    assert_eq!(tree["id"], format!("sha256:{}", "01".repeat(32)));
    assert_eq!(tree["volumes"][0]["readOnly"], true);
    assert_eq!(serde_json::from_value::<Record>(tree).expect("reads back").volumes, record.volumes);
}

#[test]
fn what_is_embedded_is_checked_like_any_manifest() {
    let read = |json: &str| serde_json::from_str::<ImageManifest>(json).map_err(|error| error.to_string());
    assert_eq!(
        read(r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/test"}"#),
        Ok(image("").expect("valid"))
    );
    let refused = read(r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"a","app":{}}"#).expect_err("no user");
    assert!(refused.starts_with("$.app: user is required"), "{refused}");
    let refused = read(r#"{"acKind":"ImageManifest","acKind":"ImageManifest"}"#).expect_err("ambiguous");
    assert!(refused.contains("duplicate key \"acKind\""), "{refused}");
    let refused = read(&format!("{}{}", "[".repeat(100), "]".repeat(100))).expect_err("too deep");
    assert!(refused.contains("too deep"), "{refused}");
    assert!(serde_json::from_str::<PodManifest>("7").is_err());
    assert!(serde_json::from_str::<AcName>("\"Not A Name\"").is_err());
    assert!(serde_json::from_str::<PodUuid>("7").is_err());
}

#[test]
fn a_manifest_that_breaks_a_rule_does_not_serialize() {
    let mut manifest = image_with_app("").expect("valid");
    manifest.app.as_mut().expect("an app").group.clear();
    let refused = serde_json::to_string(&manifest).expect_err("no group").to_string();
    assert_eq!(refused, "group is required");
}
