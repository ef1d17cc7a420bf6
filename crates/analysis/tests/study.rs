//! Tests of whole analyses: of studies whose answer is known, and of studies that have none.

use analysis::document::{Document, Severity, Value};
use analysis::study::{
    AnalysisOptions, Behavior, ObservedCrash, ObservedRun, ObservedStudy, PathPoint, RunEnd,
    ShockCounts, Side, analyze, compare,
};
use base::SplitMix64;
use std::collections::BTreeMap;

const HORIZON: u64 = 400;

/// How a synthetic study is made.
#[derive(Clone)]
struct Make {
    worlds: u64,
    doses: Vec<f64>,
    draws: u64,
    /// Hazard of a crash in a step.
    hazard: f64,
    /// Log hazard ratio of a unit of exposure.
    beta: f64,
    seed: u64,
}

impl Default for Make {
    fn default() -> Make {
        Make {
            worlds: 20,
            doses: vec![0.0, 0.1, 0.2, 0.3],
            draws: 3,
            hazard: 0.001,
            beta: 0.05,
            seed: 1,
        }
    }
}

fn options() -> AnalysisOptions {
    AnalysisOptions { replicates: 100, ..AnalysisOptions::default() }
}

fn uniform(random: &mut SplitMix64) -> f64 {
    random.next_f64()
}

fn study(make: &Make) -> ObservedStudy {
    let mut random = SplitMix64(make.seed);
    let mut runs = Vec::new();
    for world in 0..make.worlds {
        for dose in &make.doses {
            for draw in 0..make.draws {
                runs.push(run(make, world, *dose, draw, &mut random));
            }
        }
    }
    ObservedStudy {
        name: "synthetic".into(),
        design: "v2".into(),
        folder: "results/synthetic".into(),
        factors: vec!["pe_induction.p_shock".into()],
        planned: runs.len(),
        runs,
        ..ObservedStudy::default()
    }
}

fn run(make: &Make, world: u64, dose: f64, draw: u64, random: &mut SplitMix64) -> ObservedRun {
    let mut path: Vec<PathPoint> = Vec::new();
    let (mut at, mut shocks) = (PathPoint::default(), [0_u64; 4]);
    let mut crash = None;
    for step in 1..=HORIZON {
        let exposure = at.exposure;
        if crash.is_none()
            && step > 20
            && uniform(random) < make.hazard * (make.beta * exposure).exp()
        {
            crash = Some(step);
        }
        if uniform(random) < dose {
            let kind = (random.next_u64() % 4) as usize;
            shocks[kind] += 1;
            at.shocks[kind] += 1;
        }
        if step % 5 == 0 {
            at = PathPoint { step, exposure: exposure + 0.1 + dose * 3.0 * uniform(random), ..at };
            path.push(at);
        }
    }
    let end = match crash {
        Some(_) => RunEnd::Crash(["looping", "abandoned"][(random.next_u64() % 2) as usize].into()),
        None => RunEnd::Horizon,
    };
    let crashes = crash.iter().map(|onset| ObservedCrash {
        detector: end.label()["crash:".len()..].to_owned(),
        primary: true,
        onset: *onset,
        detected: (*onset + 10).min(HORIZON),
        recovered: Some(*onset + 30).filter(|step| *step < HORIZON),
        severity: None,
    });
    ObservedRun {
        run_id: format!("{world}-{dose}-{draw}"),
        model: "m/7B".into(),
        parameters_b: Some(7.0),
        world,
        draw,
        p_shock: dose,
        levels: BTreeMap::from([("pe_induction.p_shock".into(), dose.to_string())]),
        steps: HORIZON,
        horizon: HORIZON,
        days: HORIZON / 4,
        entry: Some(20),
        end_step: crash.unwrap_or(HORIZON),
        crashes: crashes.collect(),
        end,
        shocks: ShockCounts { drawn: shocks, applied: shocks, told: [0; 4] },
        path,
        mean_errors: vec![("quantity".into(), 0.1 + dose * uniform(random))],
        before_event: crash.map(|_| Behavior {
            success: uniform(random),
            waiting: uniform(random),
            ..Behavior::default()
        }),
        known_effect: Some(make.beta),
        ..ObservedRun::default()
    }
}

fn codes(document: &Document, severity: Severity) -> Vec<&'static str> {
    let found = document.refusals.iter().filter(|refusal| refusal.severity == severity);
    found.map(|refusal| refusal.code).collect()
}

fn cell<'a>(document: &'a Document, table: &str, row: usize, column: &str) -> &'a Value {
    let tables = document.sections.iter().flat_map(|section| &section.tables);
    let table = tables.into_iter().find(|t| t.id == table).expect("the table");
    let column = table.columns.iter().position(|c| c.name == column).expect("the column");
    &table.rows[row][column]
}

fn number(document: &Document, table: &str, row: usize, column: &str) -> f64 {
    match cell(document, table, row, column) {
        Value::Number(number) => *number,
        other => panic!("{table} {row} {column}: {other:?}"),
    }
}

/// Every table has one value for each column, and every figure something to draw.
#[track_caller]
fn assert_well_formed(document: &Document) {
    assert_eq!(document.answer.len(), 3, "{:?}", document.answer);
    for section in &document.sections {
        for table in &section.tables {
            for row in &table.rows {
                assert_eq!(row.len(), table.columns.len(), "{}", table.id);
                for value in row {
                    assert!(!matches!(value, Value::Number(x) if !x.is_finite()), "{}", table.id);
                }
            }
        }
        for figure in &section.figures {
            assert!(!figure.layers.is_empty(), "{}", figure.id);
            assert!(!figure.alt.is_empty() && !figure.command.is_empty(), "{}", figure.id);
        }
    }
    let mut ids: Vec<&str> =
        document.sections.iter().flat_map(|s| s.tables.iter().map(|t| t.id.as_str())).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "names of tables are file names");
}

#[test]
fn a_known_effect_is_found_and_stated() {
    let document = analyze(&[study(&Make::default())], &options());
    assert_well_formed(&document);
    assert!(codes(&document, Severity::Error).is_empty(), "{:?}", document.refusals);
    assert!(document.answer[0].starts_with("Crashes follow"), "{:?}", document.answer);
    assert_eq!(cell(&document, "t5_time_varying", 0, "covariate"), &Value::Text("exposure".into()));
    let (coef, se) = (
        number(&document, "t5_time_varying", 0, "coef"),
        number(&document, "t5_time_varying", 0, "robust_se"),
    );
    assert!((coef - 0.05).abs() < 3.0 * se, "{coef} {se}");
    assert!(number(&document, "t4_cox", 0, "hr") > 1.1);
    assert_eq!(number(&document, "t1_flow", 0, "runs"), 60.0);
}

#[test]
fn without_an_effect_none_is_stated() {
    let make = Make { beta: 0.0, hazard: 0.003, ..Make::default() };
    let document = analyze(&[study(&make)], &options());
    assert_well_formed(&document);
    assert!(document.answer[0].starts_with("There is no sign"), "{:?}", document.answer);
    assert!(codes(&document, Severity::Error).is_empty(), "{:?}", document.refusals);
}

#[test]
fn a_control_that_is_missed_is_an_error() {
    let mut observed = study(&Make::default());
    observed.runs.iter_mut().for_each(|run| run.known_effect = Some(0.5));
    let document = analyze(&[observed], &options());
    assert!(codes(&document, Severity::Error).contains(&"control_failed"));
    assert!(document.answer[0].contains("read first"), "{:?}", document.answer);
}

#[test]
fn studies_without_an_answer_say_why() {
    let of = |make: Make| study(&make);
    let mut cases: Vec<(&str, Vec<ObservedStudy>)> = vec![
        ("no_events", vec![of(Make { hazard: 0.0, ..Make::default() })]),
        ("one_dose", vec![of(Make { doses: vec![0.1], ..Make::default() })]),
        ("few_worlds", vec![of(Make { worlds: 1, ..Make::default() })]),
        ("nothing_at_risk", vec![of(Make { worlds: 0, ..Make::default() })]),
    ];
    let mut never = study(&Make::default());
    never.runs.iter_mut().for_each(|run| run.entry = None);
    cases.push(("nothing_at_risk", vec![never]));
    let mut v1 = study(&Make::default());
    v1.design = "v1".into();
    v1.runs.iter_mut().for_each(|run| run.path.clear());
    cases.push(("design_v1", vec![v1.clone()]));
    cases.push(("mixed_designs", vec![study(&Make::default()), v1]));
    let mut few = study(&Make { hazard: 0.0, ..Make::default() });
    (few.runs[5].end, few.runs[5].end_step) = (RunEnd::Crash("looping".into()), 100);
    cases.push(("few_events", vec![few]));
    let mut separated = study(&Make { hazard: 0.0, ..Make::default() });
    for run in separated.runs.iter_mut().filter(|run| run.p_shock > 0.25) {
        (run.end, run.end_step) = (RunEnd::Crash("looping".into()), 100 + run.world);
    }
    cases.push(("separation", vec![separated]));
    for (code, studies) in cases {
        let document = analyze(&studies, &options());
        assert_well_formed(&document);
        let found = codes(&document, Severity::Error);
        assert!(found.contains(&code), "{code}: {found:?}");
    }
}

#[test]
fn p_values_are_corrected_within_the_declared_families() {
    let rows = |studies: &[ObservedStudy]| {
        let document = analyze(studies, &options());
        let sections = document.sections.into_iter();
        let tables = sections.flat_map(|section| section.tables);
        tables.into_iter().find(|table| table.id == "families").expect("the table").rows
    };
    let sizes = |rows: &[Vec<Value>]| {
        let mut sizes = BTreeMap::new();
        for row in rows {
            let Value::Text(family) = &row[0] else { panic!("{row:?}") };
            sizes.insert(family.clone(), row[4].clone());
        }
        sizes
    };
    let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let plain = study(&Make::default());
    let apart = sizes(&rows(std::slice::from_ref(&plain)));
    assert_eq!(apart["doses"], Value::Number(3.0));
    assert_eq!(apart["within_worlds"], Value::Number(9.0));
    let declares = ObservedStudy {
        families: [("main".to_owned(), text(&["doses", "within_worlds"]))].into(),
        ..plain.clone()
    };
    let together = sizes(&rows(std::slice::from_ref(&declares)));
    assert_eq!(together["main"], Value::Number(12.0));
    assert!(!together.contains_key("doses"));
    // Studies that declare different families have none in common.
    assert_eq!(sizes(&rows(&[declares, plain]))["doses"], Value::Number(3.0));
}

#[test]
fn what_is_left_out_is_a_warning() {
    let mut observed = study(&Make::default());
    observed.unreadable.push(("abc".into(), "line 3: torn".into()));
    observed.planned += 10;
    observed.runs.iter_mut().step_by(3).for_each(|run| run.entry = None);
    observed.runs.iter_mut().for_each(|run| run.shocks.applied = [0; 4]);
    let document = analyze(&[observed], &options());
    assert_well_formed(&document);
    let found = codes(&document, Severity::Warning);
    for code in ["unreadable", "unfinished", "floor", "wasted_shocks"] {
        assert!(found.contains(&code), "{code}: {found:?}");
    }
}

#[test]
fn an_analysis_depends_on_its_seed_and_data_alone() {
    let observed = study(&Make { worlds: 8, ..Make::default() });
    let document = analyze(std::slice::from_ref(&observed), &options());
    assert_eq!(document, analyze(&[observed], &options()));
}

#[test]
fn degenerate_studies_are_analyzed_to_the_end() {
    for seed in 0..30 {
        let mut random = SplitMix64(seed);
        let make = Make {
            worlds: random.next_u64() % 5,
            doses: [0.0, 0.1, 0.3][..(random.next_u64() % 3 + 1) as usize].to_vec(),
            draws: random.next_u64() % 3,
            hazard: [0.0, 0.002, 0.2, 1.0][(random.next_u64() % 4) as usize],
            beta: 0.05,
            seed,
        };
        let mut observed = study(&make);
        for run in &mut observed.runs {
            match random.next_u64() % 6 {
                0 => run.entry = None,
                1 => run.path.clear(),
                2 => run.entry = Some(run.end_step),
                3 => run.mean_errors.clear(),
                _ => {}
            }
        }
        assert_well_formed(&analyze(&[observed], &options()));
    }
}

#[test]
fn two_studies_are_compared_within_worlds() {
    let (a, b) = (study(&Make::default()), study(&Make { hazard: 0.004, ..Make::default() }));
    let side = |name, study| Side { name, studies: std::slice::from_ref(study) };
    let document = compare(&side("a", &a), &side("b", &b), &options());
    let ratio = number(&document, "compare_hazards", 0, "hr");
    assert!((2.5..6.0).contains(&ratio), "{ratio}");
    assert!(number(&document, "compare_pairs", 0, "estimate") < 0.0);
    assert!(document.answer[1].contains("hazard of a crash of b"), "{:?}", document.answer);
    let mut elsewhere = b.clone();
    elsewhere.runs.iter_mut().for_each(|run| run.world += 1000);
    let document = compare(&side("a", &a), &side("b", &elsewhere), &options());
    assert!(codes(&document, Severity::Warning).contains(&"no_pairs"));
    let none = ObservedStudy { runs: Vec::new(), ..b.clone() };
    let document = compare(&side("a", &a), &side("b", &none), &options());
    assert!(codes(&document, Severity::Error).contains(&"empty_side"));
}
