//! Points in time as lists show them. All are nanoseconds since the epoch.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::error::CommandError;

/// rkt's layout `2006-01-02 15:04:05.999 -0700 MST`, always in UTC: a static program does not read time zones.
pub(crate) fn full(nanoseconds: u64) -> String {
    match Timestamp::from_nanosecond(i128::from(nanoseconds)) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S%.3f +0000 UTC").to_string(),
        Err(_) => format!("{nanoseconds} ns"),
    }
}

/// RFC 3339 with nine digits after the point, in UTC.
pub(crate) fn rfc3339(nanoseconds: u64) -> String {
    match Timestamp::from_nanosecond(i128::from(nanoseconds)) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%S%.9fZ").to_string(),
        Err(_) => format!("{nanoseconds} ns"),
    }
}

/// A time in RFC 3339; `None` if it is none, or before 1970.
pub(crate) fn parse_rfc3339(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<Timestamp>().ok()?.as_nanosecond()).ok()
}

/// A time as people and scripts write it: RFC 3339, the same without a zone or without a time, which mean UTC, or
/// seconds since the epoch. `None` if it is none of these, or before 1970.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let civil = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok();
    parse_rfc3339(text).or_else(|| epoch(text)).or_else(|| u64::try_from(civil()?.timestamp().as_nanosecond()).ok())
}

/// `SECONDS[.FRACTION]`.
fn epoch(text: &str) -> Option<u64> {
    const DIGITS: usize = 9;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(seconds) || !all_digits(fraction) || fraction.len() > DIGITS {
        return None;
    }
    let nanoseconds: u64 = format!("{fraction:0<DIGITS$}").parse().ok()?;
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

/// The time now.
pub(crate) fn now() -> u64 {
    u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(0)
}

/// The time that SOURCE_DATE_EPOCH (reproducible-builds.org) tells, in seconds since 1970: that of everything which is made now.
///
/// # Errors
///
/// It is no number.
pub(crate) fn source_date_epoch() -> Result<Option<u64>, CommandError> {
    let Some(value) = std::env::var_os("SOURCE_DATE_EPOCH") else { return Ok(None) };
    let number = value.to_str().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| {
        CommandError::usage(format!("SOURCE_DATE_EPOCH={} is no number of seconds", value.to_string_lossy()))
            .hint("set it to seconds since 1970, for instance with `git log -1 --format=%ct`")
    })
}

/// How long ago, in the largest unit that fits: `2 hours ago`.
pub(crate) fn ago(nanoseconds: u64, now: u64) -> String {
    const UNITS: &[(u64, &str)] = &[
        (365 * 86_400, "year"),
        (30 * 86_400, "month"),
        (7 * 86_400, "week"),
        (86_400, "day"),
        (3600, "hour"),
        (60, "minute"),
        (1, "second"),
    ];
    // A clock that was set back must not give negative ages.
    let seconds = now.saturating_sub(nanoseconds) / 1_000_000_000;
    let Some((length, unit)) = UNITS.iter().find(|(length, _)| seconds >= *length) else {
        return "now".into();
    };
    match seconds / length {
        1 => format!("1 {unit} ago"),
        n => format!("{n} {unit}s ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_and_back() {
        let time = 1_767_323_045_000_000_006;
        assert_eq!(rfc3339(time), "2026-01-02T03:04:05.000000006Z");
        assert_eq!(parse_rfc3339(&rfc3339(time)), Some(time));
        assert_eq!(parse_rfc3339("2026-01-02T04:04:05+01:00"), Some(time - 6));
        assert_eq!(parse_rfc3339("yesterday"), None);
    }

    #[test]
    fn times_that_people_and_scripts_write() {
        let midnight = 1_767_312_000_000_000_000;
        for (text, time) in [
            ("2026-01-02T00:00:00Z", Some(midnight)),
            ("2026-01-02T00:00:00", Some(midnight)),
            ("2026-01-02", Some(midnight)),
            ("1767312000", Some(midnight)),
            ("1767312000.5", Some(midnight + 500_000_000)),
            ("1767312000.", None),
            ("-5", None),
            ("99999999999999999999", None),
            ("yesterday", None),
        ] {
            assert_eq!(parse(text), time, "{text}");
        }
    }

    #[test]
    fn ages() {
        let second = 1_000_000_000;
        for (age, text) in [
            (0, "now"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (60, "1 minute ago"),
            (7199, "1 hour ago"),
            (7200, "2 hours ago"),
            (86_400 * 13, "1 week ago"),
            (86_400 * 29, "4 weeks ago"),
            (86_400 * 400, "1 year ago"),
        ] {
            assert_eq!(ago(1000 * second, (1000 + age) * second), text);
        }
        assert_eq!(ago(5 * second, 0), "now", "the clock was set back");
    }

    #[test]
    fn full_times_have_milliseconds_and_a_zone() {
        assert_eq!(full(1_700_000_000_123_456_789), "2023-11-14 22:13:20.123 +0000 UTC");
        assert_eq!(full(u64::MAX), "2554-07-21 23:34:33.709 +0000 UTC");
    }
}
