//! Reading /etc/subuid and /etc/subgid (subuid(5)).

use std::fs::File;
use std::io::{self, Read as _};

use super::IdMapError;

/// Larger than any real file (one line per user), small enough to be read whole on every start.
const MAX_FILE: u64 = 1 << 20;

/// A range of ids: the first one and how many.
pub(super) type Range = (u32, u32);

/// The ranges of /etc/subuid and /etc/subgid.
#[derive(Debug)]
pub(super) struct SubidFiles {
    uids: String,
    gids: String,
}

/// One line: owner (name or number), first id, count.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    owner: &'a str,
    start: u32,
    count: u32,
}

impl SubidFiles {
    /// Reads both files; one that does not exist is empty.
    pub(super) fn read() -> Result<Self, IdMapError> {
        Ok(Self { uids: read_bounded("/etc/subuid")?, gids: read_bounded("/etc/subgid")? })
    }

    /// The user's first usable range in each file (uids, gids); `None` unless there is one in both.
    pub(super) fn range_of(&self, uid: u32) -> Result<Option<(Range, Range)>, IdMapError> {
        if self.uids.is_empty() || self.gids.is_empty() {
            return Ok(None);
        }
        let number = uid.to_string();
        let passwd = read_bounded("/etc/passwd")?;
        let name = name_of(&passwd, &number);
        let find = |text| lines(text).find(|line| line.owner == number || Some(line.owner) == name);
        Ok(find(&self.uids).zip(find(&self.gids)).map(|(u, g)| ((u.start, u.count), (g.start, g.count))))
    }

    /// The first multiple of `len` from `from` on whose `len` ids nobody owns in either file.
    pub(super) fn free_range(&self, from: u32, len: u32) -> u32 {
        let taken = |start: u32| {
            lines(&self.uids).chain(lines(&self.gids)).any(|line| {
                u64::from(line.start) < u64::from(start) + u64::from(len)
                    && u64::from(start) < u64::from(line.start) + u64::from(line.count)
            })
        };
        (from..u32::MAX - len).step_by(len as usize).find(|&start| !taken(start)).unwrap_or(from)
    }
}

/// The name of a user in /etc/passwd.
pub(super) fn user_name(uid: u32) -> Option<String> {
    let passwd = read_bounded("/etc/passwd").ok()?;
    name_of(&passwd, &uid.to_string()).map(str::to_owned)
}

/// The well-formed lines: ranges that are empty, hold id 0 or run past the last id are passed over.
fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let (start, count) = (fields.next()?.parse::<u32>().ok()?, fields.next()?.parse::<u32>().ok()?);
        let sound = !owner.is_empty() && start > 0 && count > 0 && start.checked_add(count).is_some();
        sound.then_some(Line { owner, start, count })
    })
}

fn name_of<'a>(passwd: &'a str, uid: &str) -> Option<&'a str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then_some(name)
    })
}

fn read_bounded(path: &str) -> Result<String, IdMapError> {
    let failed = |source| IdMapError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(failed(error)),
    };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsound_lines_are_passed_over() {
        let text = "a:100000:65536\n\n#c\nb:0:10\nc:5:0\nd:4294967295:2\ne:x:1\nf:7\n1000:300000:65536\n:1:1\n";
        let owners: Vec<_> = lines(text).map(|line| line.owner).collect();
        assert_eq!(owners, ["a", "1000"]);
    }

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        let passwd = "root:x:0:0::/:/bin/sh\nanna:x:1000:1000::/home/anna:/bin/sh\n";
        assert_eq!(name_of(passwd, "1000"), Some("anna"));
        assert_eq!(name_of(passwd, "100"), None);
        let files = SubidFiles { uids: "4711:100000:65536\n".into(), gids: "4711:200000:1000\n".into() };
        assert_eq!(files.range_of(4711).unwrap(), Some(((100_000, 65_536), (200_000, 1000))));
        assert_eq!(files.range_of(4712).unwrap(), None);
    }

    #[test]
    fn roots_range_avoids_ranges_of_others() {
        let files = SubidFiles { uids: "x:1000:70000\n".into(), gids: "y:131072:1\n".into() };
        assert_eq!(files.free_range(65_536, 65_536), 3 * 65_536);
        assert_eq!(files.free_range(262_144, 65_536), 262_144);
    }
}
