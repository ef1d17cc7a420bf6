//! Two studies or models side by side, paired where their worlds match.

use super::cohort::{Cohort, DOSE_UNIT, EXPOSURE, strata};
use super::context::{ANY_CRASH, AnalysisOptions, Findings, StudyContext, dose_label};
use super::run::{ObservedRun, ObservedStudy, RunMeasure};
use super::sheet::table;
use super::survival::p_text;
use super::world_differences::{CRASHED, DifferenceTests, ERRORS, STEPS, world_differences};
use super::{flow, refusals};
use crate::AnalysisError;
use crate::document::{Axis, Document, Figure, Format, Layer, Section, Severity, Table, Value};
use crate::survival::cox::{self, CoxFit};
use crate::survival::{Covariates, RiskData};
use std::collections::BTreeSet;

/// One side of a comparison.
pub struct Side<'a> {
    /// What the report calls it.
    pub name: &'a str,
    pub studies: &'a [ObservedStudy],
}

/// Compares `b` with `a`. The document is always complete: what cannot be computed is said in it.
pub fn compare(a: &Side<'_>, b: &Side<'_>, options: &AnalysisOptions) -> Document {
    let both: Vec<ObservedStudy> = a.studies.iter().chain(b.studies).cloned().collect();
    let context = StudyContext { studies: &both, cohort: Cohort::of(&both), options };
    let sides = [Cohort::of(a.studies), Cohort::of(b.studies)];
    let names = [a.name, b.name];
    let mut findings = Findings::default();
    findings.sections.push(flow::section(&both));
    let mut answer = vec![format!(
        "{} has {} runs at risk and {} crashes, {} has {} and {}.",
        names[0],
        sides[0].runs.len(),
        sides[0].crashes(),
        names[1],
        sides[1].runs.len(),
        sides[1].crashes()
    )];
    if sides.iter().all(|side| !side.runs.is_empty()) {
        answer.extend(hazards(&context, &sides, names, &mut findings));
        answer.push(pairs(&context, &sides, names, &mut findings));
        curves(&context, &sides, names, &mut findings);
    } else {
        let what = "The two cannot be compared.";
        let why = "One of them has no run at risk.".to_owned();
        findings.refuse("empty_side", Severity::Error, what, why);
    }
    refusals::of_studies(&context, &mut findings);
    findings.refusals.sort_by_key(|refusal| refusal.severity);
    Document {
        title: format!("{} beside {}", names[1], names[0]),
        subtitle: format!("{} runs at risk", sides.iter().map(|s| s.runs.len()).sum::<usize>()),
        answer,
        refusals: findings.refusals,
        sections: findings.sections,
    }
}

/// What a run shares with its partner: dose and levels, but the model's name.
fn cell(run: &ObservedRun) -> String {
    let named = |key: &str| key == "model.name" || key == "agent.policy";
    let levels = run.levels.iter().filter(|(key, _)| !named(key));
    let levels: Vec<String> = levels.map(|(key, level)| format!("{key}={level}")).collect();
    format!("p_shock={} {}", run.p_shock, levels.join(" "))
}

/// All runs of both sides: time at risk with strata of equal cells, and the side of each run.
fn together<'a>(sides: &[Cohort<'a>; 2]) -> (Cohort<'a>, Vec<u32>, Vec<f64>) {
    let runs = sides[0].runs.iter().chain(&sides[1].runs).copied();
    let cohort = Cohort::select(runs);
    let strata = strata(&cohort.runs, cell);
    let first = sides[0].runs.len();
    let side = (0..cohort.runs.len()).map(|run| f64::from(u8::from(run >= first))).collect();
    (cohort, strata, side)
}

/// Cox models with the side as a covariate, and its interactions.
fn hazards(
    context: &StudyContext<'_>,
    sides: &[Cohort<'_>; 2],
    names: [&str; 2],
    findings: &mut Findings,
) -> Option<String> {
    let (cohort, cells, side) = together(sides);
    let options = context.cox();
    let risk = RiskData { strata: cells.clone(), ..cohort.crash_risk() };
    let label = format!("{} v {}", names[1], names[0]);
    let alone = Covariates::from_columns(vec![(label.clone(), side.clone())])
        .and_then(|covariates| cox::fit(&risk, &covariates, &options));
    let dose: Vec<f64> =
        cohort.runs.iter().zip(&side).map(|(run, side)| side * run.p_shock / DOSE_UNIT).collect();
    let interaction = Covariates::from_columns(vec![
        (label.clone(), side.clone()),
        (format!("{label}: more effect of {DOSE_UNIT} of p(shock)"), dose),
    ])
    .and_then(|covariates| cox::fit(&risk, &covariates, &options));
    let (mut risk, exposure, runs) = cohort.time_varying(&[EXPOSURE], context.options.lag);
    risk.strata = runs.iter().map(|run| cells[*run]).collect();
    let of_run = |run: &usize| side[*run];
    let with_exposure = Covariates::from_columns(vec![
        (label.clone(), runs.iter().map(of_run).collect()),
        ("accumulated errors".into(), exposure.values.clone()),
        (
            format!("{label}: more effect of errors"),
            runs.iter().zip(&exposure.values).map(|(run, e)| of_run(run) * e).collect(),
        ),
    ])
    .and_then(|covariates| cox::fit(&risk, &covariates, &options));
    let sentence = alone.as_ref().ok().and_then(|fit| fit.coefficients.first()).map(|c| {
        format!(
            "In equal cells, the hazard of a crash of {} is {:.2} times that of {} (95% interval \
             {:.2} to {:.2}, p {}).",
            names[1],
            c.hazard_ratio,
            names[0],
            c.hazard_ratio_lower,
            c.hazard_ratio_upper,
            p_text(c.p)
        )
    });
    let models = [
        ("side", alone),
        ("side and its effect of the dose", interaction),
        ("side and its effect of errors", with_exposure),
    ];
    findings.sections.push(Section {
        id: "hazards".into(),
        title: "Hazards".into(),
        text: vec![
            "Cox models stratified by cell (dose and all other factors), so that only runs of equal \
             cells are compared; errors robust by world."
                .into(),
        ],
        tables: vec![model_table(models)],
        figures: Vec::new(),
    });
    sentence
}

fn model_table(models: [(&str, Result<CoxFit, AnalysisError>); 3]) -> Table {
    let columns = [
        ("model", "model", Format::Text),
        ("covariate", "covariate", Format::Text),
        ("coef", "log HR", Format::Digits(3)),
        ("robust_se", "robust s.e.", Format::Digits(3)),
        ("hr", "HR", Format::Decimals(2)),
        ("lower", "lower", Format::Decimals(2)),
        ("upper", "upper", Format::Decimals(2)),
        ("p", "p", Format::P),
    ];
    let mut sheet = table("compare_hazards", "Hazards of the two", &columns);
    for (name, fit) in models {
        match fit {
            Ok(fit) => sheet.rows.extend(fit.coefficients.iter().map(|c| {
                vec![
                    name.into(),
                    c.name.clone().into(),
                    c.coef.into(),
                    c.robust_se.into(),
                    c.hazard_ratio.into(),
                    c.hazard_ratio_lower.into(),
                    c.hazard_ratio_upper.into(),
                    c.p.into(),
                ]
            })),
            Err(error) => {
                let mut row: Vec<Value> =
                    vec![name.into(), format!("not estimable: {error}").into()];
                row.resize(columns.len(), Value::None);
                sheet.rows.push(row);
            }
        }
    }
    sheet
}

/// Values of the runs with their worlds and cells.
fn by_world(
    cohort: &Cohort<'_>,
    value: fn(&ObservedRun) -> f64,
) -> impl Iterator<Item = ((u64, String), f64)> {
    cohort.runs.iter().map(move |run| ((run.world, cell(run)), value(run)))
}

/// Differences within worlds. Returns the sentence for the answer.
fn pairs(
    context: &StudyContext<'_>,
    sides: &[Cohort<'_>; 2],
    names: [&str; 2],
    findings: &mut Findings,
) -> String {
    let columns =
        [&[("what", "difference of", Format::Text)], DifferenceTests::COLUMNS.as_slice()].concat();
    let caption = format!("{} minus {}, in the same worlds and cells", names[1], names[0]);
    let mut sheet = table("compare_pairs", &caption, &columns);
    let net_worth: RunMeasure = ("net worth", |run| run.net_worth);
    let mut sentence = None;
    for (what, value) in [STEPS, CRASHED, ERRORS, net_worth] {
        let differences = world_differences(by_world(&sides[1], value), by_world(&sides[0], value));
        if differences.is_empty() {
            let what = "The two are not paired.";
            let why = "They share no world and cell: compare studies with the same \
                       experiment.seed and levels."
                .to_owned();
            findings.refuse("no_pairs", Severity::Warning, what, why);
            return "They share no worlds, so that nothing is paired.".to_owned();
        }
        let tests = DifferenceTests::of(&differences, context.options);
        if let (Some(estimate), None) = (&tests.estimate, &sentence) {
            sentence = Some(format!(
                "In {} shared worlds, {} goes on for {:.1} steps more than {} without a crash{}.",
                differences.len(),
                names[1],
                estimate.estimate,
                names[0],
                tests.wilcoxon_p.map_or(String::new(), |p| format!(" (Wilcoxon p {})", p_text(p)))
            ));
        }
        sheet.rows.push(std::iter::once(what.into()).chain(tests.cells()).collect());
    }
    findings.sections.push(Section {
        id: "pairs".into(),
        title: "Within worlds".into(),
        text: vec!["Means over the runs of a world, compared within worlds and cells.".into()],
        tables: vec![sheet],
        figures: Vec::new(),
    });
    sentence.unwrap_or_else(|| "Differences within worlds have no estimate.".to_owned())
}

/// Survival of both, without shocks and at the highest dose.
fn curves(
    context: &StudyContext<'_>,
    sides: &[Cohort<'_>; 2],
    names: [&str; 2],
    findings: &mut Findings,
) {
    let doses = context.doses();
    let ends: BTreeSet<u64> =
        [doses.first(), doses.last()].into_iter().flatten().map(|dose| dose.to_bits()).collect();
    let mut layers = Vec::new();
    for (side, name) in sides.iter().zip(names) {
        for dose in ends.iter().map(|bits| f64::from_bits(*bits)) {
            let curve = side.of_dose(dose).survival_curve(context.options.level);
            let Ok(curve) = curve else { continue };
            let points = curve.times.iter().copied().zip(curve.survival.iter().copied());
            layers.push(Layer::Steps {
                series: format!("{name}, {}", dose_label(dose)),
                points: std::iter::once((curve.origin, 1.0)).chain(points).collect(),
            });
        }
    }
    if layers.is_empty() {
        return;
    }
    let axis = |label: &str, high: f64| Axis::linear(label).from_to(0.0, high);
    let figure = Figure {
        id: "compare_km".into(),
        title: "Share of runs without a crash".into(),
        caption: "Kaplan-Meier estimates of both, at the lowest and the highest dose.".into(),
        alt: format!("Survival curves of {} and {}.", names[0], names[1]),
        x: axis("step", context.horizon()),
        y: axis("without a crash", 1.0),
        layers,
        at_risk: None,
        command: context.command("runs", &format!("{ANY_CRASH} --group p_shock --model km")),
    };
    findings.sections.push(Section {
        id: "survival".into(),
        title: "Survival".into(),
        figures: vec![figure],
        ..Section::default()
    });
}
