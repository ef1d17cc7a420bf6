//! `vendomini bench`: measures loading, prefill and decoding, and compares them with this machine's
//! limits.

use crate::args::BenchArgs;
use crate::failure::Failure;
use crate::load_text;
use crate::output;
use crate::session::{self, TextNeed};
use engine::bench::{
    BenchOptions, BenchReport, SpeedFigure, StepsOptions, StepsReport, bench, bench_steps,
};
use error_kind::ErrorKind;
use placement::{Tier, short_text};
use serde::{Deserialize, Serialize};
use std::path::Path;
use watch::{Stage, Watch};

/// The JSON document that `--json` prints and `--save` writes.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct BenchDocument {
    schema_version: u32,
    model: String,
    /// The copy on the local disk that was loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    staged: Option<String>,
    model_class: String,
    dtype: String,
    /// dtype of the KV cache.
    #[serde(default)]
    kv_dtype: String,
    kernel_set: String,
    threads: usize,
    host: String,
    /// Seconds from the plan to the loaded model, without the smoke test.
    load_s: f64,
    load_bytes_per_s: f64,
    /// Bytes of weights that stay on disk, which the limits do not count.
    #[serde(default)]
    on_disk_bytes: u64,
    #[serde(flatten)]
    report: BenchReport,
    /// The result of `--steps`; `None` without that option.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    steps: Option<StepsReport>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    compared: Vec<FigureComparison>,
}

/// A measured figure compared with the same figure of an earlier document.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct FigureComparison {
    name: String,
    earlier_tok_s: f64,
    tok_s: f64,
    ratio: f64,
    /// This run's share of its machine's limit divided by the earlier run's share of its machine's
    /// limit: comparable even between different machines.
    share_ratio: f64,
}

pub fn run(mut args: BenchArgs, watch: &Watch) -> Result<u8, Failure> {
    let earlier = args.compare.as_deref().map(read).transpose()?;
    if args.prompt_tokens == 0
        || args.new_tokens < 2
        || args.rounds == 0
        || args.batches.contains(&0)
    {
        return Err(Failure::usage(
            "bench: expected --prompt-tokens, --rounds and --batches of 1 or more and --new-tokens of 2 or more",
        ));
    }
    if args.steps > 0 && args.step_tokens < 4 {
        return Err(Failure::usage(
            "bench: expected --step-tokens of 4 or more, of which a quarter is decoded",
        ));
    }
    let placement = &mut args.bring_up.placement;
    let tokens = (args.prompt_tokens + args.new_tokens).max(args.steps * args.step_tokens);
    placement.context = placement.context.or(Some(tokens));
    placement.concurrency =
        placement.concurrency.max(args.batches.iter().copied().max().unwrap_or(1));
    let mut session = session::bring_up(&args.bring_up, TextNeed::Nothing, watch)?;
    let _stage = watch.enter(Stage::Bench);
    let options = BenchOptions {
        prompt_tokens: args.prompt_tokens,
        new_tokens: args.new_tokens,
        batches: args.batches.clone(),
        rounds: args.rounds,
        threads: args.bring_up.threads,
    };
    let report = bench(&mut session.loaded, &session.checkpoint.inventory, &options, watch)?;
    let load = &session.loaded.report;
    let load_s =
        load.stages.iter().filter(|s| s.stage != Stage::SmokeTest).map(|s| s.seconds).sum();
    let on_disk = load.tiers.iter().filter(|tier| tier.tier == Tier::Disk);
    let on_disk_bytes: u64 = on_disk.map(|tier| tier.weights_bytes).sum();
    let loaded_bytes = session.checkpoint.inventory.weights_bytes() - on_disk_bytes;
    let host =
        std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    let mut document = BenchDocument {
        schema_version: output::SCHEMA_VERSION,
        model: session.source.display().to_string(),
        staged: session.staged.as_ref().map(|staged| staged.root.display().to_string()),
        model_class: load.model_class.clone(),
        dtype: load.dtype.clone(),
        kv_dtype: session.ladder.plan.kv_dtype.to_owned(),
        kernel_set: load.kernel_set.to_owned(),
        threads: load.threads,
        host,
        load_s,
        load_bytes_per_s: loaded_bytes as f64 / load_s,
        on_disk_bytes,
        compared: earlier.iter().flat_map(|earlier| compare(&earlier.report, &report)).collect(),
        report,
        steps: None,
    };
    if args.steps > 0 {
        let reply_tokens = args.step_tokens / 4;
        let options = StepsOptions {
            steps: args.steps,
            prompt_tokens: args.step_tokens - reply_tokens,
            reply_tokens,
        };
        document.steps = Some(bench_steps(session.loaded, &options, watch)?);
    }
    let text = serde_json::to_string_pretty(&document)
        .map_err(|e| Failure::software(format!("JSON: {e}")))?;
    if let Some(file) = &args.save {
        std::fs::write(file, format!("{text}\n"))
            .map_err(|e| Failure::io(&format!("cannot write {}", file.display()), &e))?;
    }
    if args.json {
        output::line(&text)?
    } else {
        print(&document)?
    }
    Ok(0)
}

fn read(file: &Path) -> Result<BenchDocument, Failure> {
    let name = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|e| Failure::new(ErrorKind::NotFound, format!("--compare {name}: {e}")))?;
    serde_json::from_str(&text).map_err(|e| {
        Failure::usage(format!("--compare {name}: expected a document of bench --save, found: {e}"))
    })
}

fn compare(earlier: &BenchReport, now: &BenchReport) -> Vec<FigureComparison> {
    let pair = |figure: &SpeedFigure| {
        let before = earlier.figures.iter().find(|f| f.name == figure.name)?;
        Some(FigureComparison {
            name: figure.name.clone(),
            earlier_tok_s: before.tok_s,
            tok_s: figure.tok_s,
            ratio: figure.tok_s / before.tok_s,
            share_ratio: figure.share / before.share,
        })
    };
    now.figures.iter().filter_map(pair).collect()
}

fn print(d: &BenchDocument) -> Result<(), Failure> {
    let r = &d.report;
    output::line(&format!(
        "{} {}, {} kernels on {} threads: memory read {:.1} GB/s, {} products {:.0} GOP/s, {:.3} GB of weights per pass",
        d.model_class,
        d.dtype,
        d.kernel_set,
        d.threads,
        r.read_bytes_per_s / 1e9,
        r.dot,
        r.dot_ops_per_s / 1e9,
        r.weights_read_bytes / 1e9
    ))?;
    output::line(&format!(
        "{:<14} {:>10.3} s {:>23.2} GB/s",
        "load",
        d.load_s,
        d.load_bytes_per_s / 1e9
    ))?;
    output::line(&format!(
        "{:<14} {:>12} {:>12} {:>12} {:>7}  bound by",
        "", "tok/s", "best", "limit", "share"
    ))?;
    for f in &r.figures {
        output::line(&format!(
            "{:<14} {:>12.1} {:>12.1} {:>12.1} {:>6.0}%  {}",
            f.name,
            f.tok_s,
            f.best_tok_s,
            f.limit_tok_s,
            100.0 * f.share,
            bound(f)
        ))?;
        if let Some(cache) = &f.expert_cache {
            let bytes = short_text(cache.used_bytes);
            output::line(&format!("  {}", load_text::expert_cache_line(cache, bytes)))?;
        }
    }
    if d.on_disk_bytes > 0 {
        output::line(&format!(
            "{} of the weights are on disk; the limits are those of memory and arithmetic",
            short_text(d.on_disk_bytes)
        ))?;
    }
    output::line(&format!("TTFT {:.3} s, TPOT {:.2} ms", r.ttft_s, 1e3 * r.tpot_s))?;
    if let Some(steps) = &d.steps {
        print_steps(steps)?;
    }
    for c in &d.compared {
        output::line(&format!(
            "{:<14} {:>12.1} tok/s, earlier {:.1}: ratio {:.2}; ratio of shares of the limit {:.2}",
            c.name, c.tok_s, c.earlier_tok_s, c.ratio, c.share_ratio
        ))?;
    }
    Ok(())
}

/// The resource that limits a figure; for memory, with the bandwidth that was reached.
fn bound(figure: &SpeedFigure) -> String {
    if figure.bound_by == "memory" {
        format!("memory at {:.1} GB/s", figure.read_bytes_per_s / 1e9)
    } else {
        figure.bound_by.clone()
    }
}

fn print_steps(s: &StepsReport) -> Result<(), Failure> {
    output::line(&format!(
        "{} steps of {} + {} tokens: first step {:.2} ms, last {:.2} ms; {} of {} prompt tokens were computed",
        s.steps,
        s.prompt_tokens,
        s.reply_tokens,
        1e3 * s.first_step_s,
        1e3 * s.last_step_s,
        s.computed_tokens,
        s.submitted_tokens
    ))?;
    for point in &s.curve {
        output::line(&format!(
            "step {:>6} {:>8} tokens of history {:>10.2} ms",
            point.step,
            point.history_tokens,
            1e3 * point.step_s
        ))?;
    }
    Ok(())
}
