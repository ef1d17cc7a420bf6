//! Prints the speed of loading, prefill and decoding of a model on this machine.
//!
//! usage: `cargo run -p engine --release --example speed -- MODEL [auto|bf16|f16|f32|int8]
//! [copy|map] [THREADS]`
#![allow(clippy::print_stdout, reason = "an example")]

use std::path::Path;
use std::time::Instant;

use checkpoint::Checkpoint;
use engine::{BLOCK_TOKENS, Batch, BlockId, LoadRequest, Loaded, SequenceSpan, load};
use placement::{DeviceMapMode, DtypeChoice, Host, Limits, Machine, MaxMemory, plan};
use watch::Watch;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const PROMPT_TOKENS: usize = 512;
const DECODE_TOKENS: usize = 64;
const BATCH: usize = 8;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, rest @ ..] = arguments.as_slice() else {
        return Err("usage: speed MODEL [auto|bf16|f16|f32|int8] [copy|map] [THREADS]".into());
    };
    let dtype = DtypeChoice::parse(rest.first().map_or("auto", String::as_str))?;
    let file_maps = rest.get(1).is_some_and(|word| word == "map");
    let threads = rest.get(2).map(|word| word.parse()).transpose()?;
    let since = Instant::now();
    let checkpoint = Checkpoint::open(Path::new(model))?;
    let machine =
        Machine { host: Host { total_bytes: 20 << 30, ..Host::default() }, ..Machine::default() };
    let (max_memory, mode) = (MaxMemory::default(), DeviceMapMode::Cpu);
    let limits = Limits {
        max_memory,
        mode,
        context: 1024,
        concurrency: BATCH,
        dtype,
        kv_dtype: None,
        disk: false,
    };
    let plan = plan(&checkpoint.config, &checkpoint.inventory, &machine, &limits)?;
    let watch = Watch::silent();
    let mut loaded =
        load(LoadRequest { file_maps, threads, ..LoadRequest::new(&checkpoint, &plan, &watch) })?;
    println!("ready to decode after {:.3} s", since.elapsed().as_secs_f64());
    println!("{}", serde_json::to_string_pretty(&loaded.report)?);
    prefill(&mut loaded)?;
    let weights_bytes = plan.weights_bytes as f64;
    for sequences in [1, BATCH] {
        let tok_s = decode(&mut loaded, sequences)?;
        let bandwidth = tok_s / sequences as f64 * weights_bytes / 1e9;
        println!(
            "decode, {sequences} sequences: {tok_s:.1} tok/s ({bandwidth:.1} GB/s of weights)"
        );
    }
    Ok(())
}

/// Prints the speed of a prefill, best of three.
fn prefill(loaded: &mut Loaded) -> Outcome<()> {
    let table = loaded.kv.alloc_many(PROMPT_TOKENS.div_ceil(BLOCK_TOKENS))?;
    let tokens: Vec<u32> = (0..PROMPT_TOKENS as u32).map(|i| 5 + i * 7 % 90).collect();
    let mut best_s = f64::INFINITY;
    for _ in 0..3 {
        let since = Instant::now();
        let span = SequenceSpan { rows: 0..PROMPT_TOKENS, first_position: 0, block_table: &table };
        let batch = Batch { tokens: &tokens, sequences: &[span], logits_for: &[PROMPT_TOKENS - 1] };
        loaded.model.forward(&batch, &mut loaded.kv, &mut loaded.scratch)?;
        best_s = best_s.min(since.elapsed().as_secs_f64());
    }
    println!("prefill of {PROMPT_TOKENS}: {:.1} tok/s", PROMPT_TOKENS as f64 / best_s);
    for block in table {
        loaded.kv.release(block);
    }
    Ok(())
}

/// Tokens per second of all sequences together, best of three.
fn decode(loaded: &mut Loaded, sequences: usize) -> Outcome<f64> {
    let blocks = DECODE_TOKENS.div_ceil(BLOCK_TOKENS);
    let tables: Vec<Vec<BlockId>> =
        (0..sequences).map(|_| loaded.kv.alloc_many(blocks)).collect::<Result<_, _>>()?;
    let rows: Vec<usize> = (0..sequences).collect();
    let mut best_s = f64::INFINITY;
    for _ in 0..3 {
        let mut tokens: Vec<u32> = (0..sequences as u32).map(|i| 10 + i).collect();
        let since = Instant::now();
        for position in 0..DECODE_TOKENS {
            let span = |(row, table)| SequenceSpan {
                rows: row..row + 1,
                first_position: position,
                block_table: table,
            };
            let spans: Vec<SequenceSpan> =
                tables.iter().map(Vec::as_slice).enumerate().map(span).collect();
            let batch = Batch { tokens: &tokens, sequences: &spans, logits_for: &rows };
            let logits = loaded.model.forward(&batch, &mut loaded.kv, &mut loaded.scratch)?;
            let next: Vec<u32> = (0..sequences).map(|index| best(logits.row(index))).collect();
            tokens.copy_from_slice(&next);
        }
        best_s = best_s.min(since.elapsed().as_secs_f64());
    }
    for block in tables.into_iter().flatten() {
        loaded.kv.release(block);
    }
    Ok((sequences * DECODE_TOKENS) as f64 / best_s)
}

fn best(row: &[f32]) -> u32 {
    let best = row
        .iter()
        .enumerate()
        .fold((0, f32::NEG_INFINITY), |best, (id, &x)| if x > best.1 { (id, x) } else { best });
    best.0 as u32
}
