//! The text of a template as nodes.

use serde_json::Value;

use super::function::Function;

/// How deep actions and parentheses may lie in each other: what people write has three or four.
const MAX_DEPTH: usize = 64;

/// A part of a template.
#[derive(Debug, PartialEq)]
pub(super) enum Node {
    /// Text that stands for itself.
    Text(String),
    /// What is printed.
    Print(Pipeline),
    /// `$name := pipeline`.
    Set(String, Pipeline),
    /// `if`, or `with`, which makes the value the dot.
    When { with: bool, condition: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    /// `range`, perhaps with variables for key and element.
    Range { names: Vec<String>, over: Pipeline, each: Vec<Node>, otherwise: Vec<Node> },
}

impl Node {
    /// The last name of the field that it prints, for titles of tables.
    pub(super) fn field(&self) -> Option<&str> {
        let Node::Print(pipeline) = self else { return None };
        pipeline.0.iter().flat_map(|command| &command.0).find_map(|term| match term {
            Term::Path(_, path) => path.last().map(String::as_str),
            _ => None,
        })
    }
}

/// Commands of which each has what the one before it made as its last argument.
#[derive(Debug, PartialEq)]
pub(super) struct Pipeline(pub(super) Vec<Command>);

/// A term, or a function and its arguments.
#[derive(Debug, PartialEq)]
pub(super) struct Command(pub(super) Vec<Term>);

/// An operand.
#[derive(Debug, PartialEq)]
pub(super) enum Term {
    /// A string, number or truth value.
    Literal(Value),
    /// Fields of the dot.
    Path(Root, Vec<String>),
    /// A function.
    Function(Function),
}

/// Where a path begins.
#[derive(Debug, PartialEq)]
pub(super) enum Root {
    Dot,
    /// A variable; the empty name is the whole value's.
    Variable(String),
    Parenthesis(Box<Pipeline>),
}

/// Reads a template; the error says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, String> {
    let mut reader = Reader { pieces: pieces(text)?.into_iter() };
    let (nodes, ended) = reader.nodes(0)?;
    match ended {
        Ended::Text => Ok(nodes),
        _ => Err("unexpected {{end}} or {{else}}".to_owned()),
    }
}

/// Text, and what stands between braces.
enum Piece<'a> {
    Text(String),
    Action(&'a str),
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let unescaped = |text: &str| text.replace("\\t", "\t").replace("\\n", "\n");
    let (mut rest, mut found, mut trims) = (text, Vec::new(), false);
    loop {
        let (before, after) = rest.split_once("{{").map_or((rest, None), |(before, after)| (before, Some(after)));
        let trims_before = after.is_some_and(|after| after.starts_with("- ") || after == "-");
        let mut before = if trims { before.trim_start() } else { before };
        if trims_before {
            before = before.trim_end();
        }
        if !before.is_empty() {
            found.push(Piece::Text(unescaped(before)));
        }
        let Some(after) = after else { return Ok(found) };
        let end = end_of_action(after).ok_or_else(|| format!("{text:?}: unclosed action"))?;
        let mut action = after[..end].trim_start_matches(if trims_before { "-" } else { "" });
        trims = action.ends_with(" -");
        if trims {
            action = &action[..action.len() - 2];
        }
        let action = action.trim();
        if !(action.starts_with("/*") && action.ends_with("*/")) {
            found.push(Piece::Action(action));
        }
        rest = &after[end + 2..];
    }
}

/// Where the braces are that end an action; those in strings do not.
fn end_of_action(text: &str) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in text.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '`') => quote = Some(c),
            None if text[at..].starts_with("}}") => return Some(at),
            None => {}
        }
    }
    None
}

/// What ended a list of nodes.
enum Ended {
    Text,
    End,
    /// With the condition of an `else if`.
    Else(Option<Pipeline>),
}

struct Reader<'a> {
    pieces: std::vec::IntoIter<Piece<'a>>,
}

impl Reader<'_> {
    fn nodes(&mut self, depth: usize) -> Result<(Vec<Node>, Ended), String> {
        if depth > MAX_DEPTH {
            return Err("too many actions in each other".to_owned());
        }
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let action = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(action) => action,
            };
            let (word, rest) = action.split_once(char::is_whitespace).unwrap_or((action, ""));
            match word {
                "end" if rest.is_empty() => return Ok((nodes, Ended::End)),
                "else" => {
                    let condition = match rest.trim().strip_prefix("if ") {
                        Some(condition) => Some(pipeline(condition)?),
                        None if rest.trim().is_empty() => None,
                        None => return Err(format!("unexpected {rest:?} in else")),
                    };
                    return Ok((nodes, Ended::Else(condition)));
                }
                "if" | "with" => nodes.push(self.when(word == "with", pipeline(rest)?, depth)?),
                "range" => {
                    let (names, over) = match rest.split_once(":=") {
                        Some((names, over)) => (variables(names)?, over),
                        None => (Vec::new(), rest),
                    };
                    let over = pipeline(over)?;
                    let (each, otherwise) = self.branches(depth)?;
                    nodes.push(Node::Range { names, over, each, otherwise });
                }
                _ => match action.split_once(":=") {
                    Some((name, value)) if action.starts_with('$') => {
                        let [name] = <[String; 1]>::try_from(variables(name)?).map_err(|_| format!("{action:?}"))?;
                        nodes.push(Node::Set(name, pipeline(value)?));
                    }
                    _ => nodes.push(Node::Print(pipeline(action)?)),
                },
            }
        }
        Ok((nodes, Ended::Text))
    }

    fn when(&mut self, with: bool, condition: Pipeline, depth: usize) -> Result<Node, String> {
        let (then, ended) = self.nodes(depth + 1)?;
        let otherwise = match ended {
            Ended::End => Vec::new(),
            Ended::Else(Some(other)) => vec![self.when(false, other, depth + 1)?],
            Ended::Else(None) => self.last(depth)?,
            Ended::Text => return Err("missing {{end}}".to_owned()),
        };
        Ok(Node::When { with, condition, then, otherwise })
    }

    fn branches(&mut self, depth: usize) -> Result<(Vec<Node>, Vec<Node>), String> {
        let (then, ended) = self.nodes(depth + 1)?;
        match ended {
            Ended::End => Ok((then, Vec::new())),
            Ended::Else(None) => Ok((then, self.last(depth)?)),
            _ => Err("missing {{end}}".to_owned()),
        }
    }

    fn last(&mut self, depth: usize) -> Result<Vec<Node>, String> {
        match self.nodes(depth + 1)? {
            (nodes, Ended::End) => Ok(nodes),
            _ => Err("missing {{end}}".to_owned()),
        }
    }
}

/// `$a` or `$a, $b`.
fn variables(text: &str) -> Result<Vec<String>, String> {
    let name = |text: &str| {
        let name = text.trim().strip_prefix('$').filter(|name| !name.is_empty() && name.bytes().all(is_of_name));
        name.map(str::to_owned).ok_or_else(|| format!("{text:?} is no variable"))
    };
    text.split(',').map(name).collect()
}

fn pipeline(text: &str) -> Result<Pipeline, String> {
    let mut tokens = Tokens { rest: text };
    let pipeline = tokens.pipeline(0)?;
    match tokens.rest.trim() {
        "" => Ok(pipeline),
        rest => Err(format!("unexpected {rest:?}")),
    }
}

struct Tokens<'a> {
    rest: &'a str,
}

impl Tokens<'_> {
    /// Up to the end, or to a closing parenthesis.
    fn pipeline(&mut self, depth: usize) -> Result<Pipeline, String> {
        if depth > MAX_DEPTH {
            return Err("too many parentheses in each other".to_owned());
        }
        let mut commands = Vec::new();
        loop {
            let mut terms = Vec::new();
            loop {
                self.rest = self.rest.trim_start();
                if self.rest.is_empty() || self.rest.starts_with(['|', ')']) {
                    break;
                }
                terms.push(self.term(depth)?);
            }
            match terms.as_slice() {
                [] => return Err("missing value for command".to_owned()),
                [Term::Function(function)] if !commands.is_empty() || function.takes_nothing() => {}
                [Term::Function(_), _, ..] | [_] => {}
                // The only method that docker's documentation names.
                [Term::Path(_, path), _] if path.last().is_some_and(|name| name == "Label") => {}
                [first, ..] => return Err(format!("{first:?} is no function and takes no arguments")),
            }
            commands.push(Command(terms));
            match self.rest.strip_prefix('|') {
                Some(rest) => self.rest = rest,
                None => return Ok(Pipeline(commands)),
            }
        }
    }

    fn term(&mut self, depth: usize) -> Result<Term, String> {
        let text = self.rest;
        if let Some(rest) = text.strip_prefix('(') {
            self.rest = rest;
            let inner = self.pipeline(depth + 1)?;
            self.rest = self.rest.strip_prefix(')').ok_or("unclosed left parenthesis")?;
            return Ok(Term::Path(Root::Parenthesis(Box::new(inner)), self.fields()?));
        }
        if text.starts_with('"') {
            let mut stream = serde_json::Deserializer::from_str(text).into_iter::<String>();
            let string = stream.next().and_then(Result::ok).ok_or_else(|| format!("unterminated string {text:?}"))?;
            self.rest = &text[stream.byte_offset()..];
            return Ok(Term::Literal(string.into()));
        }
        if let Some(rest) = text.strip_prefix('`') {
            let (raw, rest) = rest.split_once('`').ok_or_else(|| format!("unterminated string {text:?}"))?;
            self.rest = rest;
            return Ok(Term::Literal(raw.into()));
        }
        if let Some(rest) = text.strip_prefix('$') {
            let len = rest.bytes().take_while(|byte| is_of_name(*byte)).count();
            self.rest = &rest[len..];
            return Ok(Term::Path(Root::Variable(rest[..len].to_owned()), self.fields()?));
        }
        if let Some(rest) = text.strip_prefix('.') {
            let is_dot = !rest.bytes().next().is_some_and(is_of_name);
            if is_dot {
                self.rest = rest;
                return Ok(Term::Path(Root::Dot, Vec::new()));
            }
            return Ok(Term::Path(Root::Dot, self.fields()?));
        }
        let len = text.bytes().take_while(|byte| is_of_name(*byte) || matches!(byte, b'-' | b'+')).count();
        let (word, rest) = text.split_at(len);
        self.rest = rest;
        if let Ok(number) = word.parse::<i64>() {
            return Ok(Term::Literal(number.into()));
        }
        match word {
            "true" | "false" => Ok(Term::Literal((word == "true").into())),
            "nil" => Ok(Term::Literal(Value::Null)),
            _ if word.is_empty() => Err(format!("unexpected {text:?}")),
            word => {
                Function::named(word).map(Term::Function).ok_or_else(|| format!("function {word:?} is not known here"))
            }
        }
    }

    /// `.A.B` right behind a term.
    fn fields(&mut self) -> Result<Vec<String>, String> {
        let mut path = Vec::new();
        while let Some(rest) = self.rest.strip_prefix('.') {
            let len = rest.bytes().take_while(|byte| is_of_name(*byte)).count();
            if len == 0 {
                return Err(format!("unexpected <.> before {rest:?}"));
            }
            path.push(rest[..len].to_owned());
            self.rest = &rest[len..];
        }
        match self.rest.chars().next() {
            Some(c) if !c.is_whitespace() && !"|)".contains(c) => Err(format!("bad character {c:?}")),
            _ => Ok(path),
        }
    }
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
