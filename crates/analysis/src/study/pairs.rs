//! T7: runs with and without shocks in the same world.

use super::cohort::DOSE_UNIT;
use super::context::{Findings, StudyContext, WITHIN_WORLDS};
use super::run::ObservedRun;
use super::sheet::table;
use super::survival::p_text;
use super::world_differences::{CRASHED, DifferenceTests, ERRORS, STEPS, world_differences};
use crate::document::{Format, Section, Table, Value};
use crate::inference::{
    Alternative, PermutationOptions, WildOptions, WildWeights, clustered_difference,
    permutation_test, wild_cluster_bootstrap,
};

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
    let crashed: Vec<f64> = cohort.runs.iter().map(|run| run.crash_cause().into()).collect();
    let options = PermutationOptions {
        alternative: Alternative::TwoSided,
        exact_max: EXACT_MAX,
        draws: context.options.replicates,
        seed: context.options.seed,
    };
    let statistic = |doses: &[f64]| doses.iter().zip(&crashed).map(|(dose, y)| dose * y).sum();
    let test = permutation_test(&doses, &cohort.blocks(), &options, statistic)?;
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
    let crashed: Vec<f64> = cohort.runs.iter().map(|run| run.crash_cause().into()).collect();
    let options = WildOptions {
        weights: WildWeights::Webb,
        replicates: context.options.replicates,
        exact_max: EXACT_MAX,
        seed: context.options.seed,
        level: Some(context.options.level),
    };
    let test =
        wild_cluster_bootstrap(&crashed, &cohort.assigned_dose(), cohort.worlds(), 0, &options)?;
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

/// Differences of a value between a dose and the control, one a world.
fn paired(
    context: &StudyContext<'_>,
    dose: f64,
    control: f64,
    value: fn(&ObservedRun) -> f64,
) -> Vec<f64> {
    let cohort = &context.cohort;
    let of_dose = |dose: f64| {
        let runs = cohort.runs.iter().zip(cohort.worlds()).zip(cohort.strata());
        runs.filter(move |((run, _), _)| run.p_shock == dose)
            .map(move |((run, world), stratum)| ((*world, *stratum), value(run)))
    };
    world_differences(of_dose(dose), of_dose(control))
}

fn differences(context: &StudyContext<'_>, control: f64, findings: &mut Findings) -> Table {
    let columns = [
        &[("p_shock", "p(shock)", Format::Digits(3)), ("what", "difference of", Format::Text)],
        DifferenceTests::COLUMNS.as_slice(),
    ]
    .concat();
    let caption = format!("Differences from p(shock) = {control} within worlds");
    let mut sheet = table("t7_pairs", &caption, &columns);
    for dose in context.doses().into_iter().skip(1) {
        for (what, value) in [STEPS, CRASHED, ERRORS] {
            let tests =
                DifferenceTests::of(&paired(context, dose, control, value), context.options);
            let name = format!("{what}, p_shock {dose} v {control}");
            findings.test(WITHIN_WORLDS, name, tests.sign_p);
            let head: [Value; 2] = [dose.into(), what.into()];
            sheet.rows.push(head.into_iter().chain(tests.cells()).collect());
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
