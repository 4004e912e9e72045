//! Names of entries, checked once and from then on relative to the root of the tree.

use super::error::Fault;
use super::limits::ExtractLimits;

/// A path below the root: no empty, `.` or `..` component, no slash at either end; empty for the root itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryPath {
    bytes: Vec<u8>,
}

/// An entry's name after the checks that need no file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The path it stands for.
    pub path: EntryPath,
    /// Whether the name ended in a slash, which only a directory's may.
    pub trailing_slash: bool,
}

impl EntryPath {
    /// Checks the name of an entry, or the target of a hard link, which is such a name.
    ///
    /// `./a`, `a//b` and `a/./b` name what POSIX says they name. `..` is refused even where it would stay inside:
    /// which directory it means depends on symbolic links.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn parse(raw: &[u8], limits: &ExtractLimits) -> Result<Parsed, Fault> {
        if raw.is_empty() {
            return Err(Fault::EmptyName);
        }
        if raw.contains(&0) {
            return Err(Fault::Nul);
        }
        if raw[0] == b'/' {
            return Err(Fault::Absolute);
        }
        if raw.len() > limits.path {
            return Err(Fault::LongPath(limits.path as u64));
        }
        let mut bytes = Vec::with_capacity(raw.len());
        let mut depth = 0;
        for component in raw.split(|&b| b == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(Fault::DotDot),
                long if long.len() > limits.component => return Err(Fault::LongComponent(limits.component as u64)),
                _ => {}
            }
            depth += 1;
            if depth > limits.depth {
                return Err(Fault::TooDeep(limits.depth as u64));
            }
            if !bytes.is_empty() {
                bytes.push(b'/');
            }
            bytes.extend_from_slice(component);
        }
        let trailing_slash = raw.ends_with(b"/");
        Ok(Parsed { path: Self { bytes }, trailing_slash })
    }

    /// The path as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it is the root itself.
    pub fn is_root(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The directory part, empty for what is directly below the root, and the last component.
    pub fn split(&self) -> (&[u8], &[u8]) {
        match self.bytes.iter().rposition(|&b| b == b'/') {
            Some(slash) => (&self.bytes[..slash], &self.bytes[slash + 1..]),
            None => (&[], &self.bytes),
        }
    }

    /// The same path with another last component.
    pub fn with_name(&self, name: &[u8]) -> Self {
        let (parent, _) = self.split();
        let mut bytes = parent.to_vec();
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self { bytes }
    }

    /// The directory that holds it; the root for the root.
    pub fn parent(&self) -> Self {
        Self { bytes: self.split().0.to_vec() }
    }

    /// What is left of the path below its first component, if that component is `first`.
    pub fn strip_first(&self, first: &[u8]) -> Option<Self> {
        let rest = self.bytes.strip_prefix(first)?;
        match rest {
            [] => Some(Self { bytes: Vec::new() }),
            [b'/', below @ ..] => Some(Self { bytes: below.to_vec() }),
            _ => None,
        }
    }

    /// Whether it is `other` or lies below it.
    pub fn is_within(&self, other: &[u8]) -> bool {
        is_within(&self.bytes, other)
    }
}

/// Whether `path` is `ancestor` or lies below it; everything is within the root (empty).
pub(super) fn is_within(path: &[u8], ancestor: &[u8]) -> bool {
    match path.strip_prefix(ancestor) {
        Some(rest) => ancestor.is_empty() || rest.is_empty() || rest[0] == b'/',
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(raw: &[u8]) -> Result<(String, bool), Fault> {
        let parsed = EntryPath::parse(raw, &ExtractLimits::default())?;
        Ok((String::from_utf8_lossy(parsed.path.as_bytes()).into_owned(), parsed.trailing_slash))
    }

    #[test]
    fn unp_17_names() {
        let ok = |text: &str, slash| Ok((text.to_owned(), slash));
        assert_eq!(parse(b"a/b"), ok("a/b", false));
        assert_eq!(parse(b"./a//b/./c/"), ok("a/b/c", true));
        assert_eq!(parse(b"."), ok("", false));
        assert_eq!(parse(b"./"), ok("", true));
        assert_eq!(parse(b"C:\\x\\..\\y"), ok("C:\\x\\..\\y", false));
        assert_eq!(parse(b"...\n\x1b"), ok("...\n\x1b", false));
        assert_eq!(parse(b""), Err(Fault::EmptyName));
        assert_eq!(parse(b"/"), Err(Fault::Absolute));
        assert_eq!(parse(b"/a"), Err(Fault::Absolute));
        assert_eq!(parse(b"a/../b"), Err(Fault::DotDot));
        assert_eq!(parse(b".."), Err(Fault::DotDot));
        assert_eq!(parse(b"a\0b"), Err(Fault::Nul));
        assert_eq!(parse(&[b'a'; 255]).map(|p| p.0.len()), Ok(255));
        assert_eq!(parse(&[b'a'; 256]), Err(Fault::LongComponent(255)));
        assert_eq!(parse(&b"a/".repeat(2049)), Err(Fault::LongPath(4096)));
        assert_eq!(parse(&b"a/".repeat(257)), Err(Fault::TooDeep(256)));
    }

    #[test]
    fn parts() {
        let path = EntryPath::parse(b"a/b/c", &ExtractLimits::default()).unwrap().path;
        assert_eq!(path.split(), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(path.with_name(b"d").as_bytes(), b"a/b/d");
        assert_eq!(path.strip_first(b"a").unwrap().as_bytes(), b"b/c");
        assert_eq!(path.strip_first(b"a/b/c").unwrap().as_bytes(), b"");
        assert!(path.strip_first(b"a/").is_none());
        assert!(path.is_within(b"a/b") && path.is_within(b"") && path.is_within(b"a/b/c"));
        assert!(!path.is_within(b"a/b/c/d") && !is_within(b"ab", b"a"));
    }
}
