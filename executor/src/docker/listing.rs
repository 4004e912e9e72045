//! Lists of containers, images and the like, in the forms that docker's `--format` has.

use serde_json::Value;

use super::columns;
use super::template::Template;
use crate::error::CommandError;
use crate::escape::printable;
use crate::output;

/// The form of a list. A row of it is an object whose fields are called as docker calls them.
pub(crate) enum Listing {
    /// A table of the columns that the command chooses.
    Table,
    /// An object a line.
    Json,
    /// What a template makes of each row.
    Template(Template),
}

impl Listing {
    /// Reads the value of `--format`: `table`, `json`, or a template.
    ///
    /// # Errors
    ///
    /// The template is malformed.
    pub(crate) fn parse(format: Option<&str>) -> Result<Self, CommandError> {
        match format {
            None | Some("" | "table") => Ok(Self::Table),
            Some("json") => Ok(Self::Json),
            Some(template) => Template::parse(template).map(Self::Template),
        }
    }

    /// The list. `columns` are the fields of the table; `titles` has those fields whose title is not their name in capitals.
    ///
    /// # Errors
    ///
    /// The rows have no field that the template names.
    pub(crate) fn show(
        &self,
        rows: &[Value],
        columns: &[&str],
        titles: &[(&str, &str)],
    ) -> Result<String, CommandError> {
        match self {
            Self::Table => {
                let head = columns.iter().map(|field| title(field, titles)).collect();
                let cells = |row: &Value| columns.iter().map(|field| cell(row, field)).collect();
                Ok(columns::aligned(&std::iter::once(head).chain(rows.iter().map(cells)).collect::<Vec<_>>()))
            }
            Self::Json => rows.iter().map(output::json).collect(),
            Self::Template(template) => template.table(&rows.iter().map(shown).collect::<Vec<_>>(), titles),
        }
    }
}

/// What `--quiet` prints: one field, a line for each row.
pub(crate) fn lines(rows: &[Value], field: &str) -> String {
    rows.iter().map(|row| cell(row, field) + "\n").collect()
}

/// What stands above the values of a field.
pub(super) fn title(field: &str, titles: &[(&str, &str)]) -> String {
    let known = titles.iter().find(|(name, _)| *name == field);
    known.map_or_else(|| field.to_uppercase(), |(_, title)| (*title).to_owned())
}

fn cell(row: &Value, field: &str) -> String {
    printable(row[field].as_str().unwrap_or_default()).into_owned()
}

/// A row as terminals may have it: commands, labels and paths are an image's or anybody's.
fn shown(row: &Value) -> Value {
    match row {
        Value::String(text) => printable(text).into(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), shown(value))).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TITLES: [(&str, &str); 1] = [("ID", "CONTAINER ID")];

    fn show(format: Option<&str>) -> String {
        let rows = [json!({"ID": "0123456789ab", "Labels": "a=\u{9b}31m\nb"})];
        Listing::parse(format).and_then(|listing| listing.show(&rows, &["ID", "Labels"], &TITLES)).unwrap()
    }

    #[test]
    fn every_form_has_the_same_rows() {
        let table = "CONTAINER ID   LABELS\n0123456789ab   a=\\u{9b}31m\\x0ab\n";
        assert_eq!(show(None), table);
        assert_eq!(show(Some("table")), table);
        assert_eq!(show(Some("")), table);
        assert_eq!(show(Some("table {{.ID}}\\t{{.Labels}}")), table);
        assert_eq!(show(Some("{{.Labels}}")), "a=\\u{9b}31m\\x0ab\n");
        // Programs get what it is.
        assert_eq!(show(Some("json")), "{\"ID\":\"0123456789ab\",\"Labels\":\"a=\u{9b}31m\\nb\"}\n");
        Listing::parse(Some("{{.ID")).err().unwrap();
    }
}
