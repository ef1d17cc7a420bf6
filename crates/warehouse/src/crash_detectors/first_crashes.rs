//! Design v1: the first crash of each detector, and its severity.

use super::{Crash, CrashSeverity, CrashType, DetectorStep, SOFT_STEPS};
use crate::config::DetectorConfig;

impl CrashType {
    /// The detectors of design v1.
    const FIRST: [CrashType; 6] = [
        CrashType::Looping,
        CrashType::InvalidBurst,
        CrashType::BudgetDenial,
        CrashType::Decoupling,
        CrashType::ExplorationCollapse,
        CrashType::SlowDivergence,
    ];
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
    let fresh = CrashType::FIRST.iter().filter(|kind| already.iter().all(|c| c.kind != **kind));
    let fire = |kind: &CrashType| {
        let onset = kind.first_rule()(window, config)?;
        let (onset_step, detected_step) = ((first + onset + 1) as u64, steps.len() as u64);
        Some(Crash::new(*kind, onset_step, detected_step))
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
    let rule = crash.kind.first_rule();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Strictness;

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
