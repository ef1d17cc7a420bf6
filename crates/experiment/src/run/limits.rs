//! Usage of tokens, hours and failures, compared with the configured limits.

use crate::config::UsageLimits;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Usage of one command since its start.
#[derive(Debug)]
pub(crate) struct UsageMeter {
    limits: UsageLimits,
    begun: Instant,
    tokens: AtomicU64,
    failures: AtomicU64,
}

impl UsageMeter {
    pub fn new(limits: UsageLimits) -> UsageMeter {
        UsageMeter {
            limits,
            begun: Instant::now(),
            tokens: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    pub fn add_tokens(&self, tokens: u64) {
        self.tokens.fetch_add(tokens, Ordering::Relaxed);
    }

    pub fn add_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Message about the limit that the command has reached; `None` if it has reached none.
    pub fn reached(&self) -> Option<String> {
        let (tokens, failures) =
            (self.tokens.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed));
        at_limit("limits.tokens", tokens as f64, self.limits.tokens.map(|max| max as f64))
            .or_else(|| at_limit("limits.hours", hours_since(self.begun), self.limits.hours))
            .or_else(|| {
                let max = self.limits.failures.map(|max| max as f64);
                at_limit("limits.failures", failures as f64, max)
            })
    }

    /// Message about the limit that a single run has reached, given its tokens and the start of the
    /// attempt; `None` if it has reached none.
    pub fn run_reached(&self, tokens: u64, begun: Instant) -> Option<String> {
        at_limit("limits.run_tokens", tokens as f64, self.limits.run_tokens.map(|max| max as f64))
            .or_else(|| at_limit("limits.run_hours", hours_since(begun), self.limits.run_hours))
    }
}

fn hours_since(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() / 3600.0
}

fn at_limit(key: &str, used: f64, max: Option<f64>) -> Option<String> {
    max.filter(|max| used >= *max).map(|max| format!("{key}: {max} is reached"))
}
