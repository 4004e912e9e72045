//! Tables as docker prints them.

/// Every column but the last is at least this wide.
const NARROWEST: usize = 10;

/// Blanks between columns.
const GAP: usize = 3;

/// Aligns rows with blanks, as Go's tabwriter does with docker's parameters.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        (cells.max().unwrap_or(0) + GAP).max(NARROWEST)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let width = if column + 1 < row.len() { widths[column] } else { 0 };
            text.push_str(&format!("{cell:width$}"));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_ten_wide_and_three_apart() {
        let rows = [["CONTAINER ID", "IMAGE", "NAMES"], ["0123456789ab", "a", "web"]];
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
        assert_eq!(aligned(&rows), "CONTAINER ID   IMAGE     NAMES\n0123456789ab   a         web\n");
    }
}
