//! Keys of a pod manifest that a person wrote and that mean nothing. The specification has them ignored, so that newer
//! manifests can be read; in a file that somebody types they are mistakes.

use serde_json::Value;

/// What a place in a manifest may hold.
#[derive(Debug)]
enum Shape {
    /// Nothing with keys of ours in it.
    Plain,
    /// A list of such.
    List(&'static Shape),
    /// An object with these keys.
    Object(&'static [(&'static str, Shape)]),
}

use Shape::{List, Object, Plain};

const PAIR: Shape = Object(&[("name", Plain), ("value", Plain)]);

const PORT: Shape =
    Object(&[("name", Plain), ("protocol", Plain), ("port", Plain), ("count", Plain), ("socketActivated", Plain)]);

const APP: Shape = Object(&[
    ("exec", Plain),
    ("user", Plain),
    ("group", Plain),
    ("supplementaryGIDs", Plain),
    ("eventHandlers", List(&Object(&[("name", Plain), ("exec", Plain)]))),
    ("workingDirectory", Plain),
    ("environment", List(&PAIR)),
    ("mountPoints", List(&Object(&[("name", Plain), ("path", Plain), ("readOnly", Plain)]))),
    ("ports", List(&PORT)),
    ("isolators", List(&PAIR)),
    ("userAnnotations", Plain),
    ("userLabels", Plain),
]);

const POD: Shape = Object(&[
    ("acVersion", Plain),
    ("acKind", Plain),
    (
        "apps",
        List(&Object(&[
            ("name", Plain),
            ("image", Object(&[("name", Plain), ("id", Plain), ("labels", List(&PAIR))])),
            ("app", APP),
            ("readOnlyRootFS", Plain),
            ("mounts", List(&Object(&[("volume", Plain), ("path", Plain), ("appVolume", VOLUME)]))),
            ("annotations", List(&PAIR)),
        ])),
    ),
    ("volumes", List(&VOLUME)),
    ("isolators", List(&PAIR)),
    ("annotations", List(&PAIR)),
    ("ports", List(&Object(&[("name", Plain), ("hostPort", Plain), ("hostIP", Plain), ("podPort", PORT)]))),
    ("userAnnotations", Plain),
    ("userLabels", Plain),
]);

const VOLUME: Shape = Object(&[
    ("name", Plain),
    ("kind", Plain),
    ("source", Plain),
    ("readOnly", Plain),
    ("recursive", Plain),
    ("mode", Plain),
    ("uid", Plain),
    ("gid", Plain),
]);

/// The most that is told of one manifest.
const MAX_TOLD: usize = 10;

/// Where in a pod manifest unknown keys stand: `apps[0].app.enviroment`. Nothing of what is no JSON.
pub(crate) fn of_pod(json: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    if let Ok(manifest) = serde_json::from_slice::<Value>(json) {
        look(&manifest, &POD, String::new(), &mut found);
    }
    found.truncate(MAX_TOLD);
    found
}

fn look(value: &Value, shape: &Shape, place: String, found: &mut Vec<String>) {
    match (shape, value) {
        (List(shape), Value::Array(values)) => {
            values.iter().enumerate().for_each(|(index, value)| look(value, shape, format!("{place}[{index}]"), found));
        }
        (Object(keys), Value::Object(fields)) => {
            for (name, value) in fields {
                let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                // Keys are the same in upper and lower case, as Go's library has it.
                match keys.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
                    Some((_, shape)) => look(value, shape, place, found),
                    None => found.push(place),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_found_and_nothing_else() {
        let right = br#"{"acKind":"PodManifest","ACVersion":"0.8.11","apps":[{"name":"a","image":{"id":"sha512-00"},
            "app":{"exec":["/x"],"environment":[{"name":"A","value":"b"}],"isolators":[{"name":"x","value":{"any":1}}]},
            "mounts":[{"volume":"v","path":"/v","appVolume":{"name":"v","kind":"empty","gid":0}}]}],
            "volumes":[{"name":"v","kind":"host","source":"/","recursive":true}],"userLabels":{"mine":"x"},
            "ports":[{"name":"p","hostPort":1,"podPort":{"name":"p","protocol":"tcp","port":1,"socketActivated":false}}]}"#;
        assert_eq!(of_pod(right), Vec::<String>::new());
        let wrong = br#"{"apps":[{"app":{"enviroment":[]}},{"app":{"exec":[],"ports":[{"prot":1}]}}],"volume":[]}"#;
        assert_eq!(of_pod(wrong), ["apps[0].app.enviroment", "apps[1].app.ports[0].prot", "volume"]);
        assert_eq!(of_pod(b"no JSON"), Vec::<String>::new());
        let many = format!("{{{}}}", (0..50).map(|n| format!("\"k{n}\":1")).collect::<Vec<_>>().join(","));
        assert_eq!(of_pod(many.as_bytes()).len(), MAX_TOLD);
    }

    /// What is written of a manifest is all known.
    #[test]
    fn every_key_that_is_written_is_known() {
        assert_eq!(of_pod(include_bytes!("../tests/golden/pod.json")), Vec::<String>::new());
    }
}
