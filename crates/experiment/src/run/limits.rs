//! UsageLimits on what a command and a run may use: tokens, hours, failures.

use crate::config::Config;
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What may be used; none: without limit. Tokens are those of prompts, cached or not, and of
/// replies.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct UsageLimits {
    pub tokens: Option<u64>,
    pub hours: Option<f64>,
    pub failures: Option<u64>,
    pub run_tokens: Option<u64>,
    pub run_hours: Option<f64>,
}

impl UsageLimits {
    pub fn of(config: &Config) -> UsageLimits {
        let whole = |key: &str| config.values.get(key).and_then(Value::as_u64);
        let number = |key: &str| config.values.get(key).and_then(Value::as_f64);
        UsageLimits {
            tokens: whole("limits.tokens"),
            hours: number("limits.hours"),
            failures: whole("limits.failures"),
            run_tokens: whole("limits.run_tokens"),
            run_hours: number("limits.run_hours"),
        }
    }
}

/// What a command has used so far.
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

    pub fn spend(&self, tokens: u64) {
        self.tokens.fetch_add(tokens, Ordering::Relaxed);
    }

    pub fn fail(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// The limit that the command has reached, in words.
    pub fn reached(&self) -> Option<String> {
        let (tokens, failures) =
            (self.tokens.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed));
        over("limits.tokens", tokens as f64, self.limits.tokens.map(|most| most as f64))
            .or_else(|| over("limits.hours", hours(self.begun), self.limits.hours))
            .or_else(|| {
                over(
                    "limits.failures",
                    failures as f64,
                    self.limits.failures.map(|most| most as f64),
                )
            })
    }

    /// The limit that a run has reached, of so many tokens and begun then, in words.
    pub fn run_reached(&self, tokens: u64, begun: Instant) -> Option<String> {
        over("limits.run_tokens", tokens as f64, self.limits.run_tokens.map(|most| most as f64))
            .or_else(|| over("limits.run_hours", hours(begun), self.limits.run_hours))
    }
}

fn hours(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() / 3600.0
}

fn over(key: &str, used: f64, most: Option<f64>) -> Option<String> {
    most.filter(|most| used >= *most).map(|most| format!("{key}: {most} is reached"))
}
