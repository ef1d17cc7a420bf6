//! Prints the throughput of continuous batching on this machine: constrained replies that share a
//! prefix, 1 and 16 at a time.
//!
//! usage: `cargo run -p engine --release --example batching -- MODEL [REPLIES] [MASK_THREADS]
//! [AT_A_TIME]`
#![allow(clippy::print_stdout, reason = "an example")]

use std::path::Path;
use std::time::{Duration, Instant};

use checkpoint::Checkpoint;
use engine::grammar::Constraint;
use engine::sampling::SamplingParams;
use engine::{Engine, EngineOptions, EngineStats, Request};
use engine::{LoadRequest, load};
use placement::{DeviceMapMode, DtypeChoice, Host, Limits, Machine, MaxMemory, plan};
use serde_json::{Value, json};
use text::Tokenizer;
use watch::Watch;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const AT_A_TIME: usize = 16;
const REPLY_TOKENS: usize = 150;
const WAIT: Duration = Duration::from_secs(300);

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, rest @ ..] = arguments.as_slice() else {
        return Err("usage: batching MODEL [REPLIES] [MASK_THREADS] [AT_A_TIME]".into());
    };
    let number =
        |index: usize, default: usize| rest.get(index).map_or(Ok(default), |word| word.parse());
    let (replies, mask_threads, at_a_time) =
        (number(0, AT_A_TIME)?, number(1, 1)?, number(2, AT_A_TIME)?);
    let checkpoint = Checkpoint::open(Path::new(model))?;
    let tokenizer =
        Tokenizer::from_checkpoint(&checkpoint)?.ok_or("a model without a tokenizer")?;
    for running_max in if at_a_time == 1 { vec![1] } else { vec![1, at_a_time] } {
        let options = EngineOptions {
            tokenizer: Some(tokenizer.clone()),
            eos: checkpoint.generation.eos.clone(),
            running_max,
            mask_threads,
            ..EngineOptions::new(Watch::silent())
        };
        measure(
            &start(&checkpoint, options)?,
            &tokenizer,
            running_max,
            if running_max == 1 { 3 } else { replies },
        )?;
    }
    Ok(())
}

fn start(checkpoint: &Checkpoint, options: EngineOptions) -> Outcome<Engine> {
    let machine =
        Machine { host: Host { total_bytes: 20 << 30, ..Host::default() }, ..Machine::default() };
    let (max_memory, mode, dtype) = (MaxMemory::default(), DeviceMapMode::Cpu, DtypeChoice::Auto);
    let limits = Limits {
        max_memory,
        mode,
        context: 2048,
        concurrency: AT_A_TIME,
        dtype,
        kv_dtype: None,
        disk: false,
    };
    let plan = plan(&checkpoint.config, &checkpoint.inventory, &machine, &limits)?;
    let watch = Watch::silent();
    Ok(Engine::start_loaded(load(LoadRequest::new(checkpoint, &plan, &watch))?, options)?)
}

/// Submits one request first, so that the prefix is cached and the schema is compiled, then all
/// others together, and prints their throughput.
fn measure(
    engine: &Engine,
    tokenizer: &Tokenizer,
    running_max: usize,
    replies: usize,
) -> Outcome<()> {
    engine.submit(Request { max_new_tokens: 2, ..request(tokenizer, 999)? })?.wait(WAIT)?;
    let (before, since) = (engine.stats(), Instant::now());
    let requests =
        (0..replies).map(|number| request(tokenizer, number)).collect::<Outcome<Vec<_>>>()?;
    let handles = requests
        .into_iter()
        .map(|request| engine.submit(request))
        .collect::<Result<Vec<_>, _>>()?;
    for handle in &handles {
        let finished = handle.wait(WAIT)?;
        if !finished.is_complete() {
            return Err(format!("a reply ended with {:?}", finished.reason).into());
        }
    }
    let (seconds, after) = (since.elapsed().as_secs_f64(), engine.stats());
    let tokens = after.reply_tokens - before.reply_tokens;
    let share =
        |part: &dyn Fn(&EngineStats) -> f64| 100.0 * (part(&after) - part(&before)) / seconds;
    let rest =
        |stats: &EngineStats| stats.step_s - stats.forward_s - stats.mask_wait_s - stats.sample_s;
    println!(
        "{running_max} at a time: {replies} replies, {tokens} tokens ({} forced) in {} passes, {seconds:.2} s: {:.1} tok/s; \
         forward {:.1}%, waiting for masks {:.1}%, sampling {:.1}%, the rest of the step {:.1}%",
        after.forced_tokens - before.forced_tokens,
        after.steps - before.steps,
        tokens as f64 / seconds,
        share(&|stats| stats.forward_s),
        share(&|stats| stats.mask_wait_s),
        share(&|stats| stats.sample_s),
        share(&rest),
    );
    Ok(())
}

fn request(tokenizer: &Tokenizer, number: usize) -> Outcome<Request> {
    let rules =
        "You run a small vending business. Each day you may order, price or wait; answer with one card. ".repeat(20);
    let text = format!(
        "<|im_start|>system\n{rules}<|im_end|>\n<|im_start|>user\nDay {number}: {} units of chips are left, and cash is {}.\
         <|im_end|>\n<|im_start|>assistant\n",
        number * 7 % 40,
        number * 131
    );
    let sampling = SamplingParams { top_p: 0.95, ..SamplingParams::at(0.7, number as u64) };
    let constraint = Some(Constraint::JsonSchema(prediction_card()));
    Ok(Request {
        sampling,
        constraint,
        ..Request::new(tokenizer.encode(&text, false)?, REPLY_TOKENS)
    })
}

/// The schema of an agent's prediction card, long enough that most replies reach `REPLY_TOKENS`.
fn prediction_card() -> Value {
    let text = json!({"type": "string", "minLength": 120, "maxLength": 400});
    let number = json!({"type": "integer", "minimum": 0, "maximum": 9999});
    json!({
        "type": "object",
        "properties": {
            "action": {"enum": ["order", "price", "wait"]},
            "arguments": {
                "type": "object",
                "properties": {"sku": {"enum": ["chips", "cola", "water"]}, "quantity": number, "price_cents": number},
                "required": ["sku", "quantity", "price_cents"],
                "additionalProperties": false
            },
            "expected": {
                "type": "object",
                "properties": {"success": {"type": "boolean"}, "cash_cents": number, "delivery_days": number},
                "required": ["success", "cash_cents", "delivery_days"],
                "additionalProperties": false
            },
            "reasoning": text,
            "alternatives": text
        },
        "required": ["action", "arguments", "expected", "reasoning", "alternatives"],
        "additionalProperties": false
    })
}
