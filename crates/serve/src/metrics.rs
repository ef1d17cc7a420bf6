//! The endpoint `/metrics`, in the Prometheus text format.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use engine::ExpertCacheStats;

use crate::state::AppState;

pub(crate) async fn handle(State(app): State<Arc<AppState>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page(&app))
}

fn page(app: &AppState) -> String {
    let stats = app.model.engine.stats();
    let mut page = MetricsPage::default();
    let by_status: Vec<(String, f64)> = app
        .counters
        .snapshot()
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
        ("requests_in_flight", app.in_flight() as f64, "HTTP requests running or queued."),
        ("requests_running", stats.running as f64, "Requests that have KV blocks."),
        ("requests_queued", stats.queued as f64, "Requests in the engine's queue."),
        ("kv_blocks", stats.kv_blocks as f64, "KV blocks of the cache."),
        ("kv_blocks_used", stats.kv_blocks_used as f64, "KV blocks held by running requests."),
        ("kv_blocks_cached", stats.kv_blocks_cached as f64, "KV blocks kept for prefix reuse."),
        ("kv_bytes", stats.kv_bytes as f64, "Size of the KV cache in bytes."),
        (
            "reply_tokens_per_second",
            stats.reply_tok_s,
            "Reply tokens per second, over the last seconds.",
        ),
        (
            "prompt_tokens_per_second",
            stats.prefill_tok_s,
            "Prompt tokens per second, over the last seconds.",
        ),
    ];
    gauges.iter().for_each(|(name, value, help)| page.one(name, "gauge", help, *value));
    let counters: [(&str, f64, &str); 11] = [
        ("prompt_tokens_computed_total", stats.prefill_tokens as f64, "Prompt tokens computed."),
        (
            "prompt_tokens_cached_total",
            stats.prefix_hit_tokens as f64,
            "Prompt tokens found in the KV cache.",
        ),
        ("reply_tokens_total", stats.reply_tokens as f64, "Reply tokens."),
        ("forced_tokens_total", stats.forced_tokens as f64, "Reply tokens forced by a grammar."),
        (
            "draft_tokens_total",
            stats.draft_tokens as f64,
            "Draft tokens proposed by prompt lookup.",
        ),
        (
            "accepted_draft_tokens_total",
            stats.accepted_draft_tokens as f64,
            "Draft tokens accepted.",
        ),
        ("steps_total", stats.steps as f64, "Forward passes."),
        ("step_seconds_total", stats.step_s, "Seconds spent in engine steps."),
        ("forward_seconds_total", stats.forward_s, "Seconds spent in forward passes."),
        ("preemptions_total", stats.preemptions as f64, "Requests preempted for an older one."),
        ("evictions_total", stats.evictions as f64, "Cached KV blocks evicted."),
    ];
    counters.iter().for_each(|(name, value, help)| page.one(name, "counter", help, *value));
    if let Some(cache) = &stats.expert_cache {
        page.expert_cache(cache);
    }
    page.0
}

#[derive(Default)]
struct MetricsPage(String);

impl MetricsPage {
    /// The cache of routed experts on the disk tier.
    fn expert_cache(&mut self, cache: &ExpertCacheStats) {
        let gauges: [(&str, u64, &str); 2] = [
            ("expert_cache_bytes", cache.capacity_bytes, "Bytes for the cache of experts on disk."),
            ("expert_cache_bytes_used", cache.used_bytes, "Bytes that the cache takes."),
        ];
        gauges.iter().for_each(|(name, value, help)| self.one(name, "gauge", help, *value as f64));
        let rates: [(&str, Option<f64>, &str); 2] = [
            ("expert_cache_hit_rate", cache.hit_rate(), "Share of the bytes found in the cache."),
            (
                "expert_read_bytes_per_token",
                cache.read_bytes_per_token(),
                "Bytes of experts read from disk for a token.",
            ),
        ];
        for (name, value, help) in rates {
            if let Some(value) = value {
                self.one(name, "gauge", help, value);
            }
        }
        let counters: [(&str, u64, &str); 3] = [
            ("expert_tokens_total", cache.tokens, "Tokens of all forward passes."),
            ("expert_bytes_requested_total", cache.requested_bytes, "Bytes of experts used."),
            ("expert_bytes_read_total", cache.read_bytes, "Bytes of experts read from disk."),
        ];
        for (name, value, help) in counters {
            self.one(name, "counter", help, value as f64);
        }
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help, &[(String::new(), value)]);
    }

    /// Appends a metric family. A sample is its labels in braces, such as `{path="/v1/models"}`, or
    /// no text, and its value.
    fn family(&mut self, name: &str, kind: &str, help: &str, samples: &[(String, f64)]) {
        let name = format!("vendomini_{name}");
        // Writing to a `String` cannot fail.
        let _infallible = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _infallible = writeln!(self.0, "{name}{labels} {value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_of_experts_has_rates_once_it_was_used() {
        let mut cache = ExpertCacheStats { capacity_bytes: 1000, ..ExpertCacheStats::default() };
        let mut page = MetricsPage::default();
        page.expert_cache(&cache);
        assert!(page.0.contains("\nvendomini_expert_cache_bytes 1000\n"), "{}", page.0);
        assert!(!page.0.contains("hit_rate"), "{}", page.0);
        (cache.tokens, cache.requested_bytes, cache.read_bytes) = (10, 800, 200);
        let mut page = MetricsPage::default();
        page.expert_cache(&cache);
        for line in [
            "# TYPE vendomini_expert_bytes_read_total counter",
            "vendomini_expert_bytes_read_total 200",
            "vendomini_expert_cache_hit_rate 0.75",
            "vendomini_expert_read_bytes_per_token 20",
        ] {
            assert!(page.0.contains(&format!("{line}\n")), "{line}: {}", page.0);
        }
    }
}
