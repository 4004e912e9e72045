//! A scope of systemd for this process: one call of its D-Bus interface (org.freedesktop.systemd1(5),
//! `StartTransientUnit`).

use std::path::Path;
use std::time::{Duration, Instant};

use zbus::Variant;
use zbus::connection::Builder;

/// Why there is no scope.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScopeError {
    /// The runtime of the D-Bus library.
    #[error("prepare the D-Bus connection")]
    Runtime(#[source] std::io::Error),
    /// The call.
    #[error(transparent)]
    Bus(#[from] zbus::Error),
}

/// A unit's properties by name.
type Properties<'a> = Vec<(&'a str, Variant<'a>)>;

/// How long systemd may take to let go of a scope whose processes have ended. A pod that is started again has the name of
/// the one that it was.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long is waited before it is asked again.
const PAUSE: Duration = Duration::from_millis(10);

/// What systemd says while it has a unit of that name.
const EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// Has the systemd manager at `socket` move this process into a new scope of its own, which is delegated to us. Returns
/// when systemd has begun. A scope of that name that is on its way out is waited for.
///
/// # Errors
///
/// [`ScopeError`].
pub(crate) fn start(socket: &Path, unit: &str) -> Result<(), ScopeError> {
    // Gone again when this returns: pods are forked from a process with one thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ScopeError::Runtime)?;
    let properties: Properties<'_> = vec![
        ("Description", Variant::from(format!("Pod of proa, {unit}"))),
        ("PIDs", Variant::from(vec![std::process::id()])),
        ("Slice", Variant::from("proa.slice")),
        ("Delegate", Variant::from(true)),
        ("CollectMode", Variant::from("inactive-or-failed")),
    ];
    let further: Vec<(&str, Properties<'_>)> = Vec::new();
    runtime.block_on(async {
        let address = format!("unix:path={}", escaped(socket));
        let connection = Builder::address(address.as_str()).build().await?;
        let manager = "org.freedesktop.systemd1.Manager";
        let call = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "StartTransientUnit");
        let body = (unit, "fail", properties, further);
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = connection.call_method(Some(call.0), call.1, Some(manager), call.2, &body).await {
            if !exists(&error) || Instant::now() > deadline {
                return Err(error.into());
            }
            tokio::time::sleep(PAUSE).await;
        }
        connection.close().await?;
        Ok(())
    })
}

/// Whether there is a unit of that name.
fn exists(error: &zbus::Error) -> bool {
    matches!(error, zbus::Error::MethodError(name, ..) if name.as_str() == EXISTS)
}

/// As addresses want it (D-Bus Specification, "Server Addresses").
fn escaped(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_/.\\*".contains(byte);
    let escape = |byte: &u8| if plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02x}") };
    path.as_os_str().as_bytes().iter().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_addresses_give_a_meaning_is_escaped() {
        assert_eq!(escaped(Path::new("/run/user/1000/bus")), "/run/user/1000/bus");
        assert_eq!(escaped(Path::new("/a b,c=d;e%f")), "/a%20b%2cc%3dd%3be%25f");
    }
}
