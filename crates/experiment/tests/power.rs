//! The power of configurations.

use std::path::Path;

use experiment::{
    AssumptionSource, Config, ExperimentError, PowerOptions, PowerReport, power, simulated_study,
};

const SMALL: &str = "
experiment: {name: small, seed: 5, replications: 12, draws: 2, replications_by: {pe_induction.p_shock: {0: 24}}}
env: {max_steps: 200, complexity_level: 1}
pe_induction: {pe_mag: high}
agent: {policy: fragile, hazard: 0.002, beta: 0.1}
grid:
  pe_induction.p_shock: [0.0, 0.1, 0.2, 0.3]
  pe_induction.pe_type_mix: [realistic, temporal_only]
  interface.memory_tools: [none, full]
";

fn config(text: &str, sets: &[&str]) -> Config {
    let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
    Config::parse(text, "small.yaml", &sets).unwrap()
}

fn options(simulations: u64) -> PowerOptions {
    PowerOptions {
        hazard_ratio: 3.0,
        baseline: None,
        world_sd: None,
        simulations,
        seed: 1,
        threads: None,
    }
}

fn report(config: &Config) -> PowerReport {
    power(config, None, &options(40)).unwrap_or_else(|error| panic!("{error}"))
}

fn problem(result: Result<PowerReport, ExperimentError>) -> String {
    result.expect_err("refused").to_string()
}

#[test]
fn the_design_has_the_runs_of_the_grid() {
    let config = config(SMALL, &[]);
    let report = report(&config);
    assert_eq!(report.cost.runs, config.counts().runs);
    let runs: Vec<(f64, usize)> =
        report.doses.iter().map(|dose| (dose.p_shock, dose.runs)).collect();
    // Two draws in each world; runs without shocks have no type mix.
    assert_eq!(runs, [(0.0, 2 * 2 * 24), (0.1, 96), (0.2, 96), (0.3, 96)]);
    assert_eq!(report.worlds, 24);
    let exposures: Vec<f64> = report.doses.iter().map(|dose| dose.exposure).collect();
    assert!(exposures.is_sorted(), "{exposures:?}");
    assert!((report.baseline_simulated - 0.3).abs() < 0.04, "{}", report.baseline_simulated);
    let unpaired = self::report(&self::config(SMALL, &["experiment.paired=false"]));
    assert_eq!(unpaired.worlds, 2 * 24 + 12 * 12, "each cell has worlds of its own");
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let config = config(SMALL, &[]);
    let on = |threads| power(&config, None, &PowerOptions { threads, ..options(40) }).unwrap();
    assert_eq!(on(Some(1)), on(Some(2)));
    assert_eq!(on(Some(1)), on(Some(7)));
}

#[test]
fn the_cheapest_design_is_one_that_its_settings_make() {
    let config = config(SMALL, &[]);
    let report = report(&config);
    assert_eq!(report.searched.len(), 3);
    assert_eq!(report.searched[1].doses, [0.0, 0.3]);
    assert_eq!(report.searched[2].doses, [0.0, 0.2, 0.3]);
    let cheapest = &report.searched[report.cheapest.expect("an effect of 3 is found")];
    assert!(report.searched.iter().all(|other| cheapest.cost.runs <= other.cost.runs));
    for found in &cheapest.analyses {
        assert!(found.power.share >= 0.8, "{found:?}");
    }
    for design in &report.searched {
        let sets: Vec<String> =
            design.settings.iter().map(|setting| setting.replacen(": ", "=", 1)).collect();
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let made = self::config(SMALL, &sets);
        assert_eq!(made.counts().runs, design.cost.runs, "{sets:?}");
        let replications = format!("experiment.replications={}", design.worlds);
        assert!(sets.contains(&replications.as_str()));
    }
}

#[test]
fn a_model_costs_tokens() {
    let sets = ["agent.policy=model", "model.name=a-7B"];
    let report =
        report(&config(&SMALL.replace("hazard: 0.002, beta: 0.1", "history: full"), &sets));
    assert!(report.cost.tokens > 1e6 && report.cost.gpu_hours > 0.0, "{:?}", report.cost);
}

#[test]
fn a_pilot_tells_what_a_study_takes_for_granted() {
    let config = config(SMALL, &[]);
    let pilot = simulated_study(&config).unwrap();
    let report = power(&config, Some(&pilot), &options(40)).unwrap();
    assert_eq!(report.baseline.source, AssumptionSource::Pilot);
    assert_eq!(report.exposure_source, AssumptionSource::Pilot);
    // 200 steps from about the 20th with the hazard .002.
    assert!((0.15..0.5).contains(&report.baseline.value), "{:?}", report.baseline);
    assert_eq!(report.world_sd.source, AssumptionSource::Pilot, "{:?}", report.notes);
    assert!(report.notes[0].starts_with("the pilot's baseline may be "), "{:?}", report.notes);
    assert!(report.world_sd.value < 0.6, "the operator has no worlds: {:?}", report.world_sd);
    let longer = self::config(SMALL, &["env.max_steps=400"]);
    let longer = power(&longer, Some(&pilot), &options(40)).unwrap();
    let twice = 1.0 - (1.0 - report.baseline.value).powi(2);
    assert!((longer.baseline.value - twice).abs() < 1e-12);
    let given = PowerOptions { baseline: Some(0.5), world_sd: Some(0.1), ..options(40) };
    let given = power(&config, Some(&pilot), &given).unwrap();
    assert_eq!((given.baseline.value, given.world_sd.value), (0.5, 0.1));
    assert_eq!(given.baseline.source, AssumptionSource::Option);
}

#[test]
fn what_a_pilot_does_not_tell_is_the_default() {
    let config = config(SMALL, &[]);
    let mut pilot = simulated_study(&config).unwrap();
    pilot.runs.retain(|run| run.p_shock > 0.0);
    let report = power(&config, Some(&pilot), &options(40)).unwrap();
    assert_eq!((report.baseline.value, report.baseline.source), (0.3, AssumptionSource::Default));
    assert!(report.notes[0].contains("no run of the lowest dose"), "{:?}", report.notes);
}

#[test]
fn studies_that_can_show_nothing_are_refused() {
    let of = |sets: &[&str]| problem(power(&config(SMALL, sets), None, &options(40)));
    let one_dose = of(&["pe_induction.p_shock=0.1", "experiment.replications_by={}"]);
    assert!(one_dose.starts_with("small.yaml: every run has the dose 0.1"), "{one_dose}");
    let no_shocks = of(&["pe_induction.p_shock=0"]);
    assert!(no_shocks.contains("no run has shocks"), "{no_shocks}");
    let one_world = of(&["experiment.replications=1", "experiment.replications_by={}"]);
    assert!(one_world.contains("all runs are of one world"), "{one_world}");
    let sham = of(&["pe_induction.observability=sham"]);
    assert!(sham.contains("does not rise with the dose"), "{sham}");
    let v1 = of(&["experiment.design=v1", "agent.policy=careful"]);
    assert!(v1.starts_with("experiment.design: expected v2"), "{v1}");
}

#[test]
fn pilots_that_tell_nothing_are_refused() {
    let config = config(SMALL, &[]);
    let pilot = simulated_study(&config).unwrap();
    let of = |pilot| problem(power(&config, Some(&pilot), &options(40)));
    let mut v1 = pilot.clone();
    v1.design = "v1".into();
    assert!(of(v1).contains("design v1"));
    let mut empty = pilot.clone();
    empty.runs.clear();
    assert!(of(empty).contains("no committed runs"));
    let mut incompetent = pilot;
    incompetent.runs.iter_mut().for_each(|run| run.entry = None);
    assert!(of(incompetent).contains("never was competent"));
}

/// The power that the comment of a phase states, in percent.
fn stated(file: &Path) -> f64 {
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| {
        line.strip_prefix("# Detects: a hazard ratio of 2 between the highest dose and none with ")
    });
    let (percent, _) = line.and_then(|line| line.split_once('%')).expect("a comment");
    percent.parse().expect("a number")
}

/// The two declared analyses have the power that the phase states, but for chance.
fn check_phase(name: &str) {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../configs/phases/{name}.yaml"));
    let config = Config::load(&file, &[]).unwrap();
    let simulations = 60;
    let report =
        power(&config, None, &PowerOptions { hazard_ratio: 2.0, ..options(simulations) }).unwrap();
    let stated = stated(&file) / 100.0;
    assert!(stated >= 0.8);
    for found in report.analyses {
        // Four standard errors, and at least three of the studies.
        let chance = 4.0 * (stated * (1.0 - stated) / simulations as f64).sqrt();
        let least = stated - chance.max(0.05);
        assert!(found.power.share >= least, "{name}: {found:?}, stated {stated}");
    }
}

#[test]
fn all_phases_detect_what_they_state() {
    for phase in 1..=5 {
        for size in ["small", "large"] {
            check_phase(&format!("phase{phase}_{size}"));
        }
    }
}
