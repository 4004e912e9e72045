//! Dates as RFC 3339 writes them, in the strictness of Go's parser.

use std::fmt;
use std::str::FromStr;

use crate::json::quote::Quoted;

/// A text that is no RFC 3339 date and time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad Date: {} is not an RFC 3339 date and time", Quoted(.text))]
pub struct DateError {
    /// The refused text.
    pub text: String,
}

/// A date and time of day with its offset from UTC. Fractions of seconds are accepted and lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    year: u16,
    /// Month, day, hour, minute, second.
    parts: [u8; 5],
    /// Minutes east of UTC.
    offset: i16,
}

impl FromStr for Date {
    type Err = DateError;

    /// Parses `2004-05-14T23:11:14+00:00`; the `T` and the `Z` are upper case, a space in the `T`'s place is refused.
    fn from_str(text: &str) -> Result<Self, DateError> {
        parse(text.as_bytes()).ok_or_else(|| DateError { text: text.chars().take(100).collect() })
    }
}

fn parse(text: &[u8]) -> Option<Date> {
    let (fixed, rest) = text.split_at_checked(19)?;
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, separator)| fixed[at] != separator) {
        return None;
    }
    let year = number(&fixed[..4])?;
    let mut parts = [0; 5];
    for (part, at) in parts.iter_mut().zip([5, 8, 11, 14, 17]) {
        *part = u8::try_from(number(&fixed[at..at + 2])?).ok()?;
    }
    let [month, day, hour, minute, second] = parts;
    let in_range = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let offset = offset(without_fraction(rest)?)?;
    in_range.then_some(Date { year, parts, offset })
}

fn without_fraction(rest: &[u8]) -> Option<&[u8]> {
    match rest.split_first()? {
        // Go takes a comma for the point as well.
        (b'.' | b',', fraction) => {
            let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
            (digits > 0).then(|| &fraction[digits..])
        }
        _ => Some(rest),
    }
}

fn offset(zone: &[u8]) -> Option<i16> {
    if zone == b"Z" {
        return Some(0);
    }
    let &[sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] = zone else { return None };
    // Go takes a whole day and a whole hour too, as some people write such offsets.
    let hours = number(&[h1, h2]).filter(|&hours| hours <= 24)?;
    let minutes = number(&[m1, m2]).filter(|&minutes| minutes <= 60)?;
    let offset = i16::try_from(hours * 60 + minutes).ok()?;
    Some(if sign == b'-' { -offset } else { offset })
}

fn number(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u16::from(b - b'0')))
}

fn days_in(year: u16, month: u8) -> u8 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [month, day, hour, minute, second] = self.parts;
        write!(f, "{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}", self.year)?;
        if self.offset == 0 {
            return f.write_str("Z");
        }
        let sign = if self.offset < 0 { '-' } else { '+' };
        let minutes = self.offset.unsigned_abs();
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}
