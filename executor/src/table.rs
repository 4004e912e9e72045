//! Tables as rkt prints them.

/// Columns begin at multiples of this.
const TAB: usize = 8;

/// Aligns rows with tab characters: every cell but a row's last is filled up with tabs to the width of its column.
///
/// Go's tabwriter with the parameters rkt gives it, so that scripts which cut rkt's lists at tabs can cut these.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(|column| stop(rows, column)).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                let missing = widths[column] - cell.chars().count();
                text.extend(std::iter::repeat_n('\t', missing.div_ceil(TAB)));
            }
        }
        text.push('\n');
    }
    text
}

/// The width of a column: its widest cell and at least one more, rounded up to the next tab stop.
fn stop(rows: &[Vec<String>], column: usize) -> usize {
    let widest = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    (widest + 1).next_multiple_of(TAB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_begin_at_tab_stops() {
        let rows = [["UUID", "APP", "STATE"], ["0f3a55e2", "redis", "running"], ["", "sidecar", "x"]];
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect();
        assert_eq!(aligned(&rows), "UUID\t\tAPP\tSTATE\n0f3a55e2\tredis\trunning\n\t\tsidecar\tx\n");
    }

    #[test]
    fn a_cell_as_wide_as_a_stop_still_gets_its_tab() {
        let rows = [vec!["12345678".into(), "x".into()], vec!["1".into(), "y".into()]];
        assert_eq!(aligned(&rows), "12345678\tx\n1\t\ty\n");
    }
}
