//! The index of a layout: which images it has and what they are called.

use serde_json::{Map, Value, json};

use crate::descriptor::Descriptor;
use crate::media;

/// What every layout says of itself.
pub(crate) const LAYOUT_FILE: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// An index, with everything in it that others have written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Index(Map<String, Value>);

impl Index {
    /// An index of no image.
    pub(crate) fn new() -> Self {
        Self::of(json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": []})).expect("it is one")
    }

    /// Reads an index.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        Self::of(value).ok_or_else(|| "it has no list of manifests".to_owned())
    }

    fn of(value: Value) -> Option<Self> {
        match value {
            Value::Object(map) if map.get("manifests").is_some_and(Value::is_array) => Some(Self(map)),
            _ => None,
        }
    }

    fn manifests(&self) -> &[Value] {
        self.0.get("manifests").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The image of the first of these names that one has. A layout with one image that nobody named has it under every
    /// name.
    pub(crate) fn find(&self, names: &[String]) -> Result<Descriptor, String> {
        let read = |it: &Value| serde_json::from_value::<Descriptor>(it.clone()).map_err(|error| error.to_string());
        let called = |it: &String| self.manifests().iter().find(|entry| is_called(entry, it));
        if let Some(found) = names.iter().find_map(called) {
            return read(found);
        }
        if let [only] = self.manifests()
            && name(only).is_none()
        {
            return read(only);
        }
        let known: Vec<&str> = self.manifests().iter().filter_map(name).collect();
        let known = if known.is_empty() { "no named image".to_owned() } else { known.join(", ") };
        Err(format!("no image {:?}; there is {known}", names.first().map_or("", String::as_str)))
    }

    /// The images that have another name, or none.
    pub(crate) fn others(&self, image: &str) -> Vec<String> {
        let others = self.manifests().iter().filter(|it| !is_called(it, image));
        others.map(|it| name(it).unwrap_or("an image without a name").to_owned()).collect()
    }

    /// Gives an image a name, which no other one has then.
    pub(crate) fn set(&mut self, image: &str, manifest: &Descriptor) {
        let mut entry = manifest.clone();
        entry.annotations.insert(media::ANNOTATION_REF.to_owned(), image.to_owned());
        let entry = serde_json::to_value(entry).expect("it has only strings and numbers");
        // The original writes 0, and without a version others do not read it.
        self.0.insert("schemaVersion".to_owned(), json!(2));
        let manifests = self.0.get_mut("manifests").and_then(Value::as_array_mut).expect("the parser has seen it");
        manifests.retain(|it| !is_called(it, image));
        manifests.push(entry);
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).expect("it is JSON")
    }
}

fn name(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(media::ANNOTATION_REF)?.as_str()
}

/// Whether an image has this name. The original puts the image's digest behind it.
fn is_called(entry: &Value, wanted: &str) -> bool {
    let Some(rest) = name(entry).and_then(|it| it.strip_prefix(wanted)) else { return false };
    rest.is_empty() || rest.strip_prefix('@').is_some_and(|it| entry.get("digest").and_then(Value::as_str) == Some(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_keep_to_their_names() {
        let mut index = Index::new();
        let names = |it: &str| [it.to_owned()];
        let (a, b) = (Descriptor::of(media::OCI_MANIFEST, b"a"), Descriptor::of(media::OCI_MANIFEST, b"b"));
        index.set("x:1", &a);
        index.set("y:1", &a);
        index.set("x:1", &b);
        let index = Index::parse(&index.to_bytes()).expect("it is one");
        assert_eq!(index.find(&names("x:1")).map(|it| it.digest), Ok(b.digest));
        assert_eq!(index.find(&names("y:1")).map(|it| it.digest), Ok(a.digest));
        assert_eq!(index.find(&names("z")), Err("no image \"z\"; there is y:1, x:1".to_owned()));
    }

    #[test]
    fn one_image_without_a_name_has_every_name() {
        let entry = serde_json::to_value(Descriptor::of(media::OCI_MANIFEST, b"a")).expect("JSON");
        let one = Index::parse(json!({"manifests": [entry], "more": 1}).to_string().as_bytes()).expect("it is one");
        assert!(one.find(&["any".to_owned()]).is_ok());
        let two = Index::parse(json!({"manifests": [entry, entry]}).to_string().as_bytes()).expect("it is one");
        assert!(two.find(&["any".to_owned()]).is_err());
        for bad in ["", "[]", "{}", "{\"manifests\": 1}"] {
            assert!(Index::parse(bad.as_bytes()).is_err());
        }
    }
}
