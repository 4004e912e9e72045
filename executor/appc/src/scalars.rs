//! How the types that are written as one string stand in JSON: in manifests, and through serde anywhere else.

use std::fmt;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use crate::hash::{Hash, HashError};
use crate::image_id::ImageId;
use crate::json::Dialect;
use crate::json::decode::{Cx, FromJson, Invalid};
use crate::json::print::{Printer, ToJson};
use crate::json::view::View;
use crate::name::{AcIdentifier, AcName, NameError};
use crate::pod_uuid::PodUuid;
use crate::problem::Problem;
use crate::version::{SemVer, VersionError};

macro_rules! read_as_string {
    ($($scalar:ty),*) => {$(
        impl FromJson for $scalar {
            fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
                cx.parsed(view, str::parse)
            }
        }
    )*};
}

read_as_string!(AcName, AcIdentifier, SemVer);

impl FromJson for Hash {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        match cx.dialect() {
            Dialect::Proa => cx.parsed(view, str::parse),
            Dialect::Actool => cx.parsed(view, Self::parse_appc),
        }
    }
}

/// The absent name does not print: nothing could read it back.
impl ToJson for AcName {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.rules(if self.is_empty() { Err(NameError::NameEmpty) } else { Ok(()) })?;
        self.as_str().to_json(printer)
    }
}

/// The absent identifier does not print: nothing could read it back.
impl ToJson for AcIdentifier {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.rules(if self.is_empty() { Err(NameError::IdentifierEmpty) } else { Ok(()) })?;
        self.as_str().to_json(printer)
    }
}

impl ToJson for SemVer {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.rules(if self.is_zero() { Err(VersionError::Zero) } else { Ok(()) })?;
        self.to_string().to_json(printer)
    }
}

impl ToJson for Hash {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        self.to_string().to_json(printer)
    }
}

/// An image without an ID: a manifest that is only a template can be read but not printed.
impl ToJson for Option<Hash> {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        match self {
            Some(hash) => hash.to_json(printer),
            None => printer.rules(Err::<(), Problem>(HashError::EmptyType.into())),
        }
    }
}

macro_rules! serde_as_string {
    ($($scalar:ty: $expected:literal),*) => {$(
        impl Serialize for $scalar {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $scalar {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;

                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $scalar;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$scalar, E> {
                        text.parse().map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(Visitor)
            }
        }
    )*};
}

serde_as_string!(
    AcName: "an AC name",
    AcIdentifier: "an AC identifier",
    SemVer: "a semantic version",
    Hash: "an image ID",
    ImageId: "a complete image ID",
    PodUuid: "a pod UUID"
);
