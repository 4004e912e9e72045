//! What a discovery page says: its `<meta>` elements whose names begin with `ac-`.

use appc::AcIdentifier;
use html5gum::{DefaultEmitter, StartTag, Token, Tokenizer};

use crate::http::Reach;

/// A page larger than this many bytes is none.
pub const MAX_PAGE: usize = 1 << 20;

/// The most elements of a page that count. Each may be a URL to be tried.
const MAX_TAGS: usize = 256;

/// A page.
#[derive(Clone, Debug, Default)]
pub(super) struct Page {
    /// Templates of images, in the order of the page.
    pub(super) discovery: Vec<Tag>,
    /// Locations of keys, in the order of the page.
    pub(super) public_keys: Vec<Tag>,
    /// How far inside the network it was.
    pub(super) reach: Reach,
}

/// The content of an element: `PREFIX URI`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) prefix: String,
    pub(super) uri: String,
}

impl Tag {
    /// Whether the name is the prefix or below it. (The Go code compares texts: there `example.com` covers
    /// `example.community/x`.)
    pub(super) fn covers(&self, name: &AcIdentifier) -> bool {
        let rest = name.as_str().strip_prefix(self.prefix.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl Page {
    /// Reads a page. What a person would not see as an element (a comment, the text of a script) is none; where else in
    /// the page an element stands does not matter.
    pub(super) fn parse(html: &[u8], reach: Reach) -> Self {
        let mut emitter: DefaultEmitter = DefaultEmitter::default();
        emitter.naively_switch_states(true);
        let mut page = Self { reach, ..Self::default() };
        for token in Tokenizer::new_with_emitter(html, emitter) {
            let Ok(Token::StartTag(element)) = token else { continue };
            if !element.name.eq_ignore_ascii_case(b"meta") {
                continue;
            }
            let list = match attribute(&element, b"name") {
                Some("ac-discovery") => &mut page.discovery,
                Some("ac-discovery-pubkeys") => &mut page.public_keys,
                _ => continue,
            };
            list.extend(attribute(&element, b"content").and_then(tag));
            if page.discovery.len() + page.public_keys.len() >= MAX_TAGS {
                break;
            }
        }
        page
    }
}

fn attribute<'a>(element: &'a StartTag<()>, name: &[u8]) -> Option<&'a str> {
    let value = &element.attributes.iter().find(|(found, _)| found.as_slice() == name)?.1;
    std::str::from_utf8(value).ok()
}

/// Splits at the first blank; both parts must be there.
fn tag(content: &str) -> Option<Tag> {
    let (prefix, uri) = content.trim().split_once(' ')?;
    let uri = uri.trim();
    (!prefix.is_empty() && !uri.is_empty()).then(|| Tag { prefix: prefix.to_owned(), uri: uri.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(html: &str) -> (Vec<String>, Vec<String>) {
        let page = Page::parse(html.as_bytes(), Reach::Public);
        let shown = |tags: Vec<Tag>| tags.into_iter().map(|tag| format!("{}|{}", tag.prefix, tag.uri)).collect();
        (shown(page.discovery), shown(page.public_keys))
    }

    #[test]
    fn elements_are_found_wherever_they_stand() {
        let html = r#"<!doctype html><html><head><title>My app <meta name="ac-discovery" content="a t"></title>
            <meta charset="utf-8"><META NAME='ac-discovery' CONTENT=" example.com  https://x/{name}.{ext} ">
            <meta content='example.com/b hdfs://y/{name}-{version}.{ext}?a=1&amp;b=2' name=ac-discovery></head>
            <body><p><meta name="ac-discovery-pubkeys" content="example.com https://x/keys.gpg">text"#;
        let (discovery, keys) = tags(html);
        assert_eq!(
            discovery,
            ["example.com|https://x/{name}.{ext}", "example.com/b|hdfs://y/{name}-{version}.{ext}?a=1&b=2"]
        );
        assert_eq!(keys, ["example.com|https://x/keys.gpg"]);
    }

    #[test]
    fn what_is_no_element_does_not_count() {
        let (discovery, keys) = tags(
            r#"<!-- <meta name="ac-discovery" content="a 1"> --><script>"<meta name='ac-discovery' content='a 2'>"</script>
            <style><meta name="ac-discovery" content="a 3"></style><textarea><meta name="ac-discovery" content="a 4"></textarea>
            <meta name="ac-other" content="a 5"><meta name="discovery" content="a 6"><meta name="ac-discovery">
            <meta name="ac-discovery" content="alone"><meta name="ac-discovery" content="   "><p name="ac-discovery" content="a 7">
            <meta name="AC-DISCOVERY" content="a 8"><meta name="ac-discovery" content="a 9""#,
        );
        assert_eq!((discovery, keys), (vec![], vec![]));
    }

    #[test]
    fn dos_08_pages_of_any_kind_are_read_in_linear_time_and_bounded() {
        let many = r#"<meta name="ac-discovery" content="a https://x">"#.repeat(MAX_PAGE / 48);
        assert_eq!(tags(&many).0.len(), MAX_TAGS);
        for hostile in ["<", "<a ", "<a b=", "<!--", "&", "<meta name='", "\u{0}", "<script>", "<a>", "</"] {
            let page = hostile.repeat(MAX_PAGE / 8 / hostile.len());
            assert_eq!(tags(&page), (vec![], vec![]));
        }
        let invalid = [&[0xff; 64][..], br#"<meta name="ac-discovery" content="a "#, &[0xff, 0xfe], br#"">"#].concat();
        assert!(Page::parse(&invalid, Reach::Public).discovery.is_empty());
    }

    #[test]
    fn prefixes_end_at_a_slash() {
        let covers = |prefix: &str, name: &str| {
            Tag { prefix: prefix.to_owned(), uri: String::new() }.covers(&name.parse().unwrap())
        };
        assert!(covers("example.com", "example.com/x"));
        assert!(covers("example.com", "example.com"));
        assert!(covers("example.com/", "example.com/x"));
        assert!(covers("example.com/x", "example.com/x/y"));
        assert!(!covers("example.com", "example.community/x"));
        assert!(!covers("example.com/x", "example.com/xy"));
        assert!(!covers("example.com/x/y", "example.com/x"));
    }
}
