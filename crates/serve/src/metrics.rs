//! `/metrics`, in Prometheus' text form.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use crate::app::App;

/// What the server counts itself; the rest comes from the engine.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// By address and status.
    requests: Mutex<BTreeMap<(String, u16), u64>>,
}

impl Counters {
    pub fn count(&self, path: &str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((path.to_owned(), status)).or_default() += 1;
    }
}

pub(crate) async fn handle(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page(&app))
}

fn page(app: &App) -> String {
    let stats = app.served.engine.stats();
    let mut page = Page::default();
    let requests = app.counters.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let by_status: Vec<(String, f64)> = requests
        .iter()
        .map(|((path, status), count)| {
            (format!("{{path=\"{path}\",status=\"{status}\"}}"), *count as f64)
        })
        .collect();
    page.family("requests_total", "counter", "HTTP requests answered.", &by_status);
    let by_reason: Vec<(String, f64)> = stats
        .finished
        .iter()
        .map(|(reason, count)| (format!("{{reason=\"{reason}\"}}"), *count as f64))
        .collect();
    page.family("replies_total", "counter", "Replies that ended, by reason.", &by_reason);
    let gauges: [(&str, f64, &str); 9] = [
        ("requests_in_flight", app.in_flight() as f64, "HTTP requests in work or waiting."),
        ("requests_running", stats.running as f64, "Requests that have KV blocks."),
        ("requests_queued", stats.queued as f64, "Requests that wait in the engine's queue."),
        ("kv_blocks", stats.kv_blocks as f64, "Blocks of the KV cache."),
        ("kv_blocks_used", stats.kv_blocks_used as f64, "KV blocks that running requests hold."),
        ("kv_blocks_cached", stats.kv_blocks_cached as f64, "KV blocks kept for equal prefixes."),
        ("kv_bytes", stats.kv_bytes as f64, "Bytes of the KV cache, all blocks."),
        (
            "reply_tokens_per_second",
            stats.reply_tok_s,
            "Tokens of replies a second, over the last seconds.",
        ),
        (
            "prompt_tokens_per_second",
            stats.prefill_tok_s,
            "Tokens of prompts a second, over the last seconds.",
        ),
    ];
    gauges.iter().for_each(|(name, value, help)| page.one(name, "gauge", help, *value));
    let counters: [(&str, f64, &str); 11] = [
        (
            "prompt_tokens_computed_total",
            stats.prefill_tokens as f64,
            "Tokens of prompts that were computed.",
        ),
        (
            "prompt_tokens_cached_total",
            stats.prefix_hit_tokens as f64,
            "Tokens of prompts found in the KV cache.",
        ),
        ("reply_tokens_total", stats.reply_tokens as f64, "Tokens of replies."),
        (
            "forced_tokens_total",
            stats.forced_tokens as f64,
            "Tokens of replies that a form forced.",
        ),
        (
            "draft_tokens_total",
            stats.draft_tokens as f64,
            "Tokens of replies that prompt lookup guessed.",
        ),
        (
            "accepted_draft_tokens_total",
            stats.accepted_draft_tokens as f64,
            "Guessed tokens that became replies.",
        ),
        ("steps_total", stats.steps as f64, "Forward passes."),
        ("step_seconds_total", stats.step_s, "Seconds at work."),
        ("forward_seconds_total", stats.forward_s, "Seconds in forward passes."),
        (
            "preemptions_total",
            stats.preemptions as f64,
            "Requests that lost their KV blocks to an older one.",
        ),
        ("evictions_total", stats.evictions as f64, "Cached KV blocks given up."),
    ];
    counters.iter().for_each(|(name, value, help)| page.one(name, "counter", help, *value));
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help, &[(String::new(), value)]);
    }

    /// A metric with its samples; each has its labels, braces and all.
    fn family(&mut self, name: &str, kind: &str, help: &str, samples: &[(String, f64)]) {
        let name = format!("vendomini_{name}");
        // Writing to a String does not fail.
        let _infallible = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _infallible = writeln!(self.0, "{name}{labels} {value}");
        }
    }
}
