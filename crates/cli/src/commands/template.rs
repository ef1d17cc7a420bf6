//! `vendomini template`: renders a conversation with a model's chat template.

use crate::args::TemplateArgs;
use crate::failure::Failure;
use crate::output;
use crate::session;
use error_kind::ErrorKind;
use serde::Serialize;
use serde_json::{Value, json};
use std::io::Read;
use text::TemplateFeatures;
use watch::Watch;

/// The JSON document that `--json` prints.
#[derive(Serialize)]
struct TemplateDocument {
    text: String,
    tokens: Vec<u32>,
    /// Which parts of a conversation the template renders; the others become text of messages.
    renders: TemplateFeatures,
}

pub fn run(args: &TemplateArgs, watch: &Watch) -> Result<u8, Failure> {
    let request = read(&args.conversation)?;
    let checkpoint = session::open(&args.model, watch)?;
    let template = session::template(&checkpoint, args.chat_template.as_deref())?;
    let text = serve::render_chat(request, &template, !args.no_generation_prompt)
        .map_err(|why| Failure::new(ErrorKind::BadInput, format!("{}: {why}", source(args))))?;
    let tokens = session::tokenizer(&checkpoint)?.encode(&text, false)?;
    if args.json {
        let renders = template.features();
        output::json(&TemplateDocument { text, tokens, renders })?;
        return Ok(0);
    }
    output::line(&text)?;
    let ids: Vec<String> = tokens.iter().map(u32::to_string).collect();
    output::line(&format!("{} tokens: {}", ids.len(), ids.join(",")))?;
    Ok(0)
}

fn source(args: &TemplateArgs) -> &str {
    if args.conversation == "-" { "stdin" } else { &args.conversation }
}

/// Reads a conversation: the body of a chat request, or its messages alone.
fn read(file: &str) -> Result<Value, Failure> {
    let text = if file == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|e| Failure::io("cannot read stdin", &e))?;
        text
    } else {
        std::fs::read_to_string(file).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Failure::new(ErrorKind::NotFound, format!("{file}: {e}"))
            }
            _ => Failure::io(file, &e),
        })?
    };
    let wrong = |why: String| {
        let text =
            format!("expected a list of messages or a chat request as JSON in {file}, found {why}");
        Failure::new(ErrorKind::BadInput, text)
    };
    match serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))? {
        messages @ Value::Array(_) => Ok(json!({"messages": messages})),
        request @ Value::Object(_) => Ok(request),
        other => Err(wrong(other.to_string())),
    }
}
