//! Fuzzes the parser of `model.safetensors.index.json`: accepted shards are plain file names.
#![no_main]
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|text: &str| {
    if let Ok(index) = checkpoint::parse_index(Path::new("fuzzed"), text) {
        assert!(index.shards.iter().all(|shard| !shard.contains('/') && shard.len() <= 255));
    }
});
