//! What is written down of an app's health, beside how it ended.
//!
//! That record has to fit a block of the disk (docs/formats/pod-directory.md), so of what checks have written it has the
//! beginning alone. The supervisor tells the whole.

use serde_json::Value;
use stage1::protocol::HealthReport;

/// The most bytes of JSON that the output of one check may take.
const MAX_OUTPUT: usize = 256;

/// The record.
pub(crate) fn of(health: &HealthReport) -> Option<Value> {
    let mut short = health.clone();
    short.log.iter_mut().for_each(|check| cut(&mut check.output));
    serde_json::to_value(short).ok()
}

/// What was written down; nothing where that is of another version.
pub(crate) fn read(record: Option<&Value>) -> Option<HealthReport> {
    serde_json::from_value(record?.clone()).ok()
}

fn cut(output: &mut String) {
    let mut room = MAX_OUTPUT;
    let fits = |c: char| {
        let len = if c.is_control() || matches!(c, '"' | '\\') { 6 } else { c.len_utf8() };
        room = room.checked_sub(len)?;
        Some(c)
    };
    *output = output.chars().map_while(fits).collect();
}

#[cfg(test)]
mod tests {
    use stage1::protocol::{CheckReport, HealthStatus};

    use super::*;

    #[test]
    fn the_record_fits_a_block_whatever_checks_write() {
        for text in ["\u{1}", "\"", "\\", "a", "é", "\u{1f980}"] {
            let check = CheckReport { start_ns: u64::MAX, end_ns: u64::MAX, exit_code: -1, output: text.repeat(4096) };
            let log = vec![check; 5].into();
            let health = HealthReport { status: HealthStatus::Unhealthy, failing_streak: u32::MAX, log };
            let record = of(&health).unwrap();
            assert!(record.to_string().len() < 2200, "{text:?}: {}", record.to_string().len());
            let read = read(Some(&record)).unwrap();
            assert!(read.log[4].output.starts_with(&text.repeat(40)), "{text:?}");
        }
    }
}
