//! The forms that are posted (WHATWG URL, application/x-www-form-urlencoded).

use hyper::header::{CONTENT_TYPE, HeaderMap};

/// A form that cannot be read, or has a field twice: which of the two is meant depends on the reader.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Whether the body is a form.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let kind = kind.split(';').next().unwrap_or(kind).trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// The values of the fields with these names; others are passed over.
pub(crate) fn fields<const N: usize>(form: &[u8], names: [&str; N]) -> Result<[Option<Vec<u8>>; N], Malformed> {
    let mut values = [const { None }; N];
    for field in form.split(|&byte| byte == b'&') {
        let equals = field.iter().position(|&byte| byte == b'=').unwrap_or(field.len());
        let name = unescape(&field[..equals])?;
        if let Some(place) = names.iter().position(|it| it.as_bytes() == name) {
            let value = unescape(field.get(equals + 1..).unwrap_or_default())?;
            if values[place].replace(value).is_some() {
                return Err(Malformed);
            }
        }
    }
    Ok(values)
}

fn unescape(text: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|&it| char::from(it).to_digit(16)).ok_or(Malformed);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).expect("two hexadecimal digits")
            }
            byte => byte,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let read = |form: &str| fields(form.as_bytes(), ["a", "b"]);
        let some = |text: &[u8]| Some(text.to_vec());
        for (form, a, b) in [
            ("", None, None),
            ("a=1", some(b"1"), None),
            ("b=x+y&a=%00%fF%25&c=%zz", some(b"\0\xff%"), some(b"x y")),
            ("a", some(b""), None),
            ("a=", some(b""), None),
            ("a=1=2&&", some(b"1=2"), None),
            ("%61=1", some(b"1"), None),
            ("A=1;b=2", None, None),
        ] {
            assert_eq!(read(form), Ok([a, b]), "{form}");
        }
        for form in ["a=1&a=1", "a=%", "a=%1", "a=%g0", "%=1", "a=1&%61=2"] {
            assert_eq!(read(form), Err(Malformed), "{form}");
        }
    }

    #[test]
    fn what_the_client_writes_is_read_back() {
        let all: Vec<u8> = (0..=255).collect();
        let form = metadata_api::ask::form(&[("content", &all), ("x", b"y")]);
        assert_eq!(fields(form.as_bytes(), ["content"]), Ok([Some(all)]));
    }

    #[test]
    fn content_types() {
        let is = |kind: &str| is_form(&HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]));
        assert!(is("application/x-www-form-urlencoded") && is("Application/X-WWW-Form-Urlencoded; charset=utf-8"));
        assert!(!is("multipart/form-data; boundary=x") && !is("application/json") && !is_form(&HeaderMap::new()));
    }
}
