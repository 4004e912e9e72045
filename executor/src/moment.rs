//! Points in time as lists show them. All are nanoseconds since the epoch.

use jiff::Timestamp;

/// rkt's layout `2006-01-02 15:04:05.999 -0700 MST`, always in UTC: a static program does not read time zones.
pub(crate) fn full(nanoseconds: u64) -> String {
    match Timestamp::from_nanosecond(i128::from(nanoseconds)) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S%.3f +0000 UTC").to_string(),
        Err(_) => format!("{nanoseconds} ns"),
    }
}

/// The time now.
pub(crate) fn now() -> u64 {
    u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(0)
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
