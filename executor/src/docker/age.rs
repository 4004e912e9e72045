//! Ages and sizes in docker's words (its package go-units).

const SECOND: u64 = 1_000_000_000;

/// `About a minute`, `3 weeks`: how long something is ago, of nanoseconds.
pub(crate) fn of(ns: u64) -> String {
    let seconds = ns / SECOND;
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    let days = hours / 24;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if days < 14 => format!("{days} days"),
        () if days < 60 => format!("{} weeks", days / 7),
        () if days < 2 * 365 => format!("{} months", days / 30),
        () => format!("{} years", days / 365),
    }
}

/// `2026-11-22 14:15:21 +0000 UTC`: a time in nanoseconds since the epoch, as Go prints it.
pub(super) fn moment(ns: u64) -> String {
    let text = crate::moment::rfc3339(ns);
    let (date, time) = text.split_once('T').unwrap_or((&text, ""));
    let time = time.split(['.', 'Z']).next().unwrap_or_default();
    format!("{date} {time} +0000 UTC")
}

/// `1.45MB`: a number of bytes in the largest decimal unit that fits, with three digits.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut unit = 0;
    // Precise to 53 bits, shown with three digits.
    #[expect(clippy::cast_precision_loss)]
    let mut number = bytes as f64;
    while number >= 1000.0 && unit + 1 < UNITS.len() {
        number /= 1000.0;
        unit += 1;
    }
    let digits: usize = match number {
        number if number < 10.0 => 2,
        number if number < 100.0 => 1,
        _ => 0,
    };
    let text = format!("{number:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 86_400, "2 weeks"),
            (60 * 86_400, "2 months"),
            (3 * 365 * 86_400, "3 years"),
        ] {
            assert_eq!(of(seconds * SECOND), text, "{seconds}");
        }
    }

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1449, "1.45kB"),
            (4_261_000, "4.26MB"),
            (72_800_000, "72.8MB"),
            (187_000_000, "187MB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
