//! `docker version`: what program this is. Client and server are the same one.

use clap::Args;
use rustix::system::uname;
use serde_json::{Value, json};

use super::template::Template;
use crate::context::Context;
use crate::error::CommandError;
use crate::output;

/// Show the Docker version information
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Format output: json, or a template of fields such as '{{.Server.Version}}'
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,
}

/// The version of Docker's interface whose words and columns are spoken here.
const API: &str = "1.43";

pub(crate) fn run(_: &Context, args: VersionArgs) -> Result<u8, CommandError> {
    let kernel = uname();
    let arch = crate::manifest::HOST_ARCH;
    let version = env!("CARGO_PKG_VERSION");
    let all = json!({
        "Client": {
            "Version": version, "APIVersion": API, "ApiVersion": API, "DefaultAPIVersion": API,
            "Os": "linux", "Arch": arch, "Context": "default",
        },
        "Server": {
            "Platform": { "Name": "proa" }, "Version": version, "APIVersion": API, "ApiVersion": API, "MinAPIVersion": API,
            "Os": "linux", "Arch": arch, "KernelVersion": kernel.release().to_string_lossy(),
        },
    });
    output::write(&match args.format.as_deref() {
        Some("json") => serde_json::to_string(&all)? + "\n",
        Some(format) => Template::parse(format)?.render(&all)? + "\n",
        None => text(&all),
    })?;
    Ok(0)
}

fn text(all: &Value) -> String {
    let (client, server) = (&all["Client"], &all["Server"]);
    let shown = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let platform = |of: &Value| format!("{}/{}", shown(&of["Os"]), shown(&of["Arch"]));
    let line = |title: &str, value: &str| format!(" {title:<18} {value}\n");
    let inner = |title: &str, value: &str| format!("  {title:<17} {value}\n");
    [
        "Client: proa\n".to_owned(),
        line("Version:", &shown(&client["Version"])),
        line("API version:", &shown(&client["ApiVersion"])),
        line("OS/Arch:", &platform(client)),
        line("Context:", &shown(&client["Context"])),
        "\nServer: proa, no daemon\n Engine:\n".to_owned(),
        inner("Version:", &shown(&server["Version"])),
        inner("API version:", &format!("{API} (minimum version {API})")),
        inner("OS/Arch:", &platform(server)),
        inner("Kernel:", &shown(&server["KernelVersion"])),
    ]
    .concat()
}
