//! The environment that an app starts with (appc ace.md, "Execution Environment").

use appc::App;

/// The PATH that the specification gives to every app that does not set its own.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What `container` says: how systemd and others inside know who made their world (systemd's CONTAINER_INTERFACE).
pub const CONTAINER: &str = "proa";

/// The environment of `app`, named `name` in its pod, in the order: defaults, the app's own, what nobody may change.
///
/// What depends on the user (HOME and the like) is added where the user is known: [`crate::user::User::environment`].
#[must_use]
pub fn of(name: &str, app: &App) -> Vec<(String, String)> {
    let mut env = vec![("PATH".to_owned(), DEFAULT_PATH.to_owned())];
    for variable in app.environment.iter() {
        set(&mut env, &variable.name, &variable.value);
    }
    set(&mut env, "AC_APP_NAME", name);
    set(&mut env, "container", CONTAINER);
    env
}

fn set(env: &mut Vec<(String, String)>, name: &str, value: &str) {
    match env.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => value.clone_into(old),
        None => env.push((name.to_owned(), value.to_owned())),
    }
}
