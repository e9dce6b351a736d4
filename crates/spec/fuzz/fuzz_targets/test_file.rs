#![no_main]
#![allow(dead_code, reason = "each target calls one of the functions")]

#[path = "../../tests/it/fuzzed.rs"]
mod fuzzed;
#[path = "../../tests/it/support.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::test_file(bytes));
