//! Durations on the command line, as Go and so rkt write them.

use std::time::Duration;

/// A duration that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("not a duration such as 90s, 30m, 1h30m or 0")]
pub(crate) struct NotADuration;

/// Parses a sum of whole numbers with units (`1h30m`, `90s`, `250ms`, days as `7d`), or `0`.
///
/// # Errors
///
/// Anything else, fractions, signs and sums beyond 2^64 nanoseconds (584 years) among it.
pub(crate) fn parse(text: &str) -> Result<Duration, NotADuration> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(NotADuration)?;
        let (number, after) = rest.split_at(digits);
        let unit_len = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let number: u64 = number.parse().map_err(|_| NotADuration)?;
        let part = number.checked_mul(unit_nanoseconds(unit).ok_or(NotADuration)?);
        total = part.and_then(|part| total.checked_add(part)).ok_or(NotADuration)?;
        rest = after;
    }
    if text.is_empty() { Err(NotADuration) } else { Ok(Duration::from_nanos(total)) }
}

fn unit_nanoseconds(unit: &str) -> Option<u64> {
    const SECOND: u64 = 1_000_000_000;
    Some(match unit {
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
        for (text, milliseconds) in
            [("0", 0), ("0s", 0), ("250ms", 250), ("90s", 90_000), ("1h30m", 5_400_000), ("7d", 604_800_000)]
        {
            assert_eq!(parse(text).unwrap(), Duration::from_millis(milliseconds), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in ["", "5", "s", "-1s", "1.5h", "1w", "1 s", "30m5", "99999999999999999999s", "18446744073709551615h"]
        {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
