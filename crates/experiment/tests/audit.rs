//! Tests that the audit reports factors without effect, and no others.

use experiment::{Config, audit};

fn report(text: &str) -> experiment::AuditReport {
    audit(&Config::parse(text, "audit.yaml", &[]).unwrap())
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_factor_without_effect_is_dead() {
    let dead = report(
        "pe_induction:\n  p_shock: 0\ngrid:\n  pe_induction.pe_mag: [low, high]\n  env.complexity_level: [0, 1]\n",
    );
    assert!(dead.has_dead_factors());
    assert_eq!(dead.dead.len(), 1);
    assert_eq!(
        (dead.dead[0].factor.as_str(), dead.dead[0].entirely),
        ("pe_induction.pe_mag", true)
    );
    let scripted = report("agent:\n  policy: careful\ngrid:\n  model.temperature: [0.1, 0.9]\n");
    assert!(scripted.dead[0].entirely);
    let partly = report(
        "agent:\n  policy: careful\ngrid:\n  agent.history: [full, none]\n  env.max_steps: [5, 6]\n",
    );
    assert_eq!(partly.dead.len(), 1);
}

/// A window that is longer than the run leaves no exchange out, so all such windows have the same
/// effect.
#[test]
fn history_levels_that_leave_nothing_out_are_dead() {
    let of = |levels: &str| {
        report(&format!("env:\n  max_steps: 12\nagent:\n  history: window\ngrid:\n  agent.history_window: {levels}\n"))
            .dead
    };
    assert_eq!(of("[4, 6]"), []);
    assert_eq!(of("[20, 40]")[0].factor, "agent.history_window");
    let policies =
        report("env:\n  max_steps: 12\ngrid:\n  agent.history: [full, window, none]\n").dead;
    assert_eq!(policies[0].levels, ["full", "window"], "the default window is 20");
}

#[test]
fn every_factor_of_the_study_is_alive() {
    let alive = report(
        "env:\n  max_steps: 120\ngrid:\n  pe_induction.p_shock: [0.0, 0.4]\n  pe_induction.pe_mag: [low, medium, high]\n  pe_induction.pe_type_mix: \
         [realistic, temporal_only, quantity_only, causal_only, rule_only]\n  pe_induction.observability: [full, delayed, partial, hidden]\n",
    );
    assert_eq!(alive.dead, [], "{:?}", alive.dead);
    let alive = report(
        "env:\n  max_steps: 120\npe_induction:\n  p_shock: 0.3\ngrid:\n  interface.memory_tools: [none, basic, full]\n  interface.recovery_tools: \
         [none, reset, audit, help, all]\n  env.pressure_level: [low, medium, high]\n  model.temperature: [0.0, 0.7]\n  agent.reply_mode: [json, text]\n",
    );
    assert_eq!(alive.dead, [], "{:?}", alive.dead);
}
