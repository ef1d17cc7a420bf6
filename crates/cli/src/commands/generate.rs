//! `vendomini generate`: continues a text, or answers a chat message.

use crate::args::GenerateArgs;
use crate::failure::Failure;
use crate::output;
use crate::session::{self, Session, TextNeed};
use engine::grammar::{Constraint, GrammarSettings};
use engine::sampling::SamplingParams;
use engine::{
    Completion, DraftStats, Engine, EngineOptions, FinishReason, Request, ResponseEvent,
    ResponseHandle, WaitError,
};
use error_kind::ErrorKind;
use serde::Serialize;
use std::io::Read;
use std::time::Duration;
use text::TemplateMessage;
use watch::{Stage, Watch};

/// Interval at which the command checks whether it was canceled.
const POLL: Duration = Duration::from_millis(50);

/// The JSON document that `--json` prints.
#[derive(Serialize)]
struct GenerateDocument {
    text: String,
    tokens: Vec<u32>,
    prompt_tokens: usize,
    finish_reason: &'static str,
    decode_tok_s: f64,
    /// Draft statistics; `None` without prompt lookup.
    #[serde(skip_serializing_if = "Option::is_none")]
    drafts: Option<DraftStats>,
    /// Settings and results of constrained decoding; `None` without a schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    constrained: Option<ConstrainedDecoding>,
}

#[derive(Serialize)]
struct ConstrainedDecoding {
    #[serde(flatten)]
    settings: GrammarSettings,
    forced_tokens: usize,
}

pub fn run(args: &GenerateArgs, watch: &Watch) -> Result<u8, Failure> {
    let schema = args.json_schema.as_deref().map(read_schema).transpose()?;
    let need = match args.chat && args.chat_template.is_none() {
        true => TextNeed::ChatTemplate,
        false => TextNeed::Tokenizer,
    };
    let mut session = session::bring_up(&args.bring_up, need, watch)?;
    session.replace_template(args.chat_template.as_deref())?;
    let request = request(args, &session, schema)?;
    let tokenizer = session.tokenizer()?.clone();
    let grammar =
        GrammarSettings { canonical_tokens: args.canonical_tokens, ..GrammarSettings::default() };
    let options = EngineOptions {
        tokenizer: Some(tokenizer.clone()),
        eos: session.checkpoint.generation.eos.clone(),
        grammar,
        running_max: 1,
        prompt_lookup: args.prompt_lookup,
        ..EngineOptions::new(watch.clone())
    };
    let is_constrained = request.constraint.is_some();
    let engine = Engine::start_loaded(session.loaded, options)?;
    let _stage = watch.enter(Stage::Generate);
    let response = engine.submit(request)?;
    let completion = wait(&response, watch, !args.json)?;
    let finish_reason = match completion.reason {
        FinishReason::Length => "length",
        FinishReason::Error(cause) => return Err(cause.into()),
        FinishReason::Canceled => return Err(Failure::new(ErrorKind::Interrupted, "interrupted")),
        _ => "stop",
    };
    if !args.json {
        output::line("")?;
        return Ok(0);
    }
    // The prompt's forward pass gives the first token; only the other tokens count as decoded.
    let decode_s = completion.first_token_s.map_or(0.0, |first_s| completion.seconds - first_s);
    let decode_tok_s = completion.reply.tokens.len().saturating_sub(1) as f64 / decode_s.max(1e-9);
    output::json(&GenerateDocument {
        // A stop string may end the text inside a token, so that decoding all tokens would give
        // more text.
        text: if args.stop.is_empty() {
            tokenizer.decode(&completion.reply.tokens, true)?
        } else {
            completion.reply.text
        },
        tokens: completion.reply.tokens,
        prompt_tokens: completion.prompt_tokens,
        finish_reason,
        decode_tok_s,
        drafts: args.prompt_lookup.then_some(completion.drafts),
        constrained: is_constrained.then(|| ConstrainedDecoding {
            settings: engine.grammar_settings(),
            forced_tokens: completion.forced_tokens,
        }),
    })?;
    Ok(0)
}

/// Waits for the whole reply. With `print`, writes its text to stdout as it is generated.
fn wait(response: &ResponseHandle, watch: &Watch, print: bool) -> Result<Completion, Failure> {
    loop {
        if watch.canceled() {
            return Err(Failure::new(ErrorKind::Interrupted, "interrupted"));
        }
        match response.next(POLL) {
            Ok(ResponseEvent::Completion(completion)) => return Ok(completion),
            Ok(ResponseEvent::Delta(delta)) if print => output::part(&delta.text)?,
            Ok(ResponseEvent::Delta(_)) | Err(WaitError::Timeout { .. }) => {}
            Err(other) => return Err(other.into()),
        }
    }
}

fn request(
    args: &GenerateArgs,
    session: &Session,
    schema: Option<serde_json::Value>,
) -> Result<Request, Failure> {
    let tokenizer = session.tokenizer()?;
    let mut text = args.prompt.clone();
    if text == "-" {
        text.clear();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|e| Failure::io("cannot read stdin", &e))?;
    }
    let prompt = if args.chat {
        let mut messages: Vec<TemplateMessage> =
            args.system.iter().map(|s| TemplateMessage::new("system", s)).collect();
        messages.push(TemplateMessage::new("user", text));
        tokenizer.encode(&session.template()?.prompt(&messages, None, true)?, false)?
    } else {
        tokenizer.encode(&text, true)?
    };
    Ok(Request {
        sampling: SamplingParams {
            temperature: args.temperature,
            top_p: args.top_p,
            top_k: Some(args.top_k).filter(|k| *k > 0),
            seed: args.seed,
            ..SamplingParams::default()
        },
        constraint: schema.map(Constraint::JsonSchema),
        stop_strings: args.stop.clone(),
        ..Request::new(prompt, args.max_new_tokens)
    })
}

fn read_schema(file: &std::path::Path) -> Result<serde_json::Value, Failure> {
    let name = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|e| Failure::new(ErrorKind::NotFound, format!("--json-schema {name}: {e}")))?;
    serde_json::from_str(&text).map_err(|e| {
        Failure::usage(format!("--json-schema {name}: expected a JSON schema, found: {e}"))
    })
}
