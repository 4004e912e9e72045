//! `proa login`: keeps a user and a password for a registry.

use std::env;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use clap::Args;
use fetch::credentials::Places;
use fetch::registry::{self, Credential, Secret};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::{CommandError, Explain as _};
use crate::output;
use crate::web::Web;

/// Keep a user and a password for a registry
///
/// They are shown to the registry first, and kept if it knows them: in the file that containers' tools share
/// ($REGISTRY_AUTH_FILE, else $XDG_RUNTIME_DIR/containers/auth.json, else ~/.config/containers/auth.json).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa login -u anna --password-stdin quay.io
  proa login -u AWS -p TOKEN https://123456789012.dkr.ecr.eu-central-1.amazonaws.com")]
pub(crate) struct LoginArgs {
    /// The user
    #[arg(long, short, value_name = "USER")]
    username: Option<String>,

    /// The password; others on this machine can see it
    #[arg(long, short, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,

    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,

    /// An address that old tools ask for, which is ignored
    #[arg(long, short, value_name = "ADDRESS", hide = true)]
    email: Option<String>,

    /// The registry [default: Docker's]
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

/// More than any password.
const LONGEST: u64 = 64 * 1024;

pub(crate) fn run(context: &Context, args: LoginArgs) -> Result<u8, CommandError> {
    let host = host(args.server.as_deref())?;
    let user = match args.username {
        Some(user) => user,
        None if args.password_stdin => {
            return Err(CommandError::usage("Must provide --username with --password-stdin"));
        }
        None => ask("Username: ", true)?,
    };
    let password = match args.password {
        Some(password) => {
            warn("a password on the command line can be seen by others; --password-stdin reads it");
            password
        }
        None if args.password_stdin => {
            let mut text = String::new();
            io::stdin().lock().take(LONGEST + 1).read_to_string(&mut text).during(|| "read the password".into())?;
            if text.len() as u64 > LONGEST {
                return Err(CommandError::usage(format!("--password-stdin: it has more than {LONGEST} bytes")));
            }
            text.trim_end_matches(['\n', '\r']).to_owned()
        }
        None => ask("Password: ", false)?,
    };
    if user.is_empty() || user.contains(':') || password.is_empty() {
        return Err(CommandError::usage("a user without a colon and a password are needed"));
    }
    let web = Web::new(context.config_dirs(), context.insecure)?;
    let trusted = web.registries.single.token_services.get(&host).cloned().unwrap_or_default();
    let credential = Credential::Basic { user: user.clone(), password: Secret::new(password.as_str()) };
    registry::log_in(&web.client, &host, &credential, &trusted).during(|| format!("log in to {host}"))?;
    Places::of_environment(|name| env::var_os(name)).log_in(&host, &user, &password)?;
    output::write("Login Succeeded\n")?;
    Ok(0)
}

/// The registry's host of a name or a URL, as `aws ecr get-login` prints one.
///
/// # Errors
///
/// It is none.
pub(super) fn host(server: Option<&str>) -> Result<String, CommandError> {
    const DOCKER: &str = "docker.io";
    let Some(server) = server else { return Ok(DOCKER.to_owned()) };
    let bare = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or(server);
    let bare = bare.split('/').next().unwrap_or_default().to_ascii_lowercase();
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    match bare.as_str() {
        "index.docker.io" | "registry-1.docker.io" => Ok(DOCKER.to_owned()),
        "" => Err(CommandError::usage(format!("{server:?} names no registry"))),
        host if host.bytes().all(good) => Ok(bare),
        _ => Err(CommandError::usage(format!("{server:?} names no registry"))),
    }
}

/// Asks the person at the terminal; what is secret is not shown.
fn ask(question: &str, shown: bool) -> Result<String, CommandError> {
    if !io::stdin().is_terminal() {
        return Err(CommandError::usage("Cannot perform an interactive login from a non TTY device")
            .hint("give --username and --password-stdin"));
    }
    output::complain(question);
    let before = tcgetattr(io::stdin())?;
    if !shown {
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
    }
    let mut line = String::new();
    let read = io::stdin().lock().take(LONGEST).read_line(&mut line);
    if !shown {
        tcsetattr(io::stdin(), OptionalActions::Flush, &before)?;
        output::complain("\n");
    }
    read.during(|| "read the answer".into())?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (typed, expected) in [
            (None, "docker.io"),
            (Some("https://index.docker.io/v1/"), "docker.io"),
            (Some("quay.io"), "quay.io"),
            (Some("https://1.dkr.ecr.eu-central-1.amazonaws.com"), "1.dkr.ecr.eu-central-1.amazonaws.com"),
            (Some("Localhost:5000/x"), "localhost:5000"),
        ] {
            assert_eq!(host(typed).unwrap(), expected);
        }
        assert!(host(Some("")).is_err() && host(Some("a b")).is_err() && host(Some("https://u@h")).is_err());
    }
}
