//! Links the probe without symbols: it is put into every image that tests what an app sees, and symbols are 9/10 of it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bin=probe=-Wl,--strip-all");
}
