//! The text of a quantity, taken apart and turned into an exact amount.

use super::{Format, NANOS, Quantity, QuantityError};

/// Nothing anybody writes comes near it; it bounds the arithmetic on digits.
const MAX_LENGTH: usize = 1024;

/// The pieces of a quantity's text.
struct Pieces<'a> {
    negative: bool,
    /// Digits before the point, without leading zeros; one zero if there are no others.
    whole: &'a str,
    /// Digits after the point.
    fraction: &'a str,
    suffix: &'a str,
}

/// What a suffix multiplies by: `base` to the power of `exponent`.
struct Multiplier {
    format: Format,
    exponent: i64,
}

pub(super) fn parse(text: &str) -> Result<Quantity, QuantityError> {
    if text.len() > MAX_LENGTH {
        return Err(QuantityError::TooLong { length: text.len() });
    }
    let pieces = split(text).ok_or_else(|| QuantityError::Format { text: text.to_owned() })?;
    let Multiplier { format, exponent } =
        multiplier(pieces.suffix).ok_or_else(|| QuantityError::Suffix { suffix: pieces.suffix.to_owned() })?;
    let amount = match format {
        Format::BinarySi => binary_nanos(&pieces, exponent),
        _ => decimal_nanos(&[pieces.whole, pieces.fraction].concat(), pieces.fraction.len() as i64 - exponent),
    };
    let amount = amount.ok_or_else(|| QuantityError::TooLarge { text: text.to_owned() })?;
    // Below one unit a binary suffix would only confuse.
    let format = if format == Format::BinarySi && 0 < amount && amount < NANOS { Format::DecimalSi } else { format };
    let written = keeps_spelling(&pieces, format, exponent).then(|| text.to_owned());
    Ok(Quantity { nanos: if pieces.negative { -amount } else { amount }, format, written })
}

fn split(text: &str) -> Option<Pieces<'_>> {
    let negative = text.starts_with('-');
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, rest) = split_digits(unsigned);
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => split_digits(rest),
        None if whole.is_empty() => return None,
        None => ("", rest),
    };
    let exponent = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let significant = whole.trim_start_matches('0');
    let whole = if significant.is_empty() { "0" } else { significant };
    Some(Pieces { negative, whole, fraction, suffix })
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len()))
}

fn multiplier(suffix: &str) -> Option<Multiplier> {
    let decimal = |exponent| Some(Multiplier { format: Format::DecimalSi, exponent });
    let binary = |exponent| Some(Multiplier { format: Format::BinarySi, exponent });
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent: i64 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            // Far beyond what fits or what is not rounded, and small enough to add to a length.
            Some(Multiplier { format: Format::DecimalExponent, exponent: exponent.clamp(-10_000, 10_000) })
        }
    }
}

/// The amount of a binary quantity, capped at the largest number of units Go's library holds.
fn binary_nanos(pieces: &Pieces<'_>, exponent: i64) -> Option<i128> {
    let digits = times_power_of_two(&[pieces.whole, pieces.fraction].concat(), exponent as u32);
    let max = i128::from(i64::MAX) * NANOS;
    Some(decimal_nanos(&digits, pieces.fraction.len() as i64).unwrap_or(max).min(max))
}

/// Multiplies a number written in decimal digits by `2^exponent`; digit by digit, for it may have any length.
fn times_power_of_two(digits: &str, exponent: u32) -> String {
    let factor = 1u128 << exponent;
    let mut carry = 0u128;
    let mut reversed = Vec::with_capacity(digits.len() + 19);
    for digit in digits.bytes().rev() {
        carry += u128::from(digit - b'0') * factor;
        reversed.push((carry % 10) as u8 + b'0');
        carry /= 10;
    }
    while carry > 0 {
        reversed.push((carry % 10) as u8 + b'0');
        carry /= 10;
    }
    reversed.iter().rev().map(|&digit| char::from(digit)).collect()
}

/// The billionths in the number `digits / 10^scale`, rounded up; none if there are too many.
fn decimal_nanos(digits: &str, scale: i64) -> Option<i128> {
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let shift = 9 - scale;
    if shift >= 0 {
        let factor = 10i128.checked_pow(u32::try_from(shift).ok()?)?;
        return digits.parse::<i128>().ok()?.checked_mul(factor);
    }
    let lost = usize::try_from(-shift).ok()?.min(digits.len());
    let (kept, lost) = digits.split_at(digits.len() - lost);
    let kept: i128 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
    kept.checked_add(i128::from(lost.bytes().any(|digit| digit != b'0')))
}

/// Whether the Go library would print the text it parsed instead of the canonical one. It takes these conditions
/// for a sign of canonical text; they also let a sign or leading zeros through.
fn keeps_spelling(pieces: &Pieces<'_>, format: Format, exponent: i64) -> bool {
    let digits = pieces.whole.len() + pieces.fraction.len();
    match format {
        Format::BinarySi => {
            let fits = digits as i64 + exponent * 3 / 10 < 15;
            let odd = pieces.whole.parse::<u64>().is_ok_and(|value| value & 7 != 0);
            pieces.fraction.is_empty() && fits && odd
        }
        _ => {
            let scale = exponent - pieces.fraction.len() as i64;
            let shifted = [pieces.whole, pieces.fraction].concat();
            digits <= 18 && scale >= -9 && scale % 3 == 0 && !shifted.ends_with("000") && !shifted.starts_with('0')
        }
    }
}
