//! Compiles the default system call filter for the target architecture, so that a pod's start does no work for it, and
//! writes out the tables that filters made at run time need.

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

use std::collections::BTreeMap;
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
    let table = numbers::by_name(arch);
    let policy = profile::default_policy(arch, &table).map_err(|error| error.to_string())?;
    let program = compiler::compile(&policy).map_err(|error| error.to_string())?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(out.join("default_filter.rs"), rust_array(&program)?)?;
    std::fs::write(out.join("numbers.rs"), rust_pairs(table))?;
    std::fs::write(out.join("errnos.rs"), rust_pairs(errnos()))?;
    Ok(())
}

/// The kernel's errors by name. The same on all architectures with a profile (asm-generic/errno.h).
fn errnos() -> BTreeMap<&'static str, u16> {
    // 133, EHWPOISON, is the last one a program sees; those from 512 on stay inside the kernel.
    (1..=133).filter_map(|number| Some((syscalls::Errno::new(number.into()).name()?, number))).collect()
}

/// Names with numbers as a Rust array, sorted by name.
fn rust_pairs<N: std::fmt::Display>(pairs: BTreeMap<&str, N>) -> String {
    let lines = pairs.into_iter().map(|(name, number)| format!("({name:?}, {number}),\n"));
    format!("[\n{}]", lines.collect::<String>())
}

fn rust_array(program: &[instruction::SockFilter]) -> Result<String, std::fmt::Error> {
    let mut text = String::from("[\n");
    for instruction::SockFilter { code, jt, jf, k } in program {
        writeln!(text, "SockFilter {{ code: {code:#x}, jt: {jt}, jf: {jf}, k: {k:#x} }},")?;
    }
    text.push(']');
    Ok(text)
}
