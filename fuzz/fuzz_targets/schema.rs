//! Fuzzes the compilation of JSON schemas of requests, and the first steps under them, on a thread
//! with the stack of the server's threads.
#![no_main]
use checkpoint::Family;
use engine::grammar::{Constraint, GrammarCompiler, GrammarSettings};
use libfuzzer_sys::fuzz_target;
use std::path::Path;
use std::sync::OnceLock;
use text::Tokenizer;

/// The end token of the golden tokenizer.
const END: u32 = 381;
/// Rust's default, which tokio's blocking threads have, too.
const STACK_BYTES: usize = 2 << 20;

fn compiler() -> &'static GrammarCompiler {
    static COMPILER: OnceLock<GrammarCompiler> = OnceLock::new();
    COMPILER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/text");
        let tokenizer = Tokenizer::from_folder(&folder, Family::Llama).expect("valid");
        let tokenizer = tokenizer.expect("a tokenizer");
        GrammarCompiler::new(&tokenizer, &[END], GrammarSettings::default()).expect("a compiler")
    })
}

fuzz_target!(|text: &str| {
    let Ok(schema) = serde_json::from_str(text) else { return };
    let run = move || {
        let Ok(compiled) = compiler().compile(&Constraint::JsonSchema(schema)) else { return };
        let mut matcher = compiled.matcher();
        for _ in 0..4 {
            let Ok(forced) = matcher.take_forced() else { return };
            if matcher.is_complete() || (forced.is_empty() && matcher.compute_mask().is_err()) {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run);
    thread.expect("a thread").join().expect("no panic");
});
