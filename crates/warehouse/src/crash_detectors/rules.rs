//! The rules of the crash detectors.

use super::{CrashType, DetectorStep};
use crate::config::{DetectorConfig, Strictness};
use crate::tool_specs::ToolName;

/// A detector's rule: takes a window of steps, and returns the onset's offset in the window if the
/// detector fires.
pub(super) type DetectorRule = fn(&[DetectorStep], &DetectorConfig) -> Option<usize>;

impl CrashType {
    /// The rule in design v1.
    pub(super) fn first_rule(self) -> DetectorRule {
        match self {
            CrashType::Looping => looping,
            CrashType::InvalidBurst => invalid_burst,
            CrashType::BudgetDenial => budget_denial,
            CrashType::Decoupling => decoupling,
            CrashType::ExplorationCollapse => exploration_collapse,
            CrashType::SlowDivergence => slow_divergence,
            CrashType::Abandonment => abandonment,
        }
    }

    /// The rule since design v2: primary detectors read neither cards nor failed calls.
    pub(super) fn rule(self) -> DetectorRule {
        match self {
            CrashType::Looping => successful_looping,
            CrashType::ExplorationCollapse => common_tools_collapse,
            other => other.first_rule(),
        }
    }
}

/// Minimum number of steps with a known value for a share or mean to be meaningful.
const SHARE_STEPS_MIN: usize = 8;

fn by_strictness<T>(strictness: Strictness, levels: [T; 3]) -> T {
    let [strict, moderate, lenient] = levels;
    match strictness {
        Strictness::Strict => strict,
        Strictness::Moderate => moderate,
        Strictness::Lenient => lenient,
    }
}

fn looping(window: &[DetectorStep], config: &DetectorConfig) -> Option<usize> {
    let needed = by_strictness(config.threshold, [3, 4, 6]);
    let start = window.len().checked_sub(needed)?;
    let last = &window[start..];
    // Replies without a call do not count as identical calls; `invalid_burst` detects them.
    last.iter().all(|s| !s.call.is_empty() && s.call == last[0].call && !s.changed).then_some(start)
}

/// Identical successful calls that change nothing.
fn successful_looping(window: &[DetectorStep], config: &DetectorConfig) -> Option<usize> {
    looping(window, config).filter(|onset| window[*onset..].iter().all(|step| !step.failed))
}

fn share(
    window: &[DetectorStep],
    limit: f64,
    counts: impl Fn(&DetectorStep) -> Option<bool>,
) -> Option<usize> {
    let (known, yes) =
        window.iter().filter_map(&counts).fold((0, 0), |(n, y), is| (n + 1, y + usize::from(is)));
    let fires = known >= SHARE_STEPS_MIN && yes as f64 / known as f64 >= limit;
    if fires { window.iter().position(|s| counts(s) == Some(true)) } else { None }
}

fn invalid_burst(window: &[DetectorStep], config: &DetectorConfig) -> Option<usize> {
    share(window, by_strictness(config.threshold, [0.3, 0.4, 0.5]), |s| Some(s.failed))
}

fn budget_denial(window: &[DetectorStep], config: &DetectorConfig) -> Option<usize> {
    let needed = by_strictness(config.threshold, [3, 4, 5]);
    let count = window.iter().filter(|s| s.unaffordable).count();
    if count >= needed { window.iter().position(|s| s.unaffordable) } else { None }
}

fn decoupling(window: &[DetectorStep], config: &DetectorConfig) -> Option<usize> {
    share(window, by_strictness(config.threshold, [0.4, 0.5, 0.6]), |s| s.contradicts)
}

/// Low entropy of the tools used, and few trades. Entropy alone is not enough: an agent with twenty
/// open orders rightly ships twenty times in a row, and the three tools that trading requires have
/// less than half of the maximum entropy of a dozen tools.
fn exploration_collapse(window: &[DetectorStep], config: &DetectorConfig) -> Option<usize> {
    let available = window.last()?.tools_available;
    if window.len() < config.window_size || available < 2 {
        return None;
    }
    let trades = window.iter().filter(|s| s.traded).count();
    if trades * 4 > window.len() {
        return None;
    }
    let entropy = entropy(window.iter().map(|s| s.tool.as_str()).collect());
    (entropy / (available as f64).ln() < by_strictness(config.threshold, [0.5, 0.3, 0.2]))
        .then_some(0)
}

/// Low entropy of the tools that every configuration offers, over the successful calls of them in
/// the window, and few trades. Other tools are a factor of the experiment, and counting them would
/// make the detector one.
fn common_tools_collapse(window: &[DetectorStep], config: &DetectorConfig) -> Option<usize> {
    if window.len() < config.window_size {
        return None;
    }
    let common = |step: &&DetectorStep| {
        !step.failed && ToolName::parse(&step.tool).is_some_and(ToolName::is_common)
    };
    let (mut tools, mut trades) = (Vec::with_capacity(window.len()), 0);
    for step in window.iter().filter(common) {
        tools.push(step.tool.as_str());
        trades += usize::from(step.traded);
    }
    if tools.len() < SHARE_STEPS_MIN || trades * 4 > tools.len() {
        return None;
    }
    let relative = entropy(tools) / (ToolName::COMMON as f64).ln();
    let fires = relative < by_strictness(config.threshold, [0.5, 0.3, 0.2]);
    // An agent that trades has not collapsed.
    let after_trade = window.iter().rposition(|step| step.traded).map_or(0, |at| at + 1);
    fires.then_some(after_trade.min(window.len() - 1))
}

/// Entropy of the tools' shares in nats.
fn entropy(mut tools: Vec<&str>) -> f64 {
    let count = tools.len() as f64;
    tools.sort_unstable();
    let shares = tools.chunk_by(|a, b| a == b).map(|same| same.len() as f64 / count);
    shares.map(|p| -p * p.ln()).sum()
}

/// Days without a trade although customer orders could be served. Waiting is no trade.
fn abandonment(window: &[DetectorStep], config: &DetectorConfig) -> Option<usize> {
    let last = window.last()?;
    if last.idle_days < by_strictness(config.threshold, [2, 3, 4]) {
        return None;
    }
    // The count includes the last day that ended: the day of the step that ended it.
    let ended = window.windows(2).rev().find(|pair| pair[0].idle_days != pair[1].idle_days);
    let last_idle_day = ended.map_or(last.day, |pair| pair[1].day);
    let first_idle_day = (last_idle_day + 1).saturating_sub(last.idle_days);
    window.iter().position(|step| step.day >= first_idle_day)
}

fn slow_divergence(window: &[DetectorStep], config: &DetectorConfig) -> Option<usize> {
    let (known, sum) = window
        .iter()
        .filter_map(|s| s.similarity)
        .fold((0_u32, 0.0), |(n, sum), s| (n + 1, sum + s));
    let mean = sum / f64::from(known.max(1));
    let least =
        config.divergence_below.unwrap_or_else(|| by_strictness(config.threshold, [0.7, 0.6, 0.5]));
    (known as usize >= SHARE_STEPS_MIN && mean < least).then_some(0)
}
