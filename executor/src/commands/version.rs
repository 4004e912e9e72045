//! `proa version`: which program this is.

use clap::Args;

use crate::context::Context;
use crate::error::CommandError;
use crate::output;

/// Print the versions of proa and of the specifications it follows
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  proa version")]
pub(crate) struct VersionArgs {}

pub(crate) fn run(_context: &Context, _args: VersionArgs) -> Result<u8, CommandError> {
    output::write(&text())?;
    Ok(0)
}

/// rkt's lines, with Rust for Go.
fn text() -> String {
    format!(
        "proa Version: {}\nappc Version: {}\nRust Target: {}\nFeatures: {}\n",
        env!("CARGO_PKG_VERSION"),
        appc::SPEC_VERSION,
        target(),
        FEATURES.join(" ")
    )
}

/// What this build can do that another might not: signs as in rkt, `+` for present.
const FEATURES: &[&str] = &["+SECCOMP", "+LANDLOCK", "+GZIP", "+BZIP2", "+XZ", "+ZSTD"];

/// Architecture and system the program was compiled for.
fn target() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}
