//! The functions of templates: Go's own, and docker's.

use std::cmp::Ordering;

use serde_json::Value;

/// A function: its place among those that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function(usize);

/// What a function makes of its arguments; the error says what it does not take.
type Body = fn(&Arguments) -> Result<Value, String>;

const KNOWN: [(&str, Body); 23] = [
    ("index", index),
    ("len", len),
    ("slice", slice),
    ("json", |given| serde_json::to_string(given.at(0)?).map(Value::from).map_err(|error| error.to_string())),
    ("join", |given| match given.at(0)? {
        Value::Array(list) => Ok(list.iter().map(shown).collect::<Vec<_>>().join(&given.text(1)?).into()),
        _ => Err(given.refused()),
    }),
    ("split", |given| Ok(given.text(0)?.split(&given.text(1)?).map(Value::from).collect::<Vec<_>>().into())),
    ("upper", |given| Ok(given.text(0)?.to_uppercase().into())),
    ("lower", |given| Ok(given.text(0)?.to_lowercase().into())),
    ("title", title),
    ("truncate", |given| Ok(given.text(0)?.chars().take(given.number(1)?).collect::<String>().into())),
    ("print", |given| Ok(given.all().into())),
    ("println", |given| Ok((given.all() + "\n").into())),
    ("printf", |given| Ok(formatted(&given.text(0)?, given.values.get(1..).unwrap_or_default()).into())),
    ("eq", |given| {
        let others = given.values.get(1..).unwrap_or_default();
        let first = given.at(0)?;
        Ok(others.iter().any(|other| compare(first, other) == Some(Ordering::Equal)).into())
    }),
    ("ne", |given| given.two().map(|(one, other)| (compare(one, other) != Some(Ordering::Equal)).into())),
    ("lt", |given| Ok(given.order()?.is_lt().into())),
    ("le", |given| Ok(given.order()?.is_le().into())),
    ("gt", |given| Ok(given.order()?.is_gt().into())),
    ("ge", |given| Ok(given.order()?.is_ge().into())),
    ("not", |given| Ok((!is_true(given.at(0)?)).into())),
    // The first that decides, or else the last.
    ("and", |given| given.values.iter().find(|it| !is_true(it)).map_or_else(|| given.last(), |it| Ok(it.clone()))),
    ("or", |given| given.values.iter().find(|it| is_true(it)).map_or_else(|| given.last(), |it| Ok(it.clone()))),
    ("pad", |given| {
        let (before, after) = (given.number(1)?.min(MOST_BLANKS), given.number(2)?.min(MOST_BLANKS));
        Ok(format!("{}{}{}", " ".repeat(before), given.text(0)?, " ".repeat(after)).into())
    }),
];

/// Nobody has a terminal for more.
const MOST_BLANKS: usize = 256;

impl Function {
    /// The function of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        KNOWN.iter().position(|(known, _)| *known == name).map(Self)
    }

    /// Whether it makes sense without arguments.
    pub(super) fn takes_nothing(self) -> bool {
        matches!(KNOWN[self.0].0, "print" | "println")
    }

    /// What it makes of its arguments; the error says what it does not take.
    pub(super) fn call(self, values: Vec<Value>) -> Result<Value, String> {
        let (name, body) = KNOWN[self.0];
        body(&Arguments { name, values })
    }
}

/// What a function is given.
struct Arguments {
    /// The function's name, for errors.
    name: &'static str,
    values: Vec<Value>,
}

impl Arguments {
    /// It does not take these.
    fn refused(&self) -> String {
        format!("error calling {}: it does not take {:?}", self.name, self.all())
    }

    /// All of them, as they are printed.
    fn all(&self) -> String {
        self.values.iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    fn at(&self, place: usize) -> Result<&Value, String> {
        self.values.get(place).ok_or_else(|| self.refused())
    }

    fn last(&self) -> Result<Value, String> {
        self.values.last().cloned().ok_or_else(|| self.refused())
    }

    fn text(&self, place: usize) -> Result<String, String> {
        self.at(place).map(shown)
    }

    fn number(&self, place: usize) -> Result<usize, String> {
        let number = self.at(place)?.as_u64().and_then(|number| usize::try_from(number).ok());
        number.ok_or_else(|| self.refused())
    }

    fn two(&self) -> Result<(&Value, &Value), String> {
        match self.values.as_slice() {
            [one, other] => Ok((one, other)),
            _ => Err(self.refused()),
        }
    }

    /// How two of a kind are ordered.
    fn order(&self) -> Result<Ordering, String> {
        let (one, other) = self.two()?;
        compare(one, other).ok_or_else(|| self.refused())
    }
}

fn index(given: &Arguments) -> Result<Value, String> {
    let (first, keys) = given.values.split_first().ok_or_else(|| given.refused())?;
    keys.iter().try_fold(first.clone(), |value, key| element(&value, key))
}

fn len(given: &Arguments) -> Result<Value, String> {
    match given.values.as_slice() {
        [Value::Array(list)] => Ok(list.len().into()),
        [Value::Object(map)] => Ok(map.len().into()),
        [Value::String(text)] => Ok(text.len().into()),
        [Value::Null] => Ok(0.into()),
        _ => Err(given.refused()),
    }
}

/// A part of a text, by bytes: from the first number to before the second, or to its end.
fn slice(given: &Arguments) -> Result<Value, String> {
    let text = given.text(0)?;
    let start = if given.values.len() > 1 { given.number(1)? } else { 0 };
    let end = if given.values.len() > 2 { given.number(2)? } else { text.len() };
    text.get(start..end).map(Value::from).ok_or_else(|| given.refused())
}

/// The text with a capital at its beginning.
fn title(given: &Arguments) -> Result<Value, String> {
    let text = given.text(0)?;
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    Ok(first.chain(letters).collect::<String>().into())
}

/// An element of a list or a map. One that a map does not have is empty, as in docker's maps of strings.
fn element(value: &Value, key: &Value) -> Result<Value, String> {
    let at = || format!("error calling index: {} has no element {}", shown(value), shown(key));
    match (value, key) {
        (Value::Array(list), Value::Number(index)) => {
            let index = index.as_u64().and_then(|index| usize::try_from(index).ok());
            index.and_then(|index| list.get(index)).cloned().ok_or_else(at)
        }
        (Value::Object(map), Value::String(key)) => Ok(map.get(key).cloned().unwrap_or_else(|| "".into())),
        (Value::Null, Value::String(_)) => Ok("".into()),
        _ => Err(at()),
    }
}

fn compare(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        (Value::Number(one), Value::Number(other)) => match (one.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) => Some(one.cmp(&other)),
            _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
        },
        (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        _ => None,
    }
}

/// Whether Go's templates take it for true: whatever is not empty, zero or nothing.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// A value as Go prints it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let members = map.iter().map(|(key, value)| format!("{key}:{}", shown(value)));
            format!("map[{}]", members.collect::<Vec<_>>().join(" "))
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// `printf` with `%s`, `%v`, `%d`, `%q`, `%t`, `%%` and widths.
fn formatted(format: &str, arguments: &[Value]) -> String {
    let (mut text, mut rest, mut arguments) = (String::new(), format, arguments.iter());
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let width: String = after.chars().take_while(|c| c.is_ascii_digit() || *c == '-').collect();
        let mut letters = after[width.len()..].chars();
        let made = match letters.next() {
            Some('%') => "%".to_owned(),
            Some('q') => arguments.next().map_or_else(missing, |value| format!("{:?}", shown(value))),
            Some('s' | 'v' | 'd' | 't') => arguments.next().map_or_else(missing, shown),
            other => format!("%!{}", other.map(String::from).unwrap_or_default()),
        };
        // Nobody has a terminal that wide.
        let columns = width.trim_start_matches('-').parse::<usize>().unwrap_or(0).min(1024);
        text.push_str(&if width.starts_with('-') { format!("{made:columns$}") } else { format!("{made:>columns$}") });
        rest = letters.as_str();
    }
    text + rest
}

fn missing() -> String {
    "%!(MISSING)".to_owned()
}
