//! A time that a person gives to have the same image again.

use std::str::FromStr;

/// Seconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timestamp(pub(crate) u64);

impl FromStr for Timestamp {
    type Err = String;

    /// Reads RFC 3339 or a number of seconds, as `SOURCE_DATE_EPOCH` has it.
    fn from_str(text: &str) -> Result<Self, String> {
        let seconds = text.parse().ok().or_else(|| {
            let time: jiff::Timestamp = text.parse().ok()?;
            u64::try_from(time.as_second()).ok()
        });
        let in_range = seconds.filter(|it| i64::try_from(*it).is_ok_and(|it| jiff::Timestamp::from_second(it).is_ok()));
        in_range.map(Self).ok_or_else(|| "it is neither a time like 2026-01-31T00:00:00Z nor seconds since 1970".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_forms() {
        assert_eq!("0".parse(), Ok(Timestamp(0)));
        assert_eq!("2001-09-09T01:46:40Z".parse(), Ok(Timestamp(1_000_000_000)));
        for bad in ["", "now", "-1", "1960-01-01T00:00:00Z", "99999999999999999"] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }
}
