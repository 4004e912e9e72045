//! What a template makes of a value.

use serde_json::Value;

use super::function;
use super::parse::{Node, Pipeline, Root, Term};

/// As much as a template may write: two loops in each other over the same list make much of little.
const MAX_TEXT: usize = 64 << 20;

/// Fields that are maps with names of anybody's: what they do not have is no mistake.
const MAPS: [&str; 2] = ["Attributes", "Labels"];

/// Renders a template; the error says what went wrong.
pub(super) fn render(nodes: &[Node], value: &Value) -> Result<String, String> {
    let mut scope = Scope { variables: vec![(String::new(), value.clone())], text: String::new() };
    scope.nodes(nodes, value)?;
    Ok(scope.text)
}

/// Whether it is about what a map has under one name.
fn is_of_map(pipeline: &Pipeline) -> bool {
    let [command] = pipeline.0.as_slice() else { return false };
    let [Term::Path(_, path)] = command.0.as_slice() else { return false };
    path.iter().rev().nth(1).is_some_and(|name| MAPS.contains(&name.as_str()))
}

/// The value of a label: of a map, or of a list such as `a=b,c=d`, whose values may have commas.
fn label(labels: &Value, name: &str) -> String {
    if let Some(value) = labels.get(name) {
        return value.as_str().unwrap_or_default().to_owned();
    }
    let mut pairs: Vec<(&str, String)> = Vec::new();
    for part in labels.as_str().unwrap_or_default().split(',') {
        match (part.split_once('='), pairs.last_mut()) {
            (Some((key, value)), _) => pairs.push((key, value.to_owned())),
            (None, Some((_, value))) => value.push_str(&format!(",{part}")),
            (None, None) => {}
        }
    }
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value).unwrap_or_default()
}

struct Scope {
    /// Names and values, of which the last of a name counts.
    variables: Vec<(String, Value)>,
    text: String,
}

impl Scope {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), String> {
        let outer = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(outer);
        if self.text.len() > MAX_TEXT { Err("it writes too much".to_owned()) } else { Ok(()) }
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), String> {
        match node {
            Node::Text(text) => self.text.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                let is_missing = value.is_null() && is_of_map(pipeline);
                self.text.push_str(&if is_missing { "<no value>".to_owned() } else { function::shown(&value) });
            }
            Node::Set(name, pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                self.variables.push((name.clone(), value));
            }
            Node::When { with, condition, then, otherwise } => {
                let value = self.pipeline(condition, dot)?;
                match function::is_true(&value) {
                    true => self.nodes(then, if *with { &value } else { dot })?,
                    false => self.nodes(otherwise, dot)?,
                }
            }
            Node::Range { names, over, each, otherwise } => {
                let elements: Vec<(Value, Value)> = match self.pipeline(over, dot)? {
                    Value::Null => Vec::new(),
                    Value::Array(elements) => {
                        elements.into_iter().enumerate().map(|(index, element)| (index.into(), element)).collect()
                    }
                    Value::Object(map) => map.into_iter().map(|(key, element)| (key.into(), element)).collect(),
                    other => return Err(format!("range can't iterate over {}", function::shown(&other))),
                };
                if elements.is_empty() {
                    return self.nodes(otherwise, dot);
                }
                let outer = self.variables.len();
                for (key, element) in elements {
                    match names.as_slice() {
                        [] => {}
                        [one] => self.variables.push((one.clone(), element.clone())),
                        [index, one, ..] => {
                            self.variables.push((index.clone(), key));
                            self.variables.push((one.clone(), element.clone()));
                        }
                    }
                    self.nodes(each, &element)?;
                    self.variables.truncate(outer);
                }
            }
        }
        Ok(())
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut passed = None;
        for command in &pipeline.0 {
            let (first, rest) = command.0.split_first().expect("a command has a term");
            let arguments = rest.iter().map(|term| self.term(term, dot)).collect::<Result<Vec<_>, _>>()?;
            let value = match first {
                Term::Function(function) => function.call(arguments.into_iter().chain(passed).collect())?,
                Term::Path(root, path) if !arguments.is_empty() => {
                    let owner = self.path(root, &path[..path.len() - 1], dot)?;
                    label(&owner["Labels"], arguments[0].as_str().unwrap_or_default()).into()
                }
                term => self.term(term, dot)?,
            };
            passed = Some(value);
        }
        passed.ok_or_else(|| "missing value for command".to_owned())
    }

    fn term(&self, term: &Term, dot: &Value) -> Result<Value, String> {
        match term {
            Term::Literal(value) => Ok(value.clone()),
            Term::Function(function) => function.call(Vec::new()),
            Term::Path(root, path) => self.path(root, path, dot),
        }
    }

    fn path(&self, root: &Root, path: &[String], dot: &Value) -> Result<Value, String> {
        let mut value = match root {
            Root::Dot => dot.clone(),
            Root::Variable(name) => self.variable(name)?,
            Root::Parenthesis(pipeline) => self.pipeline(pipeline, dot)?,
        };
        let mut is_map = false;
        for name in path {
            let inner = value.as_object_mut().and_then(|map| map.remove(name));
            let inner = inner.or((is_map && value.is_object()).then_some(Value::Null));
            value = inner.ok_or_else(|| format!("executing at <.{}>: no field {name}", path.join(".")))?;
            is_map = MAPS.contains(&name.as_str());
        }
        Ok(value)
    }

    fn variable(&self, name: &str) -> Result<Value, String> {
        let found = self.variables.iter().rfind(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).ok_or_else(|| format!("undefined variable \"${name}\""))
    }
}
