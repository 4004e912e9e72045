//! Canonical JSON spread over lines for a person to read.

/// Indents compact JSON by four spaces a level, the form `actool cat-manifest --pretty-print` has.
pub(crate) fn indent(compact: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(compact.len() * 2);
    let mut depth = 0usize;
    let mut in_string = false;
    let mut escaped = false;
    let mut previous = 0u8;
    for &byte in compact {
        if in_string {
            out.push(byte);
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            previous = byte;
            continue;
        }
        match byte {
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if !matches!(previous, b'{' | b'[') {
                    new_line(&mut out, depth);
                }
            }
            _ if matches!(previous, b'{' | b'[' | b',') => new_line(&mut out, depth),
            _ => {}
        }
        out.push(byte);
        match byte {
            b'{' | b'[' => depth += 1,
            b':' => out.push(b' '),
            b'"' => in_string = true,
            _ => {}
        }
        previous = byte;
    }
    out
}

fn new_line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.extend(std::iter::repeat_n(b' ', depth * 4));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indents_like_go() {
        let compact = br#"{"a":[],"b":{},"c":[1,{"d":"x,{\"y:"}],"e":null}"#;
        let pretty = "{\n    \"a\": [],\n    \"b\": {},\n    \"c\": [\n        1,\n        {\n            \
                      \"d\": \"x,{\\\"y:\"\n        }\n    ],\n    \"e\": null\n}";
        assert_eq!(String::from_utf8(indent(compact)).expect("UTF-8"), pretty);
    }

    #[test]
    fn a_string_that_ends_in_a_bracket_does_not_open_a_level() {
        assert_eq!(indent(br#"["{","a"]"#), b"[\n    \"{\",\n    \"a\"\n]");
    }
}
