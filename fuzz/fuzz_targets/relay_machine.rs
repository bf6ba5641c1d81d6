#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nodenet_proto::fuzzing::relay_machine(input));
