//! Numbers of bytes as lists show them.

/// A number of bytes in the largest binary unit that fits, as rkt shows it: `9 B`, `2.0 KiB`, `79 MiB`.
pub(crate) fn binary(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let exponent = (bytes.ilog2() / 10) as usize;
    // Tenths, rounded half up; f64 holds what is left of the precision.
    let value = (bytes as f64 / (1_u64 << (10 * exponent)) as f64 * 10.0 + 0.5).floor() / 10.0;
    let unit = UNITS[exponent];
    if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (9, "9 B"),
            (10, "10 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (10 << 10, "10 KiB"),
            (82_854_982, "79 MiB"),
            (1_500_000, "1.4 MiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(binary(bytes), text);
        }
    }
}
