//! The part of Go's templates that people give to `--format`: fields, `json`, and text between them.

use serde_json::Value;

use super::columns;
use crate::error::CommandError;

/// A template.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
    /// Whether rows are aligned, with titles.
    table: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A field, by the names that lead to it; whether it is shown as JSON.
    Field {
        path: Vec<String>,
        json: bool,
    },
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// It has what is not known here: conditions, loops, functions.
    pub(crate) fn parse(text: &str) -> Result<Self, CommandError> {
        let (text, table) = match text.strip_prefix("table ") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        let (mut rest, mut parts) = (text.as_str(), Vec::new());
        while let Some((before, after)) = rest.split_once("{{") {
            let unfinished = || CommandError::usage(format!("template parsing error: {text:?}: unclosed action"));
            let (action, after) = after.split_once("}}").ok_or_else(unfinished)?;
            parts.extend((!before.is_empty()).then(|| Part::Text(before.to_owned())));
            parts.push(Self::action(action.trim().trim_matches('-').trim())?);
            rest = after;
        }
        parts.extend((!rest.is_empty()).then(|| Part::Text(rest.to_owned())));
        Ok(Self { parts, table })
    }

    fn action(action: &str) -> Result<Part, CommandError> {
        let (path, json) = match action.strip_prefix("json ") {
            Some(path) => (path.trim(), true),
            None => (action, false),
        };
        let unknown = || {
            CommandError::usage(format!("template parsing error: {action:?} is not known here"))
                .hint("known are {{.Field.Field}} and {{json .Field}}; jq does more with the JSON")
        };
        let names = path.strip_prefix('.').ok_or_else(unknown)?;
        let path: Vec<String> = names.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if path.iter().any(|name| !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')) {
            return Err(unknown());
        }
        Ok(Part::Field { path, json })
    }

    /// What it makes of a value.
    ///
    /// # Errors
    ///
    /// The value has no such field.
    pub(crate) fn render(&self, value: &Value) -> Result<String, CommandError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Field { path, json } => {
                    let mut field = value;
                    for name in path {
                        field = field.get(name).ok_or_else(|| {
                            CommandError::usage(format!(
                                "template: executing at <.{}>: no field {name}",
                                path.join(".")
                            ))
                        })?;
                    }
                    match field {
                        Value::String(string) if !json => text.push_str(string),
                        Value::Null if !json => text.push_str("<nil>"),
                        field => text.push_str(&serde_json::to_string(field)?),
                    }
                }
            }
        }
        Ok(text)
    }

    /// A line for each value, aligned and with titles if that is asked for.
    ///
    /// # Errors
    ///
    /// As [`Template::render`].
    pub(crate) fn table(&self, values: &[Value], titles: &[(&str, &str)]) -> Result<String, CommandError> {
        let lines = values.iter().map(|value| self.render(value)).collect::<Result<Vec<_>, _>>()?;
        if !self.table {
            return Ok(lines.into_iter().map(|line| line + "\n").collect());
        }
        let title = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field { path, .. } => {
                let name = path.last().map_or("", String::as_str);
                let known = titles.iter().find(|(field, _)| *field == name);
                known.map_or_else(|| name.to_uppercase(), |(_, title)| (*title).to_owned())
            }
        };
        let head: String = self.parts.iter().map(title).collect();
        let rows = std::iter::once(head).chain(lines);
        Ok(columns::aligned(&rows.map(|row| row.split('\t').map(str::to_owned).collect()).collect::<Vec<_>>()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_and_json() {
        let value = json!({"State": {"Status": "running", "Pid": 7}, "Name": "/web"});
        for (text, shown) in [
            ("{{.State.Status}}", "running"),
            ("{{ .Name }}: {{.State.Pid}}", "/web: 7"),
            ("{{json .State}}", "{\"Pid\":7,\"Status\":\"running\"}"),
            ("{{json .Name}}\\t", "\"/web\"\t"),
            ("plain", "plain"),
        ] {
            assert_eq!(Template::parse(text).unwrap().render(&value).unwrap(), shown);
        }
        for bad in ["{{.Name", "{{range .X}}", "{{if .A}}", "{{.Name | upper}}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        assert!(Template::parse("{{.Nothing}}").unwrap().render(&value).is_err());
    }

    #[test]
    fn tables_have_titles() {
        let table = Template::parse("table {{.ID}}\\t{{.Names}}").unwrap();
        let rows = [json!({"ID": "0123456789ab", "Names": "web"})];
        let shown = table.table(&rows, &[("ID", "CONTAINER ID"), ("Names", "NAMES")]).unwrap();
        assert_eq!(shown, "CONTAINER ID   NAMES\n0123456789ab   web\n");
    }
}
