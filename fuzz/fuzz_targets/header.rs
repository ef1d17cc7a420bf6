//! Fuzzes the parser of safetensors headers: accepted tensors cover the data without holes.
#![no_main]
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|input: (u16, &[u8])| {
    let (data_bytes, json) = input;
    let start = 8 + json.len() as u64;
    let end = start + u64::from(data_bytes);
    if let Ok(tensors) = checkpoint::parse_header(Path::new("fuzzed"), json, start, end) {
        let last = tensors.iter().fold(start, |at, tensor| {
            assert_eq!(tensor.offset, at);
            at + tensor.bytes
        });
        assert_eq!(last, end);
    }
});
