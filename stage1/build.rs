//! Compiles the default system call filter for the target architecture, so that a pod's start does no work for it.

// The same sources are modules of the crate, where others use what is unused or private here.
#![allow(dead_code, unreachable_pub)]

#[path = "src/seccomp/arguments.rs"]
mod arguments;
#[path = "src/seccomp/assembler.rs"]
mod assembler;
#[path = "src/seccomp/compiler.rs"]
mod compiler;
#[path = "src/seccomp/groups.rs"]
mod groups;
#[path = "src/seccomp/instruction.rs"]
mod instruction;
#[path = "src/seccomp/numbers.rs"]
mod numbers;
#[path = "src/seccomp/policy.rs"]
mod policy;
#[path = "src/seccomp/profile.rs"]
mod profile;

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;

/// What the filter is made from, relative to the package; the `mod`s above.
const SOURCES: [&str; 8] =
    ["arguments", "assembler", "compiler", "groups", "instruction", "numbers", "policy", "profile"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    for source in SOURCES {
        println!("cargo:rerun-if-changed=src/seccomp/{source}.rs");
    }
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH")?;
    let arch = policy::Arch::from_rust_name(&arch)
        .ok_or_else(|| format!("no system call profile for the architecture {arch}"))?;
    let policy = profile::default_policy(arch, &numbers::by_name(arch)).map_err(|error| error.to_string())?;
    let program = compiler::compile(&policy).map_err(|error| error.to_string())?;
    let file = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?).join("default_filter.rs");
    std::fs::write(file, rust_array(&program)?)?;
    Ok(())
}

fn rust_array(program: &[instruction::SockFilter]) -> Result<String, std::fmt::Error> {
    let mut text = String::from("[\n");
    for instruction::SockFilter { code, jt, jf, k } in program {
        writeln!(text, "SockFilter {{ code: {code:#x}, jt: {jt}, jf: {jf}, k: {k:#x} }},")?;
    }
    text.push(']');
    Ok(text)
}
