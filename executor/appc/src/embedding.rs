//! Manifests and their parts inside other documents, through serde.
//!
//! What stands there is the canonical JSON of the value, as a structure of the surrounding format; on the way back it
//! is checked like any manifest. The format must describe itself, as JSON does.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::document;
use crate::json::decode::FromJson;
use crate::json::print::Printer;
use crate::json::view::{Kind, View};
use crate::json::{Dialect, MAX_DEPTH, MAX_MANIFEST_BYTES};
use crate::{
    Annotations, App, Environment, ExposedPort, ImageManifest, Isolator, Labels, MountPoint, PodManifest, Port, Volume,
};

/// Serializes a value of a checked document as what it is.
struct Embedded<'a>(View<'a>);

impl Serialize for Embedded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(view) = self;
        match view.kind() {
            Kind::Null => serializer.serialize_unit(),
            Kind::Bool => serializer.serialize_bool(view.boolean().unwrap_or_default()),
            Kind::String => serializer.serialize_str(&view.string().unwrap_or_default()),
            Kind::Number => serialize_number(view.text(), serializer),
            Kind::Array => {
                let mut list = serializer.serialize_seq(None)?;
                view.elements().try_for_each(|element| list.serialize_element(&Embedded(element)))?;
                list.end()
            }
            Kind::Object => {
                let mut map = serializer.serialize_map(None)?;
                view.members().try_for_each(|(key, value)| map.serialize_entry(&*key, &Embedded(value)))?;
                map.end()
            }
        }
    }
}

/// Only the value of an isolator can hold another number than an integer; its spelling is lost here.
fn serialize_number<S: Serializer>(digits: &str, serializer: S) -> Result<S::Ok, S::Error> {
    if let Ok(number) = digits.parse::<i64>() {
        serializer.serialize_i64(number)
    } else if let Ok(number) = digits.parse::<u64>() {
        serializer.serialize_u64(number)
    } else {
        let number: f64 = digits.parse().map_err(S::Error::custom)?;
        serializer.serialize_f64(number)
    }
}

/// Writes whatever value it is given as JSON text, within the bounds of a manifest.
struct Gather<'a> {
    text: &'a mut String,
    depth: usize,
}

impl Gather<'_> {
    fn inner(&mut self) -> Gather<'_> {
        Gather { text: self.text, depth: self.depth + 1 }
    }

    fn string(&mut self, text: &str) {
        let json = Printer::print(&text.to_owned()).unwrap_or_default();
        self.text.push_str(&String::from_utf8_lossy(&json));
    }

    fn check_bounds<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.depth > MAX_DEPTH || self.text.len() > MAX_MANIFEST_BYTES {
            return Err(E::custom("manifest is too deep or too large"));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Gather<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.check_bounds::<D::Error>()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Gather<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a manifest or a part of one")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.text.push_str("null");
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.text.push_str(if value { "true" } else { "false" });
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.text.push_str(&value.to_string());
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.text.push_str(&value.to_string());
        Ok(())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        if !value.is_finite() {
            return Err(E::custom("a number that JSON cannot hold"));
        }
        self.text.push_str(&format!("{value:?}"));
        Ok(())
    }

    fn visit_str<E>(mut self, value: &str) -> Result<(), E> {
        self.string(value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        self.text.push('[');
        let mut length = self.text.len();
        while list.next_element_seed(self.inner())?.is_some() {
            length = self.text.len();
            self.text.push(',');
        }
        self.text.truncate(length);
        self.text.push(']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.text.push('{');
        let mut length = self.text.len();
        while let Some(key) = map.next_key::<String>()? {
            self.string(&key);
            self.text.push(':');
            map.next_value_seed(self.inner())?;
            length = self.text.len();
            self.text.push(',');
        }
        self.text.truncate(length);
        self.text.push('}');
        Ok(())
    }
}

/// The JSON text of a document in any format that describes itself, YAML for instance, within the bounds of a manifest.
///
/// Nothing of the schema is checked; that is for whoever reads the text.
///
/// # Errors
/// Those of the format; too deep, too large, or a number that JSON cannot hold.
pub fn json_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let mut text = String::new();
    Gather { text: &mut text, depth: 0 }.deserialize(deserializer)?;
    Ok(text)
}

macro_rules! embed {
    ($($part:ty: $read:path),* $(,)?) => {$(
        impl Serialize for $part {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let json = document::print(self).map_err(S::Error::custom)?;
                let text = std::str::from_utf8(&json).map_err(S::Error::custom)?;
                Embedded(View::document(text)).serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $part {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = json_text(deserializer)?;
                let read = |cx: &mut crate::json::decode::Cx, view: View<'_>| cx.complete(|cx| $read(cx, view));
                document::read(text.as_bytes(), Dialect::Proa, read).map_err(|error| D::Error::custom(error.located()))
            }
        }
    )*};
}

embed!(
    ImageManifest: Self::from_json_value,
    PodManifest: Self::from_json_value,
    App: FromJson::from_json,
    Annotations: FromJson::from_json,
    Environment: FromJson::from_json,
    ExposedPort: FromJson::from_json,
    Isolator: FromJson::from_json,
    Labels: FromJson::from_json,
    MountPoint: FromJson::from_json,
    Port: FromJson::from_json,
    Volume: FromJson::from_json,
);
