//! Which app of a pod a command line means: an argument, or the only one there is.

use crate::error::CommandError;

/// What helps somebody who named an app that there is not.
pub(crate) const HINT: &str = "`proa list` shows the apps of pods";

/// The app that was named, or else the only one. `name_of` is what an app is called.
///
/// # Errors
///
/// There is no such app; or none was named, and there is not exactly one.
pub(crate) fn find<'a, A>(apps: &'a [A], name_of: fn(&A) -> &str, named: Option<&str>) -> Result<&'a A, CommandError> {
    match named {
        Some(name) => apps.iter().find(|app| name_of(app) == name).ok_or_else(|| unknown(name)),
        None => only(apps, name_of),
    }
}

/// The only app. For those who leave it to the pod's supervisor to say that it has not the one that was named.
///
/// # Errors
///
/// There is none, or there are several.
pub(crate) fn only<A>(apps: &[A], name_of: fn(&A) -> &str) -> Result<&A, CommandError> {
    match apps {
        [app] => Ok(app),
        [] => Err(none()),
        apps => {
            let names: Vec<&str> = apps.iter().map(name_of).collect();
            Err(CommandError::failed(format!("pod contains multiple apps: {}", names.join(", ")))
                .hint("choose one with --app"))
        }
    }
}

/// The error for a pod without apps.
pub(crate) fn none() -> CommandError {
    CommandError::failed("the pod has no app").hint(HINT)
}

/// The error for a name that no app of the pod has.
pub(crate) fn unknown(name: &str) -> CommandError {
    CommandError::failed(format!("the pod has no app {name:?}")).hint(HINT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_named_or_the_only_one() {
        let find = |apps: &[&'static str], named| find(apps, |app| app, named).copied().map_err(|error| error.chain());
        assert_eq!(find(&["a"], None), Ok("a"));
        assert_eq!(find(&["a", "b"], Some("b")), Ok("b"));
        assert_eq!(find(&["a"], Some("b")), Err("the pod has no app \"b\"".to_owned()));
        assert_eq!(find(&["a", "b"], None), Err("pod contains multiple apps: a, b".to_owned()));
        assert_eq!(find(&[], None), Err("the pod has no app".to_owned()));
    }
}
