//! The environment that an app starts with (appc ace.md, "Execution Environment").

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use appc::App;

/// The PATH that the specification gives to every app that does not set its own.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What `container` says: how systemd and others inside know who made their world (systemd's CONTAINER_INTERFACE).
pub const CONTAINER: &str = "proa";

/// The environment of `app`, named `name` in its pod, in the order: defaults, the app's own, what nobody may change.
///
/// `more` are variables of the app, `NAME=VALUE`, that its manifest has no place for.
///
/// `metadata_url` is where the app finds the metadata service, if it has one.
///
/// What depends on the user (HOME and the like) is added where the user is known: [`crate::user::User::environment`].
#[must_use]
pub fn of(name: &str, app: &App, more: &[String], metadata_url: Option<&str>) -> Vec<(String, String)> {
    let own = app.environment.iter().map(|variable| (variable.name.as_str(), variable.value.as_str()));
    let more = more.iter().filter_map(|variable| variable.split_once('='));
    let own = own.chain(more.filter(|(name, _)| !name.is_empty()));
    let url = metadata_url.map(|url| (metadata_api::URL_VARIABLE, url));
    let fixed = [("AC_APP_NAME", name)].into_iter().chain(url).chain([("container", CONTAINER)]);
    let all = [("PATH", DEFAULT_PATH)].into_iter().chain(own).chain(fixed);
    // An image may bring a hundred thousand variables: each is found in one step, and keeps its first place.
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut env: Vec<(String, String)> = Vec::new();
    for (name, value) in all {
        match places.entry(name) {
            Entry::Occupied(place) => value.clone_into(&mut env[*place.get()].1),
            Entry::Vacant(place) => {
                place.insert(env.len());
                env.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    env
}
