//! Simulates studies of the control operators and analyzes them as `vendomini report` does: the
//! known effect is found, intervals cover as they should, and nothing is found where nothing is.
//!
//! `cargo run --release -p experiment --example controls STUDIES [CONFIG ...]`; exit code 1 if a
//! figure is outside its limits. A study has its configuration's worlds and a seed of its own.

use analysis::study::{AnalysisOptions, Headline, headline};
use experiment::{Config, simulated_study};
use std::io::Write;
use std::path::Path;

/// Share of 95% intervals that may cover the truth. A thousand studies: within 3 standard errors.
const COVERAGE: (f64, f64) = (0.93, 0.97);
/// Runs at risk and crashes below which a study is no test of anything.
const INFORMATIVE: (usize, usize) = (200, 50);
/// The mean estimate may differ from the planted one by this share of it.
const BIAS_MAX: f64 = 0.05;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [studies, configs @ ..] = arguments.as_slice() else {
        return Err("expected STUDIES [CONFIG ...]".into());
    };
    let studies: u64 = studies.parse()?;
    let mut failures = 0;
    for config in configs {
        failures += control(Path::new(config), studies)?;
    }
    std::process::exit(i32::from(failures > 0));
}

/// Simulates the studies of one configuration; returns the number of figures outside their limits.
fn control(file: &Path, studies: u64) -> Result<usize, Box<dyn std::error::Error>> {
    let seed = Config::load(file, &[])?.seed();
    // The random operator's errors are lagged: an order is a trade, which abandonment reads.
    let options = AnalysisOptions::default();
    let (mut found, mut truth) = (Vec::new(), None);
    let mut least = (usize::MAX, usize::MAX);
    for study in 0..studies {
        let set = format!("experiment.seed={}", seed + 1_000_000 * (study + 1));
        let observed = simulated_study(&Config::load(file, &[set])?)?;
        truth = truth.or(observed.runs.first().and_then(|run| run.known_effect));
        let at_risk = observed.runs.iter().filter(|run| run.is_at_risk()).count();
        let crashes = observed.runs.iter().filter(|run| run.crashed()).count();
        least = (least.0.min(at_risk), least.1.min(crashes));
        found.push(headline(&[observed], &options));
    }
    let mut failures = 0;
    let mut out = std::io::stdout().lock();
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let (at_risk, crashes) = least;
    writeln!(out, "{name}: each study has at least {at_risk} runs at risk and {crashes} crashes")?;
    if at_risk < INFORMATIVE.0 || crashes < INFORMATIVE.1 {
        let (runs, events) = INFORMATIVE;
        writeln!(out, "FAILED {name}: expected at least {runs} runs at risk and {events} crashes")?;
        failures += 1;
    }
    let estimate = |headline: &Headline| match truth {
        Some(_) => headline.exposure_now.clone(),
        None => headline.exposure.clone(),
    };
    let covered = truth.unwrap_or(0.0);
    let estimates: Vec<_> = found.iter().filter_map(estimate).collect();
    failures += figure(&mut out, &name, "accumulated errors", covered, studies, &estimates)?;
    if truth == Some(0.0) {
        let assigned: Vec<_> = found.iter().filter_map(|h| h.assigned.clone()).collect();
        failures += figure(&mut out, &name, "assigned dose", 0.0, studies, &assigned)?;
    }
    Ok(failures)
}

fn figure(
    out: &mut impl Write,
    control: &str,
    of: &str,
    truth: f64,
    studies: u64,
    estimates: &[analysis::survival::Coefficient],
) -> std::io::Result<usize> {
    let count = estimates.len() as f64;
    let covers = |c: &&analysis::survival::Coefficient| c.lower <= truth && truth <= c.upper;
    let coverage = estimates.iter().filter(covers).count() as f64 / count;
    let mean = estimates.iter().map(|c| c.coef).sum::<f64>() / count;
    let sd =
        (estimates.iter().map(|c| (c.coef - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt();
    let se = estimates.iter().filter_map(|c| c.robust_se).sum::<f64>() / count;
    writeln!(
        out,
        "{control}, {of}: {count} studies, mean estimate {mean:.5} (true {truth}), sd {sd:.5}, mean \
         robust se {se:.5}; 95% intervals cover in {:.1}%",
        100.0 * coverage
    )?;
    // Fewer studies than a thousand vary more by chance.
    let slack = 3.3 * (0.95 * 0.05 / count).sqrt() - 3.3 * (0.95_f64 * 0.05 / 1000.0).sqrt();
    let (low, high) = (COVERAGE.0 - slack.max(0.0), COVERAGE.1 + slack.max(0.0));
    let bias_max = (BIAS_MAX * truth).max(3.3 * sd / count.sqrt());
    let mut failures = 0;
    for (is_wrong, what) in [
        (estimates.len() as u64 != studies, "some studies have no estimate".to_owned()),
        (coverage < low || coverage > high, format!("coverage is outside {low:.3} to {high:.3}")),
        ((mean - truth).abs() > bias_max, format!("the mean is more than {bias_max:.5} off")),
    ] {
        if is_wrong {
            writeln!(out, "FAILED {control}, {of}: {what}")?;
            failures += 1;
        }
    }
    Ok(failures)
}
