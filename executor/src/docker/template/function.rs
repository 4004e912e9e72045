//! The functions of templates: Go's own, and docker's.

use std::cmp::Ordering;

use serde_json::Value;

/// A function, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function(&'static str);

const KNOWN: [&str; 23] = [
    "index", "len", "slice", "json", "join", "split", "upper", "lower", "title", "truncate", "print", "println",
    "printf", "eq", "ne", "lt", "le", "gt", "ge", "not", "and", "or", "pad",
];

impl Function {
    /// The function of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        KNOWN.iter().find(|known| **known == name).copied().map(Self)
    }

    /// Whether it makes sense without arguments.
    pub(super) fn takes_nothing(self) -> bool {
        matches!(self.0, "print" | "println")
    }

    /// What it makes of its arguments; the error says what it does not take.
    pub(super) fn call(self, arguments: Vec<Value>) -> Result<Value, String> {
        let name = self.0;
        let wrong = || {
            let shown: Vec<String> = arguments.iter().map(shown).collect();
            format!("error calling {name}: it does not take {:?}", shown.join(" "))
        };
        let text = |at: usize| arguments.get(at).map(shown).ok_or_else(wrong);
        let number = |at: usize| {
            let number = arguments.get(at).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
            number.ok_or_else(wrong)
        };
        let all = |wanted: Ordering, or_equal: bool| {
            let [one, other] = arguments.as_slice() else { return Err(wrong()) };
            let order = compare(one, other).ok_or_else(wrong)?;
            Ok(Value::from(order == wanted || (or_equal && order == Ordering::Equal)))
        };
        Ok(match name {
            "index" => {
                let (first, keys) = arguments.split_first().ok_or_else(wrong)?;
                return keys.iter().try_fold(first.clone(), |value, key| element(&value, key));
            }
            "len" => match arguments.as_slice() {
                [Value::Array(list)] => list.len().into(),
                [Value::Object(map)] => map.len().into(),
                [Value::String(text)] => text.len().into(),
                [Value::Null] => 0.into(),
                _ => return Err(wrong()),
            },
            "slice" => {
                let text = text(0)?;
                let end = if arguments.len() > 2 { number(2)? } else { text.len() };
                let start = if arguments.len() > 1 { number(1)? } else { 0 };
                text.get(start..end).ok_or_else(wrong)?.into()
            }
            "json" => {
                serde_json::to_string(arguments.first().ok_or_else(wrong)?).map_err(|error| error.to_string())?.into()
            }
            "join" => {
                let Some(Value::Array(list)) = arguments.first() else { return Err(wrong()) };
                list.iter().map(shown).collect::<Vec<_>>().join(&text(1)?).into()
            }
            "split" => text(0)?.split(&text(1)?).map(Value::from).collect::<Vec<_>>().into(),
            "upper" => text(0)?.to_uppercase().into(),
            "lower" => text(0)?.to_lowercase().into(),
            "title" => {
                let text = text(0)?;
                let mut letters = text.chars();
                letters
                    .next()
                    .map(|first| first.to_uppercase().chain(letters).collect::<String>())
                    .unwrap_or_default()
                    .into()
            }
            "truncate" => text(0)?.chars().take(number(1)?).collect::<String>().into(),
            "pad" => {
                let (before, after) = (number(1)?.min(256), number(2)?.min(256));
                format!("{}{}{}", " ".repeat(before), text(0)?, " ".repeat(after)).into()
            }
            "print" => arguments.iter().map(shown).collect::<Vec<_>>().join(" ").into(),
            "println" => (arguments.iter().map(shown).collect::<Vec<_>>().join(" ") + "\n").into(),
            "printf" => formatted(&text(0)?, arguments.get(1..).unwrap_or_default()).into(),
            "eq" => {
                let (first, others) = arguments.split_first().ok_or_else(wrong)?;
                others.iter().any(|other| compare(first, other) == Some(Ordering::Equal)).into()
            }
            "ne" => {
                let [one, other] = arguments.as_slice() else { return Err(wrong()) };
                (compare(one, other) != Some(Ordering::Equal)).into()
            }
            "lt" => return all(Ordering::Less, false),
            "le" => return all(Ordering::Less, true),
            "gt" => return all(Ordering::Greater, false),
            "ge" => return all(Ordering::Greater, true),
            "not" => (!is_true(arguments.first().ok_or_else(wrong)?)).into(),
            "and" => arguments.iter().find(|value| !is_true(value)).or(arguments.last()).ok_or_else(wrong)?.clone(),
            "or" => arguments.iter().find(|value| is_true(value)).or(arguments.last()).ok_or_else(wrong)?.clone(),
            _ => return Err(wrong()),
        })
    }
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
