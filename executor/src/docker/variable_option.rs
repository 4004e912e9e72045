//! `-e` of `docker run` and `docker exec`.

use crate::error::CommandError;

/// What `-e` says, a variable each.
///
/// # Errors
///
/// One has no name.
pub(super) fn variables(given: &[String]) -> Result<Vec<String>, CommandError> {
    if let Some(nameless) = given.iter().find(|text| text.is_empty() || text.starts_with('=')) {
        let why =
            format!("invalid argument {nameless:?} for \"-e, --env\" flag: invalid environment variable: {nameless}");
        return Err(CommandError::usage(why).hint("variables are NAME=VALUE, or NAME for the caller's value"));
    }
    Ok(last_of_each(given.iter().filter_map(|variable| variable_of_caller(variable)).collect()))
}

/// `NAME=VALUE`; a bare `NAME` takes the caller's value, or is nothing if there is none.
fn variable_of_caller(variable: &str) -> Option<String> {
    if variable.contains('=') {
        return Some(variable.to_owned());
    }
    std::env::var(variable).ok().map(|value| format!("{variable}={value}"))
}

/// As docker has it, a variable that is given twice has its last value.
fn last_of_each(variables: Vec<String>) -> Vec<String> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut kept: Vec<String> = Vec::with_capacity(variables.len());
    for variable in variables {
        kept.retain(|known| name(known) != name(&variable));
        kept.push(variable);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_counts_and_names_alone_are_the_callers() {
        assert_eq!(variable_of_caller("A="), Some("A=".to_owned()));
        assert_eq!(variable_of_caller("NO_SUCH_VARIABLE_HERE"), None);
        assert_eq!(last_of_each(vec!["A=1".into(), "B=2".into(), "A=3".into()]), ["B=2", "A=3"]);
    }
}
