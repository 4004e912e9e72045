//! `actool version`: the version of the specification.

use super::flags::FlagSet;
use super::{Command, Invocation};

pub(super) const COMMAND: Command = Command {
    name: "version",
    summary: "Print the version of the App Container specification",
    usage: "",
    description: "Print the version of the App Container specification and exit",
    flags: FlagSet { name: "", flags: &[] },
    run,
};

fn run(_: &Invocation) -> u8 {
    super::put("version", &format!("actool version {}\n", super::VERSION))
}
