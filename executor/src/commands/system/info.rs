//! `proa system info`.

use clap::Args;
use pod::{Place, State};
use rustix::system::{sysinfo, uname};
use serde_json::json;
use stage1::idmap::Tier;

use crate::context::Context;
use crate::docker::Template;
use crate::error::CommandError;
use crate::{cgroup, idmap, output};

/// Show where proa keeps what, how its pods' ids are mapped, and what machine this is
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa system info\n  proa system info --format json")]
pub(crate) struct InfoArgs {
    /// Print JSON, or a template of fields such as '{{.DockerRootDir}}'
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,
}

pub(crate) fn run(context: &Context, args: InfoArgs) -> Result<u8, CommandError> {
    let data_dir = context.data_dir()?;
    let pods: Vec<_> = context.pods()?.list()?.into_iter().filter(|pod| Place::VISIBLE.contains(&pod.place)).collect();
    let running = pods.iter().filter(|pod| pod.state == State::Running).count();
    let (kernel, memory) = (uname(), sysinfo());
    let ids = match idmap::detect(data_dir)?.tier() {
        Tier::Root => "a range of root's own",
        Tier::Range => "a subordinate range",
        Tier::Single => "a single id",
    };
    let bounded = cgroup::prospects().is_ok();
    let info = json!({
        "Containers": pods.len(),
        "ContainersRunning": running,
        "ContainersPaused": 0,
        "ContainersStopped": pods.len() - running,
        "Images": context.stored()?.list()?.images.len(),
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Driver": "overlay",
        "LoggingDriver": "cri",
        "SecurityOptions": ["name=seccomp", "name=landlock", "name=rootless", "name=userns"],
        "UserNamespace": ids,
        "CgroupDriver": if bounded { "systemd" } else { "none" },
        "CgroupVersion": "2",
        "DefaultRuntime": "proa",
        "ID": "",
        "IndexServerAddress": "https://index.docker.io/v1/",
        "OperatingSystem": operating_system(),
        "Swarm": { "LocalNodeState": "inactive" },
        "KernelVersion": kernel.release().to_string_lossy(),
        "OSType": "linux",
        "Architecture": kernel.machine().to_string_lossy(),
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "MemTotal": memory.totalram * u64::from(memory.mem_unit),
        "Name": kernel.nodename().to_string_lossy(),
        "DockerRootDir": data_dir.display().to_string(),
    });
    let text = match args.format.as_deref() {
        Some("json") => output::json(&info)?,
        Some(format) => Template::parse(format)?.render(&info)? + "\n",
        None => lines(&info),
    };
    output::write(&text)?;
    Ok(0)
}

/// What the distribution calls itself.
fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("linux");
    name.trim_matches('"').to_owned()
}

/// The lines of docker's that mean something here, in its order.
fn lines(info: &serde_json::Value) -> String {
    let names = [
        ("Containers", "Containers"),
        (" Running", "ContainersRunning"),
        (" Paused", "ContainersPaused"),
        (" Stopped", "ContainersStopped"),
        ("Images", "Images"),
        ("Server Version", "ServerVersion"),
        ("Storage Driver", "Driver"),
        ("Logging Driver", "LoggingDriver"),
        ("User Namespace", "UserNamespace"),
        ("Kernel Version", "KernelVersion"),
        ("OSType", "OSType"),
        ("Architecture", "Architecture"),
        ("CPUs", "NCPU"),
        ("Total Memory", "MemTotal"),
        ("Name", "Name"),
        ("Docker Root Dir", "DockerRootDir"),
    ];
    let shown = |name: &str| match &info[name] {
        serde_json::Value::String(text) => text.clone(),
        value if name == "MemTotal" => crate::size::binary(value.as_u64().unwrap_or(0)),
        value => value.to_string(),
    };
    names.iter().map(|(title, name)| format!("{title}: {}\n", shown(name))).collect()
}
