//! Where in a document a value stands, written as JSON path.

use std::fmt;

/// One step from a value to a value inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(usize),
}

/// The way from the top of a manifest to one of its values.
///
/// Displays as JSON path: `$` is the manifest itself, `$.app.ports[0].name` a value in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JsonPath {
    steps: Vec<Step>,
}

impl JsonPath {
    pub(crate) fn enter_field(&mut self, name: &str) {
        self.steps.push(Step::Field(name.to_owned()));
    }

    pub(crate) fn enter_index(&mut self, index: usize) {
        self.steps.push(Step::Index(index));
    }

    pub(crate) fn leave(&mut self) {
        self.steps.pop();
    }

    /// Whether this is the manifest as a whole.
    pub fn is_root(&self) -> bool {
        self.steps.is_empty()
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        for step in &self.steps {
            match step {
                Step::Field(name) if is_plain(name) => write!(f, ".{name}")?,
                Step::Field(name) => write!(f, "[{}]", super::quote::Quoted(name))?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_json_path() {
        let mut path = JsonPath::default();
        assert!(path.is_root());
        assert_eq!(path.to_string(), "$");
        path.enter_field("app");
        path.enter_field("ports");
        path.enter_index(0);
        path.enter_field("a.b");
        assert_eq!(path.to_string(), "$.app.ports[0][\"a.b\"]");
        path.leave();
        assert_eq!(path.to_string(), "$.app.ports[0]");
    }
}
