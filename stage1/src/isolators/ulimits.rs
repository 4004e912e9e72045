//! Resource limits (setrlimit(2)) that the operator gave the apps of a pod, in the words of docker's `--ulimit`.

use std::fmt;
use std::str::FromStr;

use appc::Annotations;
use rustix::process::Resource;

use super::choices::BadChoice;

/// Annotation of a pod: resource limits of each process of its apps, as `NAME=SOFT:HARD` with commas between them; -1 is
/// no limit.
pub const ULIMITS: &str = "proa.local/ulimits";

/// docker's names. It has none for the size of the address space.
const NAMES: [(&str, Resource); 15] = [
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

/// A limit of a resource. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ulimit {
    /// docker's name of the resource.
    pub name: &'static str,
    /// The resource.
    pub resource: Resource,
    /// What counts.
    pub soft: Option<u64>,
    /// What the app may raise it to.
    pub hard: Option<u64>,
}

/// Text that is no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotUlimit {
    /// Not in parts.
    #[error("wanted NAME=SOFT[:HARD]")]
    Form,
    /// No such resource.
    #[error("no limit {0:?}; there are {known}", known = NAMES.map(|(name, _)| name).join(", "))]
    Name(String),
    /// No number.
    #[error("{0:?} is neither a number nor -1, which is no limit")]
    Number(String),
    /// The soft one is above the hard one.
    #[error("the soft limit is above the hard one")]
    Order,
}

impl FromStr for Ulimit {
    type Err = NotUlimit;

    fn from_str(text: &str) -> Result<Self, NotUlimit> {
        let (name, bounds) = text.split_once('=').ok_or(NotUlimit::Form)?;
        let known = NAMES.into_iter().find(|(known, _)| *known == name);
        let (name, resource) = known.ok_or_else(|| NotUlimit::Name(name.to_owned()))?;
        let (soft, hard) = bounds.split_once(':').unwrap_or((bounds, bounds));
        let (soft, hard) = (bound(soft)?, bound(hard)?);
        if lower(soft, hard) != soft {
            return Err(NotUlimit::Order);
        }
        Ok(Self { name, resource, soft, hard })
    }
}

fn bound(text: &str) -> Result<Option<u64>, NotUlimit> {
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(number) => u64::try_from(number).map(Some).map_err(|_| NotUlimit::Number(text.to_owned())),
        Err(_) => Err(NotUlimit::Number(text.to_owned())),
    }
}

/// The lower one of two limits.
#[must_use]
pub fn lower(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    [one, other].into_iter().flatten().min()
}

impl fmt::Display for Ulimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |bound: Option<u64>| bound.map_or_else(|| "-1".to_owned(), |bound| bound.to_string());
        write!(f, "{}={}:{}", self.name, shown(self.soft), shown(self.hard))
    }
}

/// Puts one in place of another of its kind.
pub fn put(ulimits: &mut Vec<Ulimit>, ulimit: Ulimit) {
    ulimits.retain(|known| known.resource != ulimit.resource);
    ulimits.push(ulimit);
}

/// Those of the apps of a pod with these annotations.
///
/// # Errors
/// [`BadChoice`].
pub fn of(pod: &Annotations) -> Result<Vec<Ulimit>, BadChoice> {
    let mut ulimits = Vec::new();
    let Some(text) = pod.get(ULIMITS) else { return Ok(ulimits) };
    for word in text.split(',') {
        let wanted = "a list of NAME=SOFT:HARD";
        let bad = |_| BadChoice { name: ULIMITS, value: text.to_owned(), wanted };
        put(&mut ulimits, word.parse().map_err(bad)?);
    }
    Ok(ulimits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_written() {
        for (text, written) in [
            ("nofile=1024", "nofile=1024:1024"),
            ("nofile=1:2", "nofile=1:2"),
            ("core=-1", "core=-1:-1"),
            ("memlock=5:-1", "memlock=5:-1"),
            ("stack=0", "stack=0:0"),
        ] {
            assert_eq!(text.parse::<Ulimit>().unwrap().to_string(), written);
        }
        for (text, why) in [
            ("nofile", NotUlimit::Form),
            ("as=1", NotUlimit::Name("as".to_owned())),
            ("=1", NotUlimit::Name(String::new())),
            ("nofile=", NotUlimit::Number(String::new())),
            ("nofile=-2", NotUlimit::Number("-2".to_owned())),
            ("nofile=1:2:3", NotUlimit::Number("2:3".to_owned())),
            ("nofile=99999999999999999999", NotUlimit::Number("99999999999999999999".to_owned())),
            ("nofile=2:1", NotUlimit::Order),
            ("nofile=-1:1", NotUlimit::Order),
        ] {
            assert_eq!(text.parse::<Ulimit>(), Err(why), "{text}");
        }
    }

    #[test]
    fn the_last_of_a_kind_counts() {
        let mut pod = Annotations::default();
        pod.set(ULIMITS.parse().expect("an identifier"), "nofile=1:1,core=0:0,nofile=2:3".to_owned());
        let shown: Vec<String> = of(&pod).unwrap().iter().map(Ulimit::to_string).collect();
        assert_eq!(shown, ["core=0:0", "nofile=2:3"]);
        pod.set(ULIMITS.parse().expect("an identifier"), String::new());
        assert_eq!(
            of(&pod).unwrap_err().to_string(),
            "annotation proa.local/ulimits: \"\" is not a list of NAME=SOFT:HARD"
        );
    }
}
