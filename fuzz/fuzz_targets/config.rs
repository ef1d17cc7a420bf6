//! Fuzzes the parser of `config.json`: an accepted configuration has all of its modules.
#![no_main]
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|text: &str| {
    let mut notes = Vec::new();
    if let Ok(config) = checkpoint::parse_config(Path::new("fuzzed"), text, &mut notes) {
        // Larger models are valid, but too slow to list in every iteration.
        if config.layers <= 4 && config.vocab_size < 1 << 20 {
            assert_eq!(checkpoint::modules(&config).len(), config.layers + 3);
        }
    }
});
