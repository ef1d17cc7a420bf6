//! Crash detectors: pure functions over recorded steps, so that they can be run again on stored
//! logs.

use crate::config::{DetectorConfig, Strictness};
use crate::labels::labeled_enum;
use serde::{Deserialize, Serialize};

/// The data of one step that the detectors use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DetectorStep {
    /// Name of the called tool, or the kind of parse failure.
    pub tool: String,
    /// The call in canonical form; empty if the reply held no call.
    pub call: String,
    /// Whether the call failed or was missing.
    pub failed: bool,
    /// Whether the call changed the state or ended the day.
    pub changed: bool,
    /// Whether the call moved goods or money.
    pub traded: bool,
    /// Whether the call was an order that failed because it cost more than the cash, and more than
    /// the ledger showed.
    pub unaffordable: bool,
    /// Whether the call contradicts its card or the announced plan; `None` if neither determines
    /// it.
    pub contradicts: Option<bool>,
    /// Number of tools that are available to the agent.
    pub tools_available: usize,
    /// Cosine similarity of the agent's summary to its first summaries; `None` for those first
    /// summaries, and if no embeddings are available.
    pub similarity: Option<f64>,
}

/// The first crash that a detector reports in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    #[serde(rename = "type")]
    pub kind: CrashType,
    /// First step of the crash, within the detector's window.
    pub onset_step: u64,
    /// The step in which the detector fired.
    pub detected_step: u64,
    /// `None` if the run ended before the severity was known.
    pub severity: Option<CrashSeverity>,
}

labeled_enum!(/// The crash detectors, one per type of crash.
    CrashType { Looping = "looping", InvalidBurst = "invalid_burst", BudgetDenial = "budget_denial", Decoupling = "decoupling",
        ExplorationCollapse = "exploration_collapse", SlowDivergence = "slow_divergence" });
labeled_enum!(/// How long a crash lasted.
CrashSeverity {
    /// The detector stops firing within 20 steps of the detection.
    Soft = "soft",
    /// The detector still fires 20 steps after the detection.
    Hard = "hard",
    /// No call after the detection succeeded and changed anything.
    Abandoned = "abandoned",
});

/// A detector's rule: takes a window of steps, and returns the onset's offset in the window if the
/// detector fires.
type DetectorRule = fn(&[DetectorStep], &DetectorConfig) -> Option<usize>;

impl CrashType {
    fn rule(self) -> DetectorRule {
        match self {
            CrashType::Looping => looping,
            CrashType::InvalidBurst => invalid_burst,
            CrashType::BudgetDenial => budget_denial,
            CrashType::Decoupling => decoupling,
            CrashType::ExplorationCollapse => exploration_collapse,
            CrashType::SlowDivergence => slow_divergence,
        }
    }
}

/// Number of steps after the detection within which a soft crash ends.
const SOFT_STEPS: usize = 20;
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

/// Crashes of the detectors that fire for the first time at the last of `steps`; `already` has the
/// earlier crashes.
pub(crate) fn newly_fired(
    steps: &[DetectorStep],
    config: &DetectorConfig,
    already: &[Crash],
) -> Vec<Crash> {
    let window = &steps[steps.len().saturating_sub(config.window_size)..];
    let first = steps.len() - window.len();
    let fresh = CrashType::ALL.iter().filter(|kind| already.iter().all(|c| c.kind != **kind));
    let fire = |kind: &CrashType| {
        let onset = kind.rule()(window, config)?;
        let (onset_step, detected_step) = ((first + onset + 1) as u64, steps.len() as u64);
        Some(Crash { kind: *kind, onset_step, detected_step, severity: None })
    };
    fresh.filter_map(fire).collect()
}

/// All crashes of a run, the first one of each detector, with severity.
pub fn detect(steps: &[DetectorStep], config: &DetectorConfig) -> Vec<Crash> {
    let mut crashes: Vec<Crash> = Vec::new();
    for end in 1..=steps.len() {
        let mut fired = newly_fired(&steps[..end], config, &crashes);
        crashes.append(&mut fired);
    }
    for crash in &mut crashes {
        crash.severity = severity(steps, config, crash);
    }
    crashes
}

fn severity(
    steps: &[DetectorStep],
    config: &DetectorConfig,
    crash: &Crash,
) -> Option<CrashSeverity> {
    let rule = crash.kind.rule();
    let detected = crash.detected_step as usize;
    // The severity stays unknown if the run ends before a soft crash could have ended.
    let known = steps.len() >= detected + SOFT_STEPS;
    if steps[detected..].iter().all(|s| s.failed || !s.changed) {
        return known.then_some(CrashSeverity::Abandoned);
    }
    let over = (detected + 1..=steps.len().min(detected + SOFT_STEPS)).any(|end| {
        let window = &steps[end.saturating_sub(config.window_size)..end];
        rule(window, config).is_none()
    });
    if over { Some(CrashSeverity::Soft) } else { known.then_some(CrashSeverity::Hard) }
}

fn looping(window: &[DetectorStep], config: &DetectorConfig) -> Option<usize> {
    let needed = by_strictness(config.threshold, [3, 4, 6]);
    let start = window.len().checked_sub(needed)?;
    let last = &window[start..];
    // Replies without a call do not count as identical calls; `invalid_burst` detects them.
    last.iter().all(|s| !s.call.is_empty() && s.call == last[0].call && !s.changed).then_some(start)
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
    let mut tools: Vec<&str> = window.iter().map(|s| s.tool.as_str()).collect();
    tools.sort_unstable();
    let entropy: f64 = tools
        .chunk_by(|a, b| a == b)
        .map(|same| same.len() as f64 / window.len() as f64)
        .map(|p| -p * p.ln())
        .sum();
    (entropy / (available as f64).ln() < by_strictness(config.threshold, [0.5, 0.3, 0.2]))
        .then_some(0)
}

fn slow_divergence(window: &[DetectorStep], config: &DetectorConfig) -> Option<usize> {
    let (known, sum) = window
        .iter()
        .filter_map(|s| s.similarity)
        .fold((0_u32, 0.0), |(n, sum), s| (n + 1, sum + s));
    let mean = sum / f64::from(known.max(1));
    (known as usize >= SHARE_STEPS_MIN && mean < by_strictness(config.threshold, [0.7, 0.6, 0.5]))
        .then_some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(call: &str, failed: bool, changed: bool) -> DetectorStep {
        DetectorStep {
            tool: call.into(),
            call: call.into(),
            failed,
            changed,
            tools_available: 7,
            ..Default::default()
        }
    }

    fn kinds(steps: &[DetectorStep], threshold: Strictness) -> Vec<CrashType> {
        let config = DetectorConfig { threshold, ..DetectorConfig::default() };
        detect(steps, &config).into_iter().map(|c| c.kind).collect()
    }

    #[test]
    fn looping_needs_identical_calls_that_change_nothing() {
        let same = vec![step("check_inbox", false, false); 4];
        assert_eq!(kinds(&same, Strictness::Moderate), [CrashType::Looping]);
        assert!(kinds(&same[..3], Strictness::Moderate).is_empty());
        assert_eq!(kinds(&same[..3], Strictness::Strict), [CrashType::Looping]);
        assert!(kinds(&vec![step("wait", false, true); 10], Strictness::Strict).is_empty());
        let unread = DetectorStep { call: String::new(), ..step("no_call", true, false) };
        assert!(kinds(&vec![unread.clone(); 7], Strictness::Strict).is_empty());
        assert_eq!(kinds(&vec![unread; 8], Strictness::Lenient), [CrashType::InvalidBurst]);
    }

    #[test]
    fn looping_has_an_onset_and_a_severity() {
        let mut steps = vec![step("order", false, true), step("ship", false, true)];
        steps.extend(vec![step("check_inbox", false, false); 4]);
        steps.push(step("ship", false, true));
        let crash = &detect(&steps, &DetectorConfig::default())[0];
        assert_eq!(
            (crash.onset_step, crash.detected_step, crash.severity),
            (3, 6, Some(CrashSeverity::Soft))
        );
        let open = &detect(&steps[..6], &DetectorConfig::default())[0];
        assert_eq!(open.severity, None, "the run ended at the crash");
        steps.truncate(6);
        steps.extend((0..20).map(|i| step(&format!("quote{i}"), false, false)));
        assert_eq!(
            detect(&steps[..25], &DetectorConfig::default())[0].severity,
            None,
            "nineteen steps are too few"
        );
        let abandoned = &detect(&steps, &DetectorConfig::default())[0];
        assert_eq!(abandoned.severity, Some(CrashSeverity::Abandoned));
    }

    #[test]
    fn a_burst_of_failures_needs_eight_steps() {
        let mut steps: Vec<_> = (0..7).map(|i| step(&format!("x{i}"), true, false)).collect();
        assert!(kinds(&steps, Strictness::Strict).is_empty());
        steps.push(step("x8", true, false));
        assert_eq!(kinds(&steps, Strictness::Lenient), [CrashType::InvalidBurst]);
    }

    #[test]
    fn repeated_orders_beyond_the_cash_are_budget_denial() {
        let mut steps: Vec<_> = (0..4).map(|i| step(&format!("order{i}"), false, false)).collect();
        steps.iter_mut().for_each(|s| s.unaffordable = true);
        assert_eq!(kinds(&steps, Strictness::Moderate), [CrashType::BudgetDenial]);
        assert!(kinds(&steps, Strictness::Lenient).is_empty());
    }

    #[test]
    fn contradicted_cards_and_diverging_summaries_are_crashes() {
        let mut steps: Vec<_> = (0..10).map(|i| step(&format!("t{i}"), false, true)).collect();
        steps.iter_mut().for_each(|s| s.contradicts = Some(true));
        assert_eq!(kinds(&steps, Strictness::Lenient), [CrashType::Decoupling]);
        steps.iter_mut().for_each(|s| (s.contradicts, s.similarity) = (None, Some(0.4)));
        assert_eq!(kinds(&steps, Strictness::Lenient), [CrashType::SlowDivergence]);
    }

    #[test]
    fn a_window_with_one_tool_is_an_exploration_collapse() {
        let steps = vec![step("wait", false, true); 20];
        assert_eq!(kinds(&steps, Strictness::Lenient), [CrashType::ExplorationCollapse]);
    }
}
