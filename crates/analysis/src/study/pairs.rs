//! T7: runs with and without shocks in the same world.

use super::context::{Findings, StudyContext};
use super::hazard::DOSE_UNIT;
use super::run::{ObservedRun, RunMeasure};
use super::sheet::table;
use super::survival::p_text;
use crate::document::{Format, Section, Table, Value};
use crate::inference::{
    Alternative, PermutationOptions, WildOptions, WildWeights, Zeros, clustered_difference,
    hodges_lehmann, permutation_test, sign_test, wilcoxon_signed_rank, wild_cluster_bootstrap,
};
use crate::survival::Covariates;
use std::collections::BTreeMap;

/// Arrangements up to which a permutation test enumerates all.
const EXACT_MAX: u64 = 20_000;

pub fn section(context: &StudyContext<'_>, findings: &mut Findings) {
    let Some(control) = context.doses().first().copied() else { return };
    let mut text = vec![
        "Worlds are paired: the same customers, suppliers and prices at every dose. Differences are \
         between means of a world's runs. They need no model of hazards; p-values are exact."
            .to_owned(),
    ];
    match permutation(context) {
        Ok(sentence) => text.push(sentence),
        Err(error) => text.push(format!("No permutation test: {error}.")),
    }
    match wild_bootstrap(context) {
        Ok(sentence) => text.push(sentence),
        Err(error) => text.push(format!("No wild bootstrap: {error}.")),
    }
    let sheet = differences(context, control, findings);
    findings.sections.push(Section {
        id: "pairs".into(),
        title: "Within worlds".into(),
        text,
        tables: vec![sheet, shares(context, control)],
        figures: Vec::new(),
    });
}

/// Doses are permuted within the runs of one world and stratum.
fn permutation(context: &StudyContext<'_>) -> Result<String, crate::AnalysisError> {
    let cohort = &context.cohort;
    let doses: Vec<f64> = cohort.runs.iter().map(|run| run.p_shock).collect();
    let strata = cohort.risk(|_| 0).strata;
    let blocks: Vec<u32> = cohort
        .worlds()
        .iter()
        .zip(&strata)
        .map(|(world, stratum)| stratum * cohort.worlds_count as u32 + world)
        .collect();
    let crashed: Vec<f64> =
        cohort.runs.iter().map(|run| f64::from(u8::from(run.crashed()))).collect();
    let options = PermutationOptions {
        alternative: Alternative::TwoSided,
        exact_max: EXACT_MAX,
        draws: context.options.replicates,
        seed: context.options.seed,
    };
    let statistic = |doses: &[f64]| doses.iter().zip(&crashed).map(|(dose, y)| dose * y).sum();
    let test = permutation_test(&doses, &blocks, &options, statistic)?;
    Ok(format!(
        "Permutation of the doses within worlds, on the association of dose and crashing: p {} ({}).",
        p_text(test.p),
        if test.exact {
            format!("all {} arrangements", test.arrangements)
        } else {
            format!("{} drawn arrangements", test.arrangements)
        }
    ))
}

/// The linear effect of the dose on crashing, tested as befits few worlds.
fn wild_bootstrap(context: &StudyContext<'_>) -> Result<String, crate::AnalysisError> {
    let cohort = &context.cohort;
    let crashed: Vec<f64> =
        cohort.runs.iter().map(|run| f64::from(u8::from(run.crashed()))).collect();
    let dose = cohort.runs.iter().map(|run| run.p_shock / DOSE_UNIT).collect();
    let covariates = Covariates::from_columns(vec![("p_shock".into(), dose)])?;
    let options = WildOptions {
        weights: WildWeights::Webb,
        replicates: context.options.replicates,
        exact_max: EXACT_MAX,
        seed: context.options.seed,
        level: Some(context.options.level),
    };
    let test = wild_cluster_bootstrap(&crashed, &covariates, cohort.worlds(), 0, &options)?;
    let limit = |limit: Option<f64>| {
        limit.map_or("no limit".to_owned(), |limit| format!("{:+.1}", 100.0 * limit))
    };
    Ok(format!(
        "{DOSE_UNIT} more of p(shock) changes the share that crash by {:+.1} percentage points (wild \
         cluster bootstrap over worlds: 95% interval {} to {}, p {}).",
        100.0 * test.estimate,
        limit(test.low),
        limit(test.high),
        p_text(test.p)
    ))
}

/// Mean of a value over the runs of each world and stratum at a dose.
fn by_block(
    context: &StudyContext<'_>,
    dose: f64,
    value: &dyn Fn(&ObservedRun) -> f64,
) -> BTreeMap<(u32, u32), f64> {
    let strata = context.cohort.risk(|_| 0).strata;
    let mut sums: BTreeMap<(u32, u32), (f64, f64)> = BTreeMap::new();
    let runs = context.cohort.runs.iter().zip(strata).zip(context.cohort.worlds());
    for ((run, stratum), world) in runs.filter(|((run, _), _)| run.p_shock == dose) {
        let sum = sums.entry((stratum, *world)).or_default();
        (sum.0, sum.1) = (sum.0 + value(run), sum.1 + 1.0);
    }
    sums.into_iter().map(|(block, (sum, count))| (block, sum / count)).collect()
}

/// Differences of a value between a dose and the control, one a world.
fn paired(
    context: &StudyContext<'_>,
    dose: f64,
    control: f64,
    value: &dyn Fn(&ObservedRun) -> f64,
) -> Vec<f64> {
    let of_control = by_block(context, control, value);
    let of_dose = by_block(context, dose, value);
    let mut by_world: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for ((stratum, world), at_dose) in of_dose {
        if let Some(at_control) = of_control.get(&(stratum, world)) {
            by_world.entry(world).or_default().push(at_dose - at_control);
        }
    }
    by_world.into_values().map(|d| d.iter().sum::<f64>() / d.len() as f64).collect()
}

fn differences(context: &StudyContext<'_>, control: f64, findings: &mut Findings) -> Table {
    let columns = [
        ("p_shock", "p(shock)", Format::Digits(3)),
        ("what", "difference of", Format::Text),
        ("worlds", "worlds", Format::Whole),
        ("median", "median", Format::Digits(3)),
        ("estimate", "Hodges-Lehmann", Format::Digits(3)),
        ("lower", "lower", Format::Digits(3)),
        ("upper", "upper", Format::Digits(3)),
        ("sign_p", "sign test p", Format::P),
        ("wilcoxon_p", "Wilcoxon p", Format::P),
    ];
    let caption = format!("Differences from p(shock) = {control} within worlds");
    let mut sheet = table("t7_pairs", &caption, &columns);
    let measures: [RunMeasure; 3] = [
        ("steps without crash", |run| run.end_step as f64),
        ("share crashed", |run| f64::from(u8::from(run.crashed()))),
        ("accumulated errors", |run| run.at(run.steps).exposure),
    ];
    for dose in context.doses().into_iter().skip(1) {
        for (what, value) in measures {
            let differences = paired(context, dose, control, &value);
            let estimate = hodges_lehmann(&differences, context.options.level).ok();
            let interval = estimate.as_ref().and_then(|estimate| estimate.interval);
            let sign = sign_test(&differences).ok().map(|test| test.p);
            let name = format!("{what}, p_shock {dose} v {control}");
            findings.test("within worlds", name, sign);
            sheet.rows.push(vec![
                dose.into(),
                what.into(),
                differences.len().into(),
                estimate.as_ref().map(|e| e.median).into(),
                estimate.as_ref().map(|e| e.estimate).into(),
                interval.map(|i| i.low).into(),
                interval.map(|i| i.high).into(),
                sign.into(),
                wilcoxon_signed_rank(&differences, Zeros::Pratt).ok().map(|test| test.p).into(),
            ]);
        }
    }
    sheet
}

fn shares(context: &StudyContext<'_>, control: f64) -> Table {
    let columns = [
        ("p_shock", "p(shock)", Format::Digits(3)),
        ("control_share", "crashed in control", Format::Percent),
        ("share", "crashed", Format::Percent),
        ("difference", "difference", Format::Percent),
        ("lower", "lower", Format::Percent),
        ("upper", "upper", Format::Percent),
        ("p", "p", Format::P),
        ("worlds", "worlds", Format::Whole),
    ];
    let mut sheet = table("t7_shares", "Share of runs that crash", &columns);
    for dose in context.doses().into_iter().skip(1) {
        let cohort = context.cohort.filter(|run| run.p_shock == dose || run.p_shock == control);
        let crashed: Vec<bool> = cohort.runs.iter().map(|run| run.crashed()).collect();
        let treated: Vec<bool> = cohort.runs.iter().map(|run| run.p_shock == dose).collect();
        let found =
            clustered_difference(&crashed, &treated, cohort.worlds(), context.options.level);
        let found = found.ok();
        let mut row: Vec<Value> = vec![dose.into()];
        row.extend([
            found.as_ref().map(|f| f.control.share).into(),
            found.as_ref().map(|f| f.treated.share).into(),
            found.as_ref().map(|f| f.difference).into(),
            found.as_ref().map(|f| f.interval.low).into(),
            found.as_ref().map(|f| f.interval.high).into(),
            found.as_ref().map(|f| f.p).into(),
            found.as_ref().map(|f| f.clusters).into(),
        ]);
        sheet.rows.push(row);
    }
    sheet.notes.push("Intervals and p allow for runs of one world being alike.".into());
    sheet
}
