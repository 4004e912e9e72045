//! Puts the functions of a launch side by side in the program. `proa run` calls some thousand of them: spread over the
//! whole of it they cost a page fault each few, in each of a pod's processes, and together a tenth of a start.
//!
//! `launch.order` is made by `integration-tests/bench/order`. Names that are not there any more are passed over, so an old
//! one does no harm but to speed.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=launch.order");
    println!("cargo:rerun-if-changed=unwind.ld");
    println!("cargo:rerun-if-env-changed=PROA_KEEP_SYMBOLS");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    // Not of profiles that inherit from it: those are for looking into.
    let release = variable("OUT_DIR").contains("/release/build/");
    if release && env::var_os("PROA_KEEP_SYMBOLS").is_none() {
        println!("cargo:rustc-link-arg-bin=proa=-Wl,--strip-all");
    }
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    // Rust's own linker, LLD, is the usual one for this target alone; others do not know the option.
    let usual_linker = variable("TARGET") == "x86_64-unknown-linux-gnu" && !flags.contains("link");
    if release && usual_linker {
        let file = Path::new(&variable("CARGO_MANIFEST_DIR")).join("launch.order");
        println!("cargo:rustc-link-arg-bin=proa=-Wl,--symbol-ordering-file={}", file.display());
        println!("cargo:rustc-link-arg-bin=proa=-Wl,--no-warn-symbol-ordering");
        // Functions of the same instructions are one: a fiftieth of the program. None is told from another by its address.
        println!("cargo:rustc-link-arg-bin=proa=-Wl,--icf=all");
        // A fifteenth of the program.
        let script = Path::new(&variable("CARGO_MANIFEST_DIR")).join("unwind.ld");
        println!("cargo:rustc-link-arg-bin=proa=-Wl,--no-eh-frame-hdr,{}", script.display());
    }
}
