//! Numbers the kernel weighs an app by: its share of processor time and its fate when memory is short.

use super::{IsolatorError, names};
use crate::json::decode::{Cx, FromJson, Invalid};
use crate::json::view::View;

/// What is added to an app's badness when memory is short: -1000, never killed, to 1000, killed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OomScoreAdj(i64);

/// An app's weight in sharing processor time with others: 2 to 262144; 1024 is usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuShares(i64);

impl OomScoreAdj {
    /// An adjustment in range.
    ///
    /// # Errors
    /// [`IsolatorError::OutOfRange`].
    pub fn new(value: i64) -> Result<Self, IsolatorError> {
        in_range(names::OOM_SCORE_ADJ, -1000, 1000, value).map(Self)
    }

    /// The number.
    pub fn get(self) -> i64 {
        self.0
    }
}

impl CpuShares {
    /// A weight in range.
    ///
    /// # Errors
    /// [`IsolatorError::OutOfRange`].
    pub fn new(value: i64) -> Result<Self, IsolatorError> {
        in_range(names::CPU_SHARES, 2, 262_144, value).map(Self)
    }

    /// The number.
    pub fn get(self) -> i64 {
        self.0
    }
}

fn in_range(name: &'static str, min: i64, max: i64, value: i64) -> Result<i64, IsolatorError> {
    if (min..=max).contains(&value) { Ok(value) } else { Err(IsolatorError::OutOfRange { name, min, max, value }) }
}

impl FromJson for OomScoreAdj {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        cx.built(|cx| i64::from_json(cx, view), Self::new)
    }
}

impl FromJson for CpuShares {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        cx.built(|cx| i64::from_json(cx, view), Self::new)
    }
}
