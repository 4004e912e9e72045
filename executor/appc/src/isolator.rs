//! Isolators: limits and permissions of an app or a pod, and what an executor reports to have made of them.

use crate::json::decode::{Cx, FromJson, Invalid};
use crate::json::print::{Printer, ToJson};
use crate::json::view::{Kind, View};
use crate::name::AcIdentifier;
use crate::resource::QuantityError;

pub mod capabilities;
pub mod confinement;
pub mod limit;
pub mod names;
pub mod report;
pub mod scheduling;
pub mod seccomp;
pub mod set;
mod value;

pub use value::IsolatorValue;

/// An isolator that breaks the rules of its name, or a set of them that breaks the rules for sets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IsolatorError {
    /// A known isolator without a value.
    #[error("isolator {name}: \"value\" is required")]
    ValueMissing {
        /// The isolator's name.
        name: &'static str,
    },
    /// An app has an isolator of unknown name, which only `actool` refuses.
    #[error("invalid isolator")]
    Unrecognized,
    /// Two of a kind of which there may be one. The odd quote is the Go code's.
    #[error("isolators set contains too many instances of type {name}\"")]
    TooMany {
        /// The isolator's name.
        name: &'static str,
    },
    /// Two that exclude one another.
    #[error("isolators set contains incompatible types")]
    Incompatible {
        /// The one that came second.
        name: &'static str,
    },
    /// `default` where a request and a limit of one's own are wanted.
    #[error("default must be false")]
    DefaultTrue,
    /// No `default` where there is nothing but the default.
    #[error("default must be true")]
    DefaultRequired,
    /// A request for a resource that can only be limited.
    #[error("request not supported by this resource, must be empty")]
    RequestNotSupported,
    /// A set of nothing.
    #[error("set must be non-empty")]
    SetEmpty,
    /// An error name that is none.
    #[error("errno must start with an 'E' character, got {errno}")]
    ErrnoStart {
        /// The refused name.
        errno: String,
    },
    /// An error name that is none.
    #[error("errno can only contain upper case or numeric characters, got {errno}")]
    ErrnoCharacters {
        /// The refused name.
        errno: String,
    },
    /// A number out of its range.
    #[error("{name} must be between {min} and {max}, got {value}")]
    OutOfRange {
        /// The isolator's name.
        name: &'static str,
        /// The smallest value allowed.
        min: i64,
        /// The largest value allowed.
        max: i64,
        /// The refused value.
        value: i64,
    },
    /// A part of a security label that is empty or holds a separator.
    #[error("invalid {part} value {}", crate::json::quote::Quoted(.value))]
    BadPart {
        /// Which part.
        part: &'static str,
        /// The refused text.
        value: String,
    },
    /// A request that is no quantity.
    #[error("error parsing {part}: {source}")]
    Quantity {
        /// `request` or `limit`.
        part: &'static str,
        /// What is wrong with it.
        #[source]
        source: QuantityError,
    },
}

/// One isolator: its name, its meaning, and its value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolator {
    name: AcIdentifier,
    value: IsolatorValue,
    /// The value's JSON, which prints again as it was read, fields that mean nothing to us included.
    json: Option<String>,
}

impl Isolator {
    /// An isolator of a known kind; none for [`IsolatorValue::Unknown`], which has no name.
    pub fn new(value: IsolatorValue) -> Option<Self> {
        let name = value.name()?.parse().ok()?;
        let json = Printer::print(&value).ok().and_then(|json| String::from_utf8(json).ok());
        Some(Self { name, value, json })
    }

    /// The name.
    pub fn name(&self) -> &AcIdentifier {
        &self.name
    }

    /// The meaning.
    pub fn value(&self) -> &IsolatorValue {
        &self.value
    }

    /// The value's JSON text as it was written, if there is any.
    pub fn json(&self) -> Option<&str> {
        self.json.as_deref()
    }

    /// Whether the name is one that [`names`] lists.
    pub fn is_recognized(&self) -> bool {
        self.value != IsolatorValue::Unknown
    }
}

impl FromJson for Isolator {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let mut name = AcIdentifier::default();
        let mut value_view = None;
        let read = |cx: &mut Cx| {
            cx.fields(view, &["name", "value"], |cx, field, view| {
                match field {
                    "name" => name = AcIdentifier::from_json(cx, view)?,
                    _ => value_view = Some(view).filter(|view| view.kind() != Kind::Null),
                }
                Ok(())
            })
        };
        cx.complete(read)?;
        let value = IsolatorValue::read(&name, cx, value_view)?;
        let json = Printer::print(&value_view)?;
        let json = value_view.is_some().then(|| String::from_utf8_lossy(&json).into_owned());
        Ok(Self { name, value, json })
    }
}

impl ToJson for Isolator {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.object(|object| {
            object.field("name", &self.name)?;
            object.field("value", &self.json.as_deref().map(View::document))
        })
    }
}
