//! Links the programs that are put into images without symbols, which are 9/10 of them.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for program in ["probe", "ace-validator"] {
        println!("cargo::rustc-link-arg-bin={program}=-Wl,--strip-all");
    }
}
