//! A second opinion on header blocks: refuses what other readers of tar would understand differently.
//!
//! The parser follows one of several readings wherever a header contradicts itself; GNU tar, Go or Python may follow
//! another, so that a scanner and we see different files (CVE-2025-62518 and its family). This check walks over
//! the same bytes the parser consumed and accepts only what has one reading.

/// What the blocks before an entry's data say, beyond what the parser reports.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Modification time, seconds and nanoseconds; times before 1970 are clamped to it.
    pub(super) mtime: (i64, u32),
    /// Whether PAX records of a sparse file are there.
    pub(super) sparse_records: bool,
}

const BLOCK: usize = 512;

/// Checks the header blocks of one entry: extension headers with their data, then the entry's own header.
/// What follows that (a sparse map) is not looked at.
pub(super) fn check(blocks: &[u8]) -> Result<Facts, String> {
    let mut facts = Facts::default();
    let mut rest = blocks;
    let (mut long, mut pax_mtime, mut has_pax) = (false, None, false);
    loop {
        let header: &[u8; BLOCK] =
            rest.get(..BLOCK).and_then(|b| b.try_into().ok()).ok_or("a header block is missing")?;
        if header.iter().all(|&b| b == 0) {
            // GNU tar stops at a lone zero block, Go refuses it, others skip it.
            return Err("a single zero block between entries".to_owned());
        }
        let size = number(&header[124..136], "size")?;
        let recognised = check_magic(header)?;
        match header[156] {
            kind @ (b'L' | b'K' | b'x') if recognised => {
                let length = usize::try_from(size).map_err(|_| "an extension header is too large")?;
                let data = rest.get(BLOCK..BLOCK + length).ok_or("an extension header is cut off")?;
                if kind == b'x' {
                    has_pax = true;
                    pax_mtime = check_pax(data, &mut facts)?;
                } else {
                    long = true;
                }
                rest = &rest[BLOCK + length.next_multiple_of(BLOCK)..];
            }
            _ => {
                if long && has_pax {
                    return Err("GNU long name and PAX header for the same entry".to_owned());
                }
                for (range, name) in [(100..108, "mode"), (108..116, "uid"), (116..124, "gid")] {
                    number(&header[range], name)?;
                }
                facts.mtime = match pax_mtime {
                    Some(mtime) => mtime,
                    None if header[136] == 0xff => (0, 0),
                    None => (clamp_seconds(number(&header[136..148], "mtime")?), 0),
                };
                return Ok(facts);
            }
        }
    }
}

/// Whether a header is of a format that has extensions. What stands where one of them has the prefix of the name must
/// mean nothing in the others: Python takes it for a prefix in all of them, GNU tar only in one.
fn check_magic(header: &[u8; BLOCK]) -> Result<bool, String> {
    let (magic, prefix) = (&header[257..265], &header[345..500]);
    match magic {
        b"ustar\x0000" => Ok(true),
        b"ustar  \0" => {
            // GNU's own fields: times, then what only sparse and multi-volume archives use.
            let times = [&prefix[..12], &prefix[12..24]];
            if times.iter().any(|field| field[0] != 0 && number(field, "atime").is_err()) {
                return Err("a prefix of the name in a GNU header".to_owned());
            }
            Ok(true)
        }
        _ if magic.starts_with(b"ustar") => Err("unknown version of the header format".to_owned()),
        _ if prefix.iter().any(|&b| b != 0) => Err("a prefix of the name in a header without magic".to_owned()),
        _ => Ok(false),
    }
}

/// Checks a global PAX header, which some tools write for a comment. Anything that would change entries is refused:
/// half of the readers ignore it, the other half obey.
pub(super) fn check_global(blocks: &[u8]) -> Result<(), String> {
    if blocks.get(156) != Some(&b'g') {
        return Err("a global PAX header between an extension header and its entry".to_owned());
    }
    let size = usize::try_from(number(&blocks[124..136], "size")?).map_err(|_| "size of the global PAX header")?;
    let mut data = blocks.get(BLOCK..BLOCK + size).ok_or("the global PAX header is cut off")?;
    while let Some((key, _, rest)) = record(data)? {
        let harmless = matches!(key, b"comment" | b"atime" | b"ctime");
        if !harmless {
            return Err(format!("global PAX record {}", crate::shown::Shown::new(key)));
        }
        data = rest;
    }
    Ok(())
}

/// Records that may stand once only, because readers disagree whether the first or the last one counts.
const SINGLE: [&[u8]; 14] = [
    b"path",
    b"linkpath",
    b"size",
    b"uid",
    b"gid",
    b"mtime",
    b"GNU.sparse.major",
    b"GNU.sparse.minor",
    b"GNU.sparse.name",
    b"GNU.sparse.realsize",
    b"GNU.sparse.size",
    b"GNU.sparse.map",
    b"GNU.sparse.numblocks",
    b"hdrcharset",
];

fn check_pax(mut data: &[u8], facts: &mut Facts) -> Result<Option<(i64, u32)>, String> {
    let mut seen = 0_u32;
    let mut mtime = None;
    let mut sparse_version = (None, None);
    let mut sparse_blocks = None;
    while let Some((key, value, rest)) = record(data)? {
        data = rest;
        if let Some(index) = SINGLE.iter().position(|single| *single == key) {
            if seen & (1 << index) != 0 {
                return Err(format!("PAX record {} stands twice", crate::shown::Shown::new(key)));
            }
            seen |= 1 << index;
        }
        match key {
            b"size" | b"uid" | b"gid" => drop(decimal(key, value)?),
            b"mtime" => mtime = Some(timestamp(value)?),
            b"path" | b"linkpath" | b"GNU.sparse.name" if value.contains(&0) => {
                return Err("a PAX path contains a NUL byte".to_owned());
            }
            b"path" | b"linkpath" | b"GNU.sparse.name" if value.is_empty() => {
                return Err("a PAX path is empty".to_owned());
            }
            b"GNU.sparse.map" if value.is_empty() || !value.is_ascii() => {
                return Err("a sparse map is not a list of numbers".to_owned());
            }
            b"GNU.sparse.map" => {
                // GNU tar reads the records in their order and wants to know how long the map will be.
                let numbers = value.split(|&b| b == b',').count() as u64;
                if sparse_blocks.is_none_or(|blocks: u64| blocks.checked_mul(2) != Some(numbers)) {
                    return Err("a sparse map without the number of its entries before it".to_owned());
                }
                facts.sparse_records = true;
            }
            b"GNU.sparse.name" => facts.sparse_records = true,
            b"GNU.sparse.major" => sparse_version.0 = Some(decimal(key, value)?),
            b"GNU.sparse.minor" => sparse_version.1 = Some(decimal(key, value)?),
            _ if key.starts_with(b"GNU.sparse.") => {
                let number = decimal(key, value)?;
                if key == b"GNU.sparse.numblocks" {
                    sparse_blocks = Some(number);
                }
                facts.sparse_records = true;
            }
            _ => {}
        }
    }
    match sparse_version {
        (None, None) | (Some(0), Some(0 | 1)) => {}
        // With version 1.0 the map is part of the data, and readers differ on which of the sizes includes it.
        (Some(1), Some(0)) if seen & 4 != 0 => return Err("PAX size of a sparse file".to_owned()),
        (Some(1), Some(0)) => facts.sparse_records = true,
        _ => return Err("unknown version of the sparse format".to_owned()),
    }
    Ok(mtime)
}

/// Splits the first record off: `LENGTH KEY=VALUE\n`, the length counting the whole record.
#[allow(clippy::type_complexity)] // three slices of the same bytes, used in two loops above
fn record(data: &[u8]) -> Result<Option<(&[u8], &[u8], &[u8])>, String> {
    if data.is_empty() {
        return Ok(None);
    }
    let malformed = || "malformed PAX record".to_owned();
    let space = data.iter().take(8).position(|&b| b == b' ').ok_or_else(malformed)?;
    let length = usize::try_from(decimal(b"record length", &data[..space])?).map_err(|_| malformed())?;
    let body = data.get(space + 1..length).ok_or_else(malformed)?;
    let (b'\n', body) = body.split_last().ok_or_else(malformed)? else { return Err(malformed()) };
    let equals = body.iter().position(|&b| b == b'=').ok_or_else(malformed)?;
    if equals == 0 || body[..equals].contains(&0) {
        return Err(malformed());
    }
    Ok(Some((&body[..equals], &body[equals + 1..], &data[length..])))
}

fn decimal(key: &[u8], value: &[u8]) -> Result<u64, String> {
    let refused = || format!("PAX {} is not a number", crate::shown::Shown::new(key));
    // str::parse takes a leading "+", which other readers do not.
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(refused());
    }
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or_else(refused)
}

/// Reads `[-]SECONDS[.FRACTION]` (POSIX pax, mtime).
fn timestamp(value: &[u8]) -> Result<(i64, u32), String> {
    let (value, negative) = match value.strip_prefix(b"-") {
        Some(rest) => (rest, true),
        None => (value, false),
    };
    let (seconds, fraction) = match value.iter().position(|&b| b == b'.') {
        Some(dot) => (&value[..dot], &value[dot + 1..]),
        None => (value, &[][..]),
    };
    let seconds = decimal(b"mtime", seconds)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err("PAX \"mtime\" is not a number".to_owned());
    }
    if negative {
        return Ok((0, 0));
    }
    let nanoseconds = (0..9).fold(0, |sum, i| sum * 10 + fraction.get(i).map_or(0, |d| u32::from(d - b'0')));
    Ok((clamp_seconds(seconds), nanoseconds))
}

/// The latest time we set: the year 10889, beyond what any file system here can store and the kernel clamps anyway.
fn clamp_seconds(seconds: u64) -> i64 {
    seconds.min((1 << 38) - 1).cast_signed()
}

/// Reads a numeric header field as GNU tar, Go and Python all do: octal digits, blanks around them, or base 256.
fn number(field: &[u8], name: &str) -> Result<u64, String> {
    let refused = || format!("field {name} is not a number");
    if field[0] & 0x80 != 0 {
        if field[0] == 0xff && name == "mtime" {
            return Ok(0);
        }
        let (high, low) = field.split_at(field.len() - 8);
        let mut low: [u8; 8] = low.try_into().map_err(|_| refused())?;
        let negative_or_large =
            if high.is_empty() { low[0] != 0x80 } else { high[0] != 0x80 || high[1..].iter().any(|&b| b != 0) };
        if negative_or_large {
            return Err(format!("field {name} is negative or too large"));
        }
        if high.is_empty() {
            low[0] = 0;
        }
        return Ok(u64::from_be_bytes(low));
    }
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    // After a leading NUL some readers go on, some take the field as empty.
    if field[end..].iter().any(|b| !matches!(b, 0 | b' ')) {
        return Err(refused());
    }
    let digits = field[..end].trim_ascii();
    if digits.is_empty() && end == field.len() {
        return Err(format!("field {name} is blank"));
    }
    digits.iter().try_fold(0_u64, |sum, &digit| match digit {
        b'0'..=b'7' => Ok(sum << 3 | u64::from(digit - b'0')),
        _ => Err(refused()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number(b"0000644\0", "mode"), Ok(0o644));
        assert_eq!(number(b"   644 \0", "mode"), Ok(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0", "uid"), Ok(0));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\0\0\0\x01\0", "size"), Ok(256));
        assert_eq!(number(b"\x80\0\0\0\0\0\x01\0", "uid"), Ok(256));
        for bad in [
            &b"-000001\0"[..],
            b"+000001\0",
            b"        ",
            b"\x000644\0\0",
            b"0000648\0",
            b"64\x004 \0\0\0",
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(number(bad, "size").is_err(), "{bad:?}");
        }
        assert!(number(b"\x80\0\0\x01\0\0\0\0\0\0\0\0", "size").is_err(), "96 bits");
        assert!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "size").is_err(), "negative");
    }

    #[test]
    fn timestamps() {
        assert_eq!(timestamp(b"12"), Ok((12, 0)));
        assert_eq!(timestamp(b"12.5"), Ok((12, 500_000_000)));
        assert_eq!(timestamp(b"12.0000000019"), Ok((12, 1)));
        assert_eq!(timestamp(b"-1.5"), Ok((0, 0)));
        assert_eq!(timestamp(b"999999999999999"), Ok(((1 << 38) - 1, 0)));
        for bad in [&b"NaN"[..], b"", b"1e5", b"1.x", b"--1", &[b'9'; 10_000]] {
            assert!(timestamp(bad).is_err());
        }
    }

    #[test]
    fn unp_06_records() {
        let one = |data: &'static [u8]| record(data).map(|r| r.map(|(k, v, _)| (k, v)));
        assert_eq!(one(b"7 a=bc\n"), Ok(Some((&b"a"[..], &b"bc"[..]))));
        for bad in [
            &b"x a=b\n"[..],
            b"99 a=b\n",
            b"5 ab\n",
            b"6 a=bc\n",
            b"5 =b\n",
            b"+6 a=b\n",
            b"0 a=b\n",
            b"2 a=b\n",
            b"\0\0\0",
        ] {
            assert!(record(bad).is_err(), "{bad:?}");
        }
    }
}
