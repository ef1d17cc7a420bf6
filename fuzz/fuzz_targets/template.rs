//! Fuzzes the text of chat templates: compilation, the probes of their features, and rendering, on
//! a thread with the stack of the server's threads.
#![no_main]
use libfuzzer_sys::fuzz_target;
use std::path::Path;
use text::{ChatTemplate, TemplateMessage, TemplateSource};

/// Rust's default, which tokio's blocking threads have, too.
const STACK_BYTES: usize = 2 << 20;

fuzz_target!(|text: &str| {
    let source = TemplateSource { default: text.to_owned(), ..TemplateSource::default() };
    let run = move || {
        let Ok(template) = ChatTemplate::new(Path::new("fuzzed"), source) else { return };
        let messages = [TemplateMessage::new("system", "S"), TemplateMessage::new("user", "U")];
        drop(template.prompt(&messages, None, true));
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run);
    thread.expect("a thread").join().expect("no panic");
});
