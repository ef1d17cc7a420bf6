//! Fuzzes bodies of chat requests, from JSON to the prompt, on a thread with the stack of the
//! server's threads.
#![no_main]
use libfuzzer_sys::fuzz_target;
use std::path::Path;
use std::sync::OnceLock;
use text::{ChatTemplate, TemplateSource};

/// Rust's default, which tokio's blocking threads have, too.
const STACK_BYTES: usize = 2 << 20;

/// Renders tools by a macro that calls itself, as those of real models do, and refuses a system
/// message that is not the first.
const TEMPLATE: &str = "{% macro kind(s) %}{{ s.type }}{% if s.properties %}{% for k, v in s.properties.items() %}{{ k }}: {{ kind(v) }}\
    {% endfor %}{% endif %}{% endmacro %}{% for t in tools or [] %}{{ t.function.name }}{{ kind(t.function.parameters) }}{{ t | tojson }}{% endfor %}\
    {% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('system') }}{% endif %}<{{ m.role }}>{{ m.content }}\
    {% for c in m.tool_calls or [] %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}";

fn template() -> &'static ChatTemplate {
    static TEMPLATES: OnceLock<ChatTemplate> = OnceLock::new();
    TEMPLATES.get_or_init(|| {
        let source = TemplateSource { default: TEMPLATE.to_owned(), ..TemplateSource::default() };
        ChatTemplate::new(Path::new("fuzzed"), source).expect("a valid template")
    })
}

fuzz_target!(|body: &[u8]| {
    let Ok(request) = serde_json::from_slice(body) else { return };
    let run = move || drop(serve::render_chat(request, template(), true));
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run);
    thread.expect("a thread").join().expect("no panic");
});
