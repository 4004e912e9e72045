//! The words of an instruction of a Dockerfile: quotes, backslashes, and variables (Dockerfile reference, "Environment
//! replacement").

/// Splits a text at blanks that are not quoted. Quotes go, `\` takes the character after it as it is, and `$NAME`, `${NAME}`,
/// `${NAME:-WORD}` and `${NAME:+WORD}` are what `variable` has, but for those in single quotes.
///
/// # Errors
///
/// A quote or a brace that is not closed.
pub(super) fn words(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Vec<String>, &'static str> {
    split(text, variable, char::is_whitespace)
}

/// The same as one word, with the blanks that are in it.
///
/// # Errors
///
/// As [`words`].
pub(super) fn one(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, &'static str> {
    Ok(split(text, variable, |_| false)?.pop().unwrap_or_default())
}

fn split(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
    is_gap: fn(char) -> bool,
) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (c, quote) {
            (c, None) if is_gap(c) => words.extend(word.take()),
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, Some(open)) if c == open => quote = None,
            ('\\', None) => word.get_or_insert_default().extend(rest.next()),
            ('\\', Some('"')) => {
                let next = rest.next().ok_or("a quote is not closed")?;
                let word = word.get_or_insert_default();
                if !['"', '\\', '$'].contains(&next) {
                    word.push('\\');
                }
                word.push(next);
            }
            ('$', None | Some('"')) => {
                let (value, after) = replaced(rest.as_str(), variable)?;
                word.get_or_insert_default().push_str(&value);
                rest = after.chars();
            }
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

/// What stands for the variable whose name begins here, and what follows it. A `$` before no name is one.
fn replaced<'a>(text: &'a str, variable: &dyn Fn(&str) -> Option<String>) -> Result<(String, &'a str), &'static str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let Some(braced) = text.strip_prefix('{') else {
        let (name, after) = text.split_at(text.find(|c| !is_of_name(c)).unwrap_or(text.len()));
        return Ok((if name.is_empty() { "$".to_owned() } else { variable(name).unwrap_or_default() }, after));
    };
    let (inside, after) = braced.split_once('}').ok_or("a brace is not closed")?;
    let (name, otherwise) = inside.split_at(inside.find(|c| !is_of_name(c)).unwrap_or(inside.len()));
    let value = variable(name).filter(|value| !value.is_empty());
    let value = match (otherwise.get(..2), otherwise.get(2..)) {
        (Some(":-"), Some(word)) => value.unwrap_or_else(|| word.to_owned()),
        (Some(":+"), Some(word)) => value.map(|_| word.to_owned()).unwrap_or_default(),
        _ if otherwise.is_empty() && !name.is_empty() => value.unwrap_or_default(),
        _ => return Err("a variable in braces is ${NAME}, ${NAME:-WORD} or ${NAME:+WORD}"),
    };
    Ok((value, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_a_dockerfiles() {
        let variable = |name: &str| (name == "PATH").then(|| "/bin".to_owned());
        let split = |text: &str| words(text, &variable);
        for (text, expected) in [
            ("", &[][..]),
            ("  A=1  B=2 ", &["A=1", "B=2"]),
            ("A=\"b c\" D='e f'g", &["A=b c", "D=e fg"]),
            (r#"A=b\ c "d\"e\f" \$PATH"#, &["A=b c", r#"d"e\f"#, "$PATH"]),
            ("PATH=$PATH:/x ${PATH}y '$PATH' \"$PATH\"", &["PATH=/bin:/x", "/biny", "$PATH", "/bin"]),
            ("[$NO] ${NO:-or} ${PATH:+and} ${NO:+and}. $ a$", &["[]", "or", "and", ".", "$", "a$"]),
            ("'' \"\"", &["", ""]),
        ] {
            assert_eq!(split(text).unwrap(), expected, "{text}");
        }
        assert_eq!(one("a  $PATH \"b\" ", &variable).unwrap(), "a  /bin b ");
        for wrong in ["'a", "\"a", "\"a\\", "${PATH", "${PATH?x}", "${}"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }
}
