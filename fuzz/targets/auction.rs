#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| seckel_fuzz::targets::run("auction", input));
