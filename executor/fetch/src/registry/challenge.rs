//! What a server wants to know before it answers: the `WWW-Authenticate` header (RFC 9110, 11.6.1).

/// A way to authenticate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password.
    Basic,
    /// A token of this service (distribution's token specification).
    Bearer {
        /// The service's URL.
        realm: String,
        /// What the service calls the registry.
        service: Option<String>,
        /// What access is needed.
        scope: Option<String>,
    },
}

/// The longest header that is looked at.
const LONGEST: usize = 8 << 10;

/// The challenges of all headers, those that are understood. A parameter that comes twice makes a challenge void: two
/// readers could take different ones.
pub(super) fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Vec<Challenge> {
    headers.filter(|header| header.len() <= LONGEST).flat_map(of_header).collect()
}

fn of_header(header: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut rest = header;
    while let Some((scheme, after)) = token(rest.trim_start_matches([' ', '\t', ','])) {
        let (parameters, next) = parameters(after);
        rest = next;
        if scheme.eq_ignore_ascii_case("basic") {
            challenges.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(challenge) = bearer(parameters)
        {
            challenges.push(challenge);
        }
    }
    challenges
}

fn bearer(parameters: Vec<(String, String)>) -> Option<Challenge> {
    let (mut realm, mut service, mut scope) = (None, None, None);
    for (name, value) in parameters {
        let place = match name.to_ascii_lowercase().as_str() {
            "realm" => &mut realm,
            "service" => &mut service,
            "scope" => &mut scope,
            _ => continue,
        };
        if place.replace(value).is_some() {
            return None;
        }
    }
    Some(Challenge::Bearer { realm: realm?, service, scope })
}

/// `name=value` or `name="value"`, with commas between them, up to the next scheme; and what follows.
fn parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let start = rest.trim_start_matches([' ', '\t', ',']);
        let Some((name, after)) = token(start) else { return (found, start) };
        let Some(value) = after.trim_start_matches([' ', '\t']).strip_prefix('=') else { return (found, start) };
        let value = value.trim_start_matches([' ', '\t']);
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => match quoted_string(quoted) {
                Some(parts) => parts,
                None => return (Vec::new(), ""),
            },
            None => token(value).map_or_else(|| (String::new(), value), |(value, after)| (value.to_owned(), after)),
        };
        found.push((name.to_owned(), value));
        rest = after;
    }
}

fn token(text: &str) -> Option<(&str, &str)> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// What stands before the closing quote, its escapes undone, and what follows; `None` if it is not closed.
fn quoted_string(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[index + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.into(), service: own(service), scope: own(scope) }
    }

    #[test]
    fn challenges_of_real_registries() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/x:pull""#;
        let expected =
            bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:library/x:pull"));
        assert_eq!(parse([hub].into_iter()), [expected]);
        assert_eq!(parse([r#"Basic realm="Registry Realm""#].into_iter()), [Challenge::Basic]);
        let several = r#"Negotiate, basic realm=x, BEARER  Realm = "https://a/\"b" , error="invalid, token""#;
        assert_eq!(parse([several].into_iter()), [Challenge::Basic, bearer("https://a/\"b", None, None)]);
        assert_eq!(parse(["Basic", "Bearer realm=\"r\""].into_iter()), [Challenge::Basic, bearer("r", None, None)]);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_void() {
        for header in [
            r#"Bearer realm="a",realm="b""#,
            r#"Bearer service="s""#,
            r#"Bearer realm="unclosed"#,
            "Bearer",
            "",
            "\"Bearer realm=x\"",
        ] {
            assert_eq!(parse([header].into_iter()), [], "{header}");
        }
        let long = format!("Bearer realm=\"{}\"", "x".repeat(LONGEST));
        assert_eq!(parse([long.as_str()].into_iter()), []);
    }

    proptest! {
        #[test]
        fn no_header_is_too_strange(header in "\\PC{0,200}") {
            let _ = parse([header.as_str()].into_iter());
        }
    }
}
