//! Durations on the command line, as Go and so rkt write them.

use std::time::Duration;

/// A duration that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("not a duration such as 90s, 30m, 1h30m or 0")]
pub(crate) struct NotADuration;

/// Parses a sum of numbers with units (`1h30m`, `90s`, `250ms`, `1.5s`, days as `7d`), or `0`.
///
/// # Errors
///
/// Anything else, signs and sums beyond 2^64 nanoseconds (584 years) among it.
pub(crate) fn parse(text: &str) -> Result<Duration, NotADuration> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let is_of_number = |c: char| c.is_ascii_digit() || c == '.';
        let (number, after) = rest.split_at(rest.find(|c| !is_of_number(c)).ok_or(NotADuration)?);
        let (unit, after) = after.split_at(after.find(is_of_number).unwrap_or(after.len()));
        let part = nanoseconds(number, unit_nanoseconds(unit).ok_or(NotADuration)?);
        total = part.and_then(|part| total.checked_add(part)).ok_or(NotADuration)?;
        rest = after;
    }
    if text.is_empty() { Err(NotADuration) } else { Ok(Duration::from_nanos(total)) }
}

/// So many units, of which there may be a fraction. What is smaller than a nanosecond is left out.
fn nanoseconds(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let digits = &fraction[..fraction.len().min(9)];
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part: u128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let part = part * u128::from(unit) / 10_u128.pow(u32::try_from(digits.len()).ok()?);
    whole.checked_mul(unit)?.checked_add(u64::try_from(part).ok()?)
}

fn unit_nanoseconds(unit: &str) -> Option<u64> {
    const SECOND: u64 = 1_000_000_000;
    Some(match unit {
        "ns" => 1,
        "us" | "µs" => SECOND / 1_000_000,
        "ms" => SECOND / 1000,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3600 * SECOND,
        "d" => 86_400 * SECOND,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_numbers_with_units() {
        for (text, milliseconds) in [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("1.s2.25s", 3250),
            ("7000us", 7),
        ] {
            assert_eq!(parse(text).unwrap(), Duration::from_millis(milliseconds), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "-1s",
            ".s",
            "1..5s",
            "1.2.3s",
            "1w",
            "1 s",
            "30m5",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
