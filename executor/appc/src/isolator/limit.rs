//! Limits on resources: how much an app asks for and how much it may have.

use super::IsolatorError;
use crate::json::decode::{Cx, FromJson, Invalid};
use crate::json::print::{Printer, ToJson};
use crate::json::view::View;
use crate::resource::Quantity;

/// How much of a resource an app asks for and may have.
///
/// The unit depends on the resource: cores, bytes, operations or bits a second.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limit {
    /// Whether this is what apps get that say nothing themselves; the block and network isolators are always that.
    pub default: bool,
    /// What the app is promised. Not checked against the limit.
    pub request: Option<Quantity>,
    /// What it gets at most. Missing means without limit.
    pub limit: Option<Quantity>,
}

impl Limit {
    /// A limit of an app's own, as `resource/cpu` and `resource/memory` have it.
    ///
    /// # Errors
    /// [`IsolatorError::Quantity`] if one of the texts is no quantity.
    pub fn parse(request: &str, limit: &str) -> Result<Self, IsolatorError> {
        let parse = |part, text: &str| text.parse().map_err(|source| IsolatorError::Quantity { part, source });
        let (request, limit) = (parse("request", request)?, parse("limit", limit)?);
        Ok(Self { default: false, request: Some(request), limit: Some(limit) })
    }

    /// What the app is promised: the request, or the limit if nothing was requested (appc ace.md, Resource Isolators).
    pub fn effective_request(&self) -> Option<&Quantity> {
        self.request.as_ref().or(self.limit.as_ref())
    }

    /// The rule of the resources every app has a share of its own of.
    pub(super) fn check_own(&self) -> Result<(), IsolatorError> {
        if self.default { Err(IsolatorError::DefaultTrue) } else { Ok(()) }
    }

    /// The rule of the resources of which there is only a default limit.
    pub(super) fn check_default_only(&self) -> Result<(), IsolatorError> {
        if !self.default {
            Err(IsolatorError::DefaultRequired)
        } else if self.request.is_some() {
            Err(IsolatorError::RequestNotSupported)
        } else {
            Ok(())
        }
    }

    pub(super) fn read(
        cx: &mut Cx,
        view: View<'_>,
        rule: impl FnOnce(&Self) -> Result<(), IsolatorError>,
    ) -> Result<Self, Invalid> {
        let read = |cx: &mut Cx| {
            let mut limit = Self::default();
            cx.fields(view, &["default", "request", "limit"], |cx, field, view| {
                match field {
                    "default" => cx.boolean(view, &mut limit.default),
                    "request" => limit.request = cx.optional(view)?,
                    _ => limit.limit = cx.optional(view)?,
                }
                Ok(())
            })?;
            Ok(limit)
        };
        cx.typed(read, rule)
    }
}

/// A quantity may stand in JSON as a string or as a bare number; space around it in the string is allowed there.
impl FromJson for Quantity {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let text = view.string();
        let text = text.as_deref().unwrap_or(view.text());
        text.trim().parse().map_err(|error: crate::resource::QuantityError| cx.invalid(error))
    }
}

impl ToJson for Quantity {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        self.to_string().to_json(printer)
    }
}

impl ToJson for Limit {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        let nullable = |printer: &mut Printer, quantity: &Option<Quantity>| match quantity {
            Some(quantity) => quantity.to_json(printer),
            None => None::<View<'_>>.to_json(printer),
        };
        printer.object(|object| {
            object.field("default", &self.default)?;
            object.with("request", |printer| nullable(printer, &self.request))?;
            object.with("limit", |printer| nullable(printer, &self.limit))
        })
    }
}
