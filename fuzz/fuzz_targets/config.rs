//! `config.json`. What is accepted can be turned into modules and tensors.
#![no_main]
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|text: &str| {
    let mut notes = Vec::new();
    if let Ok(config) = checkpoint::parse_config(Path::new("fuzzed"), text, &mut notes) {
        // A model of thousands of layers and experts is sound, and too slow to list a million times.
        if config.layers <= 4 && config.vocab_size < 1 << 20 {
            assert_eq!(checkpoint::modules(&config).len(), config.layers + 3);
        }
    }
});
