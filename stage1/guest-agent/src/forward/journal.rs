//! Events on standard error, one line of JSON each, in the original's form.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::output::complain;

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

/// Writes one line. Where nobody reads standard error the line is dropped: forwarding must not wait for it.
pub(super) fn log(level: Level, code: &str, message: &str, details: &[(&str, &str)]) {
    let stderr = rustix::stdio::stderr();
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if matches!(poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], Some(&now)), Ok(0)) {
        return;
    }
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
    complain(line(seconds, level, code, message, details));
}

fn line(seconds: u64, level: Level, code: &str, message: &str, details: &[(&str, &str)]) -> String {
    let level = match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    let details: Vec<String> =
        details.iter().map(|(name, value)| format!("{}:{}", quoted(name), quoted(value))).collect();
    format!(
        "{{\"timestamp\":\"{}\",\"level\":\"{level}\",\"code\":{},\"message\":{},\"details\":{{{}}}}}\n",
        timestamp(seconds),
        quoted(code),
        quoted(message),
        details.join(",")
    )
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            // Terminals act on C1 controls too.
            control if control.is_control() => {
                write!(quoted, "\\u{:04x}", u32::from(control)).expect("a string takes everything");
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

/// RFC 3339 in UTC, from seconds since 1970.
fn timestamp(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Counted in eras of 400 years of 146,097 days, with years that begin in March.
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_date() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_210_096, "2024-02-29T12:34:56Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(seconds), expected);
        }
    }

    #[test]
    fn a_line_is_json() {
        assert_eq!(
            line(0, Level::Info, "C", "a \"b\"\\\n\u{9b}é", &[("x", "1"), ("y", "")]),
            "{\"timestamp\":\"1970-01-01T00:00:00Z\",\"level\":\"info\",\"code\":\"C\",\
             \"message\":\"a \\\"b\\\"\\\\\\u000a\\u009bé\",\"details\":{\"x\":\"1\",\"y\":\"\"}}\n"
        );
    }
}
