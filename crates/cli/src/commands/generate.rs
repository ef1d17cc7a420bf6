use crate::args::GenerateArgs;
use crate::failure::{Failure, exit};
use crate::output;
use crate::session::{self, Session};
use engine::constrain::Grammars;
use engine::sample::Sampling;
use engine::schedule::{Engine, EngineOptions, Event, Finish, Finished, Request, Ticket};
use serde::Serialize;
use std::io::{Read, Write};
use std::time::Duration;
use text::{Message, StreamDecoder};
use watch::{Stage, Watch};

/// A reply may take this long, in seconds; stalls end it sooner.
const DEADLINE_S: f64 = 86_400.0;

/// What `generate --json` prints.
#[derive(Serialize)]
struct Document {
    text: String,
    tokens: Vec<u32>,
    prompt_tokens: usize,
    finish_reason: &'static str,
    decode_tok_s: f64,
}

/// `vendomini generate`: continues a text, or answers a message.
pub fn run(args: &GenerateArgs, watch: &Watch) -> Result<u8, Failure> {
    let schema = args.json_schema.as_deref().map(read_schema).transpose()?;
    let session = session::bring_up(&args.bring_up, watch)?;
    let request = request(args, &session, schema)?;
    let tokenizer = session.tokenizer()?.clone();
    let vocab = session.checkpoint.config.vocab_size;
    let grammars = match (&request.schema, request.stop_tokens.first()) {
        (Some(_), Some(eos)) => {
            Some(Grammars::new(&tokenizer, vocab, *eos).map_err(|e| Failure::new(65, e.to_string()))?)
        }
        _ => None,
    };
    let options = EngineOptions { running_max: 1, waiting_max: 1 };
    let engine = Engine::start(session.loaded, grammars, options, watch);
    let engine = engine.map_err(|e| Failure::io("cannot start the engine's thread", &e))?;
    let _stage = watch.enter(Stage::Generate);
    let ticket = engine.submit(request).map_err(|e| Failure::usage(e.to_string()))?;
    let mut stream = (!args.json).then(|| StreamDecoder::new(tokenizer.clone()));
    let end = listen(&ticket, watch, &mut stream)?;
    if !args.json {
        output::line(&stream.map(|mut s| s.finish()).unwrap_or_default())?;
        return Ok(0);
    }
    let text = tokenizer.decode(&end.tokens, true)?;
    // The first token comes with the prompt; the rest are decoded.
    let decode_tok_s = end.tokens.len().saturating_sub(1) as f64 / end.decode_s.max(1e-9);
    let finish_reason = if end.finish == Finish::Stop { "stop" } else { "length" };
    output::json(&Document {
        text,
        tokens: end.tokens,
        prompt_tokens: end.prompt_tokens,
        finish_reason,
        decode_tok_s,
    })?;
    Ok(0)
}

fn listen(ticket: &Ticket, watch: &Watch, stream: &mut Option<StreamDecoder>) -> Result<Finished, Failure> {
    loop {
        if watch.cancelled() {
            return Err(Failure::new(130, "interrupted"));
        }
        match ticket.next(Duration::from_millis(50)) {
            None => {}
            Some(Event::Finished(end)) => return end.map_err(|e| Failure::new(exit::SOFTWARE, e.to_string())),
            Some(Event::Tokens(tokens)) => {
                let Some(stream) = stream else { continue };
                let mut out = std::io::stdout().lock();
                for token in tokens {
                    let piece = stream.push(token)?;
                    out.write_all(piece.as_bytes()).map_err(|e| Failure::io("cannot write to stdout", &e))?;
                }
                out.flush().map_err(|e| Failure::io("cannot write to stdout", &e))?;
            }
        }
    }
}

fn request(args: &GenerateArgs, session: &Session, schema: Option<serde_json::Value>) -> Result<Request, Failure> {
    let tokenizer = session.tokenizer()?;
    let mut text = args.prompt.clone();
    if text == "-" {
        text.clear();
        std::io::stdin().read_to_string(&mut text).map_err(|e| Failure::io("cannot read stdin", &e))?;
    }
    let prompt = if args.chat {
        let mut messages: Vec<Message> = args.system.iter().map(|s| Message::new("system", s)).collect();
        messages.push(Message::new("user", text));
        tokenizer.encode(&session.template()?.render(&messages, None, true)?, false)?
    } else {
        tokenizer.encode(&text, true)?
    };
    Ok(Request {
        prompt,
        sampling: Sampling {
            temperature: args.temperature,
            top_p: args.top_p,
            top_k: Some(args.top_k).filter(|k| *k > 0),
            seed: args.seed,
            ..Sampling::default()
        },
        schema,
        stop_tokens: session.checkpoint.generation.eos.clone(),
        max_new_tokens: args.max_new_tokens,
        deadline_s: DEADLINE_S,
    })
}

fn read_schema(file: &std::path::Path) -> Result<serde_json::Value, Failure> {
    let name = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|e| Failure::new(exit::NO_INPUT, format!("--json-schema {name}: {e}")))?;
    serde_json::from_str(&text)
        .map_err(|e| Failure::usage(format!("--json-schema {name}: expected a JSON schema, found: {e}")))
}
