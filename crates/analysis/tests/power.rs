//! The power of a study, against the analysis that it simulates and against a formula.

use analysis::power::{
    DeclaredAnalysis, ExposurePath, HazardAssumptions, PATH_STEPS, PlannedExposure, PlantedHazard,
    PowerDesign, PowerTally, SchoenfeldCheck, SimulatedCrashes, StudySimulator, fit_simulated,
};
use analysis::study::{Cohort, EXPOSURE, ObservedRun, ObservedStudy, PathPoint, RunEnd};
use analysis::survival::cox::{self, CoxOptions};
use base::SplitMix64;

const LAG: u64 = 20;
const DOSES: [f64; 3] = [0.0, 0.1, 0.3];

/// Worlds that play each of three doses `runs` times in each of two strata, for 300 steps. Exposure
/// grows with the dose, and differs between worlds.
fn study(worlds: u32, runs: u32) -> PowerDesign {
    let mut random = SplitMix64(7);
    let (mut paths, mut planned) = (Vec::new(), Vec::new());
    for world in 0..worlds {
        for dose in DOSES {
            let rate = (0.01 + 0.2 * dose) * (0.5 + random.next_f64());
            let end = 250 + (random.next_f64() * 50.0) as u64;
            let mut sum = 0.0;
            let mut after_step = Vec::new();
            for _ in 0..end {
                sum += if random.next_f64() < 0.2 { 5.0 * rate } else { 0.0 };
                after_step.push(sum);
            }
            let entry = 20 + (random.next_f64() * 30.0) as u64;
            paths.push(ExposurePath::lagged(entry, &after_step, LAG));
            for (stratum, _) in (0..2).flat_map(|stratum| (0..runs).map(move |run| (stratum, run)))
            {
                let path = paths.len() - 1;
                planned.push(PlannedExposure { path, dose, acts: true, stratum, world });
            }
        }
    }
    PowerDesign::new(paths, planned).expect("a study")
}

fn assumed(world_sd: f64) -> HazardAssumptions {
    HazardAssumptions { baseline: 0.3, world_sd, entered: 1.0 }
}

fn tally(design: &PowerDesign, ratio: f64, world_sd: f64, simulations: u64) -> PowerTally {
    let hazard = PlantedHazard::solve(design, ratio, &assumed(world_sd)).expect("a hazard");
    StudySimulator::new(design, hazard).simulate(1, 0..simulations)
}

fn power(tally: &PowerTally, analysis: usize) -> f64 {
    tally.analyses[analysis].right_sign as f64 / tally.simulations as f64
}

/// The runs as a report reads them from a results folder.
fn observed(design: &PowerDesign, crashes: &SimulatedCrashes) -> ObservedStudy {
    let observe = |(index, run): (usize, &PlannedExposure)| {
        let path = &design.paths()[run.path];
        let point = |(stretch, exposure): (usize, &f64)| {
            let step = (stretch as u64 * PATH_STEPS).checked_sub(LAG)?;
            Some(PathPoint { step, exposure: *exposure, ..PathPoint::default() })
        };
        let end = match crashes.crashed[index] {
            true => RunEnd::Crash("looping".into()),
            false => RunEnd::Horizon,
        };
        ObservedRun {
            run_id: index.to_string(),
            model: format!("model {}", run.stratum),
            world: run.world.into(),
            p_shock: run.dose,
            steps: path.end,
            horizon: path.end,
            entry: Some(path.entry),
            end_step: crashes.stop[index].into(),
            end,
            path: path.exposure.iter().enumerate().filter_map(point).collect(),
            ..ObservedRun::default()
        }
    };
    let runs = design.runs().iter().enumerate().map(observe).collect();
    ObservedStudy { runs, ..ObservedStudy::default() }
}

/// Crashes at steps that several runs share, some before the entry of others.
fn tied_crashes(design: &PowerDesign, seed: u64) -> SimulatedCrashes {
    let mut random = SplitMix64(seed);
    let mut crashes = SimulatedCrashes::default();
    for run in design.runs() {
        let path = &design.paths()[run.path];
        let at = (random.next_f64() * 40.0) as u64 * 7 + 3;
        let crashed = at > path.entry && at < path.end && random.next_f64() < 0.6;
        // A run that never enters.
        let end = if random.next_f64() < 0.05 { 0 } else { path.end };
        crashes.stop.push(if crashed { at } else { end } as u32);
        crashes.crashed.push(crashed);
    }
    crashes
}

#[test]
fn fits_are_those_of_the_declared_analysis() {
    let design = study(12, 2);
    for seed in 0..10 {
        let crashes = tied_crashes(&design, seed);
        let studies = [observed(&design, &crashes)];
        let cohort = Cohort::of(&studies);
        let crashed = |run: &ObservedRun| run.crashed().into();
        let options = CoxOptions::default();
        let (risk, exposure, _) = cohort.time_varying(&[EXPOSURE], LAG);
        let of_exposure = cox::fit(&risk, &exposure, &options).expect("exposure varies");
        let dose: &dyn Fn(&ObservedRun) -> f64 = &|run| run.p_shock;
        let of_dose =
            cox::fit(&cohort.risk(crashed), &cohort.covariates(&[("p_shock", dose)]), &options)
                .expect("doses vary");
        for (analysis, expected) in
            [(DeclaredAnalysis::Exposure, of_exposure), (DeclaredAnalysis::AssignedDose, of_dose)]
        {
            let fit = fit_simulated(&design, &crashes, analysis).expect("a fit");
            let coefficient = &expected.coefficients[0];
            let alike = |found: f64, expected: f64| {
                let case = format!("{analysis:?} {seed}: {found} {expected}");
                assert!((found - expected).abs() < 1e-8 * (1.0 + expected.abs()), "{case}");
            };
            alike(fit.coef, coefficient.coef);
            alike(fit.robust_se, coefficient.robust_se.expect("robust"));
            alike(fit.p, coefficient.p);
            assert_eq!((fit.events, fit.worlds), (expected.events, expected.clusters));
        }
    }
}

#[test]
fn what_crashes_do_not_determine_has_no_fit() {
    let design = study(4, 1);
    let runs = design.runs();
    let crashes = |crashed: &dyn Fn(&PlannedExposure) -> bool| SimulatedCrashes {
        stop: runs.iter().map(|run| if crashed(run) { 100 } else { 200 }).collect(),
        crashed: runs.iter().map(crashed).collect(),
    };
    let dose = DeclaredAnalysis::AssignedDose;
    assert_eq!(fit_simulated(&design, &crashes(&|_| false), dose), None, "no crash");
    let separated = crashes(&|run| run.dose == 0.3);
    assert_eq!(fit_simulated(&design, &separated, dose), None, "one dose has all crashes");
}

#[test]
fn the_baseline_share_of_the_lowest_dose_crashes() {
    let design = study(20, 2);
    for (ratio, world_sd) in [(1.0, 0.0), (2.0, 0.7), (0.5, 1.5)] {
        let tally = tally(&design, ratio, world_sd, 200);
        let share = tally.lowest_crashed as f64 / tally.lowest_entered as f64;
        // Four standard errors of a mean over 200 studies of 20 worlds.
        let error = 4.0 * (0.21 / (200.0 * 20.0_f64)).sqrt();
        assert!((share - 0.3).abs() < error, "{ratio} {world_sd}: {share}");
    }
}

#[test]
fn a_run_that_never_enters_is_not_at_risk() {
    let design = study(20, 2);
    let assumed = HazardAssumptions { entered: 0.5, ..assumed(0.0) };
    let hazard = PlantedHazard::solve(&design, 2.0, &assumed).expect("a hazard");
    let tally = StudySimulator::new(&design, hazard).simulate(1, 0..50);
    let entered = tally.lowest_entered as f64 / (50.0 * 80.0);
    assert!((entered - 0.5).abs() < 0.03, "{entered}");
    let share = tally.lowest_crashed as f64 / tally.lowest_entered as f64;
    assert!((share - 0.3).abs() < 0.03, "{share}");
}

#[test]
fn the_hazard_ratio_is_that_of_the_mean_exposures() {
    let design = study(20, 1);
    let hazard = PlantedHazard::solve(&design, 3.0, &assumed(0.7)).expect("a hazard");
    let range = design.mean_exposure(0.3) - design.mean_exposure(0.0);
    assert!(range > 1.0, "{range}");
    assert!(((hazard.beta * range).exp() - 3.0).abs() < 1e-12);
}

#[test]
fn without_an_effect_a_twentieth_of_the_studies_rejects() {
    let found = tally(&study(30, 1), 1.0, 0.7, 1000);
    for counts in found.analyses {
        let share = counts.rejected as f64 / found.simulations as f64;
        assert!((0.03..=0.07).contains(&share), "{found:?}");
        assert_eq!(counts.not_estimable, 0);
    }
}

#[test]
fn power_rises_with_worlds_and_with_the_hazard_ratio() {
    let of = |worlds, ratio| tally(&study(worlds, 1), ratio, 0.7, 200);
    let (few, many, strong) = (of(8, 2.0), of(40, 2.0), of(8, 6.0));
    for analysis in 0..2 {
        let (few, many, strong) =
            (power(&few, analysis), power(&many, analysis), power(&strong, analysis));
        assert!(few + 0.1 < many && few + 0.1 < strong, "{few} {many} {strong}");
    }
    let protective = of(40, 0.2);
    assert!(power(&protective, 0) > 0.5, "below 1, the right sign is negative: {protective:?}");
}

/// Runs of two doses, each in a world of its own, with a constant exposure.
#[test]
fn power_of_independent_runs_is_that_of_the_formula() {
    let path = |exposure: f64| ExposurePath { entry: 0, end: 500, exposure: vec![exposure; 50] };
    let runs = (0..300).map(|world| {
        let path = usize::from(world % 3 == 0);
        PlannedExposure { path, dose: path as f64, acts: true, stratum: 0, world }
    });
    let design = PowerDesign::new(vec![path(0.0), path(1.0)], runs.collect()).expect("a study");
    assert!((design.dose_spread() - 2.0 / 9.0).abs() < 1e-12);
    let found = tally(&design, 1.7, 0.0, 1000);
    let events = found.events as f64 / found.simulations as f64;
    let formula = SchoenfeldCheck::new(1.7, design.dose_spread(), events).expect("a power");
    assert!((0.5..0.9).contains(&formula.power), "{formula:?}");
    for analysis in 0..2 {
        let power = power(&found, analysis);
        assert!((power - formula.power).abs() < 0.06, "{power} {formula:?}");
    }
}

#[test]
fn the_formula_needs_the_events_that_are_published() {
    // (1.959964 + 0.841621)^2 / (0.25 * ln(2)^2) = 65.34
    let check = SchoenfeldCheck::new(2.0, 0.25, 65.344).expect("a power");
    assert!((check.events_needed - 65.344).abs() < 0.01, "{check:?}");
    assert!((check.power - 0.8).abs() < 1e-4, "{check:?}");
    assert!(SchoenfeldCheck::new(1.0, 0.25, 100.0).is_err());
}

#[test]
fn a_tally_does_not_depend_on_how_simulations_are_divided() {
    let design = study(10, 1);
    let hazard = PlantedHazard::solve(&design, 2.0, &assumed(0.7)).expect("a hazard");
    let simulator = StudySimulator::new(&design, hazard);
    let mut parts = simulator.simulate(5, 0..7);
    parts += simulator.simulate(5, 7..30);
    assert_eq!(parts, simulator.simulate(5, 0..30));
    assert_ne!(parts, simulator.simulate(6, 0..30));
}

#[test]
fn studies_that_show_nothing_are_refused() {
    let path = ExposurePath { entry: 0, end: 20, exposure: vec![0.0; 2] };
    let run =
        |dose: f64, world: u32| PlannedExposure { path: 0, dose, acts: true, stratum: 0, world };
    let design = |runs: &[PlannedExposure]| PowerDesign::new(vec![path.clone()], runs.to_vec());
    let message = |runs: &[PlannedExposure]| design(runs).expect_err("refused").to_string();
    assert!(message(&[]).contains("no runs"));
    assert!(message(&[run(0.0, 0), run(0.0, 1)]).contains("no run has shocks"));
    assert!(message(&[run(0.2, 0), run(0.2, 1)]).contains("every run has the dose 0.2"));
    assert!(message(&[run(0.0, 0), run(0.2, 0)]).contains("one world"));
    let flat = design(&[run(0.0, 0), run(0.2, 1)]).expect("two doses and worlds");
    let problem = |ratio: f64, assumed: HazardAssumptions| {
        PlantedHazard::solve(&flat, ratio, &assumed).expect_err("refused").to_string()
    };
    assert!(problem(2.0, assumed(0.7)).contains("does not rise with the dose"));
    assert!(problem(0.0, assumed(0.7)).contains("hazard ratio"));
    assert!(problem(2.0, HazardAssumptions { baseline: 1.0, ..assumed(0.7) }).contains("baseline"));
    assert!(problem(2.0, assumed(-1.0)).contains("world SD"));
    assert!(problem(2.0, HazardAssumptions { entered: 0.0, ..assumed(0.7) }).contains("enter"));
}
