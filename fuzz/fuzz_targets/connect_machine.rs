#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nodenet_proto::fuzzing::connect_machine(input));
