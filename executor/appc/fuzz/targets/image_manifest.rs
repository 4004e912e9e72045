//! Fuzz target; the body says what must hold.
#![no_main]

#[path = "../bodies.rs"]
#[allow(dead_code)] // every target has the bodies of all
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::image_manifest(bytes));
