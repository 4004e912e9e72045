//! proa.
fn main() {}
