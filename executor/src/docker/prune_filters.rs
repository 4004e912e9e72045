//! `--filter` of docker's `prune` commands: what was made before a time, and what has labels or lacks them.

use std::collections::BTreeMap;

use super::filters::key_and_value;
use crate::commands::logs;
use crate::error::CommandError;

/// What was asked for. All of it has to hold.
#[derive(Debug, Default)]
pub(crate) struct PruneFilters(Vec<Filter>);

#[derive(Debug)]
enum Filter {
    /// Made before this time.
    Until(u64),
    /// A label, with a value or whatever value it has; and whether it is wanted.
    Label(String, Option<String>, bool),
}

impl PruneFilters {
    /// Understands each `KEY=VALUE`.
    ///
    /// # Errors
    ///
    /// One makes no sense; the text is docker's.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, CommandError> {
        texts.iter().map(|text| filter(text)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether what was made then, with these labels, is meant.
    pub(crate) fn admit(&self, made_ns: u64, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|filter| match filter {
            Filter::Until(time) => made_ns < *time,
            Filter::Label(name, value, wanted) => {
                let known = labels.get(name);
                known.is_some_and(|known| value.as_ref().is_none_or(|value| known == value)) == *wanted
            }
        })
    }
}

fn filter(text: &str) -> Result<Filter, CommandError> {
    let (key, value) = key_and_value(text)?;
    let label = |wanted| match value.split_once('=') {
        Some((name, value)) => Filter::Label(name.to_owned(), Some(value.to_owned()), wanted),
        None => Filter::Label(value.to_owned(), None, wanted),
    };
    Ok(match key.as_str() {
        "until" => Filter::Until(logs::moment("--filter until", value)?),
        "label" => label(true),
        "label!" => label(false),
        _ => {
            return Err(CommandError::failed(format!("invalid filter '{key}'"))
                .hint("there are until=TIME, label= and label!="));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_filters_hold_together() {
        let labels = BTreeMap::from([("role".to_owned(), "front".to_owned())]);
        for (filters, admitted) in [
            (&[][..], true),
            (&["until=1970-01-01T00:00:02Z"], true),
            (&["until=1970-01-01T00:00:01Z"], false),
            (&["label=role"], true),
            (&["label=role=back"], false),
            (&["label=role", "label!=team"], true),
            (&["label!=role=front"], false),
        ] {
            let texts: Vec<String> = filters.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(PruneFilters::parse(&texts).unwrap().admit(1_000_000_000, &labels), admitted, "{filters:?}");
        }
        assert!(PruneFilters::parse(&["size=1".to_owned()]).is_err());
    }
}
