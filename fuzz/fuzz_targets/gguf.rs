//! Fuzzes the parser of GGUF headers: accepted tensors lie within the file.
#![no_main]
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = checkpoint::read_gguf(Path::new("fuzzed"), bytes, bytes.len() as u64) {
        for tensor in &file.tensors {
            let end = tensor.offset.checked_add(tensor.bytes).expect("checked by the reader");
            assert!(end <= bytes.len() as u64);
        }
    }
});
