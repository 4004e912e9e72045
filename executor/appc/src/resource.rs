//! Resource quantities: exact amounts with a unit prefix, such as `30m` of a core or `2Gi` of memory.
//!
//! The grammar and its oddities are those of the Go library appc took from Kubernetes.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

mod parse;

/// A text that is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantityError {
    /// Not a number followed by a suffix.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format {
        /// The refused text.
        text: String,
    },
    /// A suffix that means nothing, such as `K`.
    #[error("unable to parse quantity's suffix")]
    Suffix {
        /// The refused suffix.
        suffix: String,
    },
    /// More than about 10²⁹, which no resource has.
    #[error("quantity {text:?} is too large")]
    TooLarge {
        /// The refused text.
        text: String,
    },
    /// A text longer than any quantity needs to be.
    #[error("quantity of {length} bytes is too long")]
    TooLong {
        /// How many bytes it has.
        length: usize,
    },
}

/// In which family of suffixes a quantity is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `n u m k M G T P E`: powers of a thousand.
    DecimalSi,
    /// `Ki Mi Gi Ti Pi Ei`: powers of 1024.
    BinarySi,
    /// `e3`: any power of ten.
    DecimalExponent,
}

/// An exact amount of a resource.
///
/// It is held in billionths; anything finer was rounded away from zero when parsed, under the theory that who asks
/// for some should get some. Comparison is by amount, however written. Displays in the family of suffixes it was
/// parsed from, with the largest suffix that needs no fraction.
#[derive(Debug, Clone)]
pub struct Quantity {
    nanos: i128,
    format: Format,
    /// The text it was parsed from, where the Go code prints that rather than its own.
    written: Option<String>,
}

const NANOS: i128 = 1_000_000_000;
const NANOS_PER_MILLI: i128 = 1_000_000;

impl Quantity {
    /// A whole number of units.
    pub fn new(units: i64, format: Format) -> Self {
        Self { nanos: i128::from(units) * NANOS, format, written: None }
    }

    /// The amount in units (bytes, cores, operations a second), rounded away from zero, and capped at the ends of
    /// the type.
    pub fn value(&self) -> i64 {
        rounded_up(self.nanos, NANOS)
    }

    /// The amount in thousandths of a unit, rounded away from zero, and capped at the ends of the type.
    pub fn milli_value(&self) -> i64 {
        rounded_up(self.nanos, NANOS_PER_MILLI)
    }

    /// The amount in billionths of a unit, exactly.
    pub fn nano_value(&self) -> i128 {
        self.nanos
    }

    /// The family of suffixes it displays in.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether the amount is nothing.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// The canonical text: no fraction, the largest suffix, the sign only if negative.
    pub fn canonical(&self) -> String {
        let binary = self.format == Format::BinarySi && self.nanos % NANOS == 0;
        if self.nanos == 0 {
            "0".to_owned()
        } else if binary && self.nanos.abs() >= 1024 * NANOS {
            canonical_binary(self.nanos / NANOS)
        } else {
            canonical_decimal(self.nanos, self.format == Format::DecimalExponent)
        }
    }
}

fn rounded_up(nanos: i128, unit: i128) -> i64 {
    let away = i128::from(nanos % unit != 0) * nanos.signum();
    let whole = nanos / unit + away;
    i64::try_from(whole).unwrap_or(if whole < 0 { i64::MIN } else { i64::MAX })
}

fn canonical_binary(mut units: i128) -> String {
    const SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let mut power = 0;
    while units % 1024 == 0 && power + 1 < SUFFIXES.len() {
        units /= 1024;
        power += 1;
    }
    format!("{units}{}", SUFFIXES[power])
}

fn canonical_decimal(mut mantissa: i128, exponential: bool) -> String {
    const SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    let mut power = 0;
    while mantissa % 1000 == 0 && (exponential || power + 1 < SUFFIXES.len()) {
        mantissa /= 1000;
        power += 1;
    }
    let exponent = 3 * (power as i64 - 3);
    match SUFFIXES.get(power) {
        Some(suffix) if !exponential => format!("{mantissa}{suffix}"),
        _ if exponent == 0 => mantissa.to_string(),
        _ => format!("{mantissa}e{exponent}"),
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse::parse(text)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.written {
            Some(written) => f.write_str(written),
            None => f.write_str(&self.canonical()),
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}
