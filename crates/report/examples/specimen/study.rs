//! Documents of the specimen.

use crate::simulated::runs;
use crate::{figures, long_figures, tables};
use analysis::document::{Document, Refusal, Section, Severity};
use report::Colophon;

fn section(id: &str, title: &str, text: &[&str]) -> Section {
    let text = text.iter().map(|paragraph| paragraph.to_string()).collect();
    Section { id: id.into(), title: title.into(), text, ..Section::default() }
}

fn refusal(code: &'static str, severity: Severity, what: &str, why: &str) -> Refusal {
    Refusal { code, severity, what: what.into(), why: why.into() }
}

pub fn colophon() -> Colophon {
    let fact = |name: &str, value: &str| (name.to_string(), value.to_string());
    Colophon {
        facts: vec![
            fact("Program", "vendomini 0.2.0, design 3"),
            fact("Study", "results/phase2_realistic"),
            fact(
                "Configuration",
                "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15",
            ),
            fact("Runs", "412 of 420 planned; 8 failed and are excluded"),
        ],
        command: "vendomini report results/phase2_realistic --primary delivery".into(),
    }
}

/// A study with every kind of figure.
pub fn specimen() -> Document {
    let runs = runs(80, 500.0, 7);
    let mut flow = section(
        "flow",
        "Runs",
        &["Of 420 planned runs 412 were completed. Each cell has at least 80 runs in 60 worlds."],
    );
    flow.tables = vec![tables::flow(&runs)];
    flow.figures = vec![long_figures::swimlane(&runs)];
    let mut dose = section(
        "dose",
        "The dose that was given",
        &["A shock that hits nothing is no dose. The analysis uses the shocks that changed what \
         the agent met, with the probability asked for as their instrument."],
    );
    dose.figures = vec![long_figures::wasted()];
    let mut survival = section(
        "survival",
        "Time to the first crash",
        &[
            "The event is the onset of the first window that a primary detector fires on. Primary \
         detectors read neither the forecast nor whether a call failed, so that exposure and event \
         are not the same numbers.",
            "Runs that are ruined or expire leave the risk set; they are competing events in \
         Figure 4.",
        ],
    );
    survival.figures = vec![
        figures::km_by_dose(&runs),
        figures::incidence(&runs),
        figures::log_cumulative_hazard(&runs),
    ];
    let mut exposure = section(
        "exposure",
        "Accumulated error and the hazard",
        &["The hazard depends on the error accumulated up to 20 steps before, not on the \
         dose itself."],
    );
    exposure.figures = vec![
        figures::spaghetti(&runs, 300, 300),
        figures::hazard(9),
        long_figures::forest(),
        long_figures::two_models(),
    ];
    exposure.tables = vec![tables::cox(), tables::sensitivity()];
    let mut detectors = section("detectors", "Detectors", &[]);
    detectors.figures = vec![long_figures::cofiring(), long_figures::wide_matrix()];
    let mut appendix = section("appendix", "Appendix", &[]);
    appendix.tables = vec![tables::every_run(&runs)];
    Document {
        title: "Prediction error and crashes: phase 2, realistic".into(),
        subtitle: "412 runs of smollm2-360m-instruct, 5 doses in 60 worlds, 500 steps".into(),
        answer: vec![
            "Ten more units of accumulated delivery error raise the hazard of a crash by half: \
             hazard ratio 1.51, 95% interval 1.34 to 1.70."
                .into(),
            "Of runs at p = 1, 62 percentage points more crash within 500 steps than of runs \
             without shocks (49 to 74)."
                .into(),
            "With the accumulated error in the model, the dose itself adds nothing that the data \
             can show."
                .into(),
        ],
        refusals: vec![
            refusal(
                "few_events",
                Severity::Error,
                "No effect of rule shocks alone can be stated.",
                "7 crashes for 2 parameters; at least 20 are needed. About 60 more runs of \
                 rule_only at p = 0.6 would do.",
            ),
            refusal(
                "wasted_shocks",
                Severity::Warning,
                "Doses of quantity shocks are lower than asked for.",
                "33% of the quantity shocks found no order on its way; the table of doses gives the \
                 shares. Results use effective shocks.",
            ),
            refusal(
                "proportional_hazards",
                Severity::Warning,
                "The hazard ratio of effective shocks is an average over time.",
                "The test of proportional hazards gives p = .047 for it.",
            ),
        ],
        sections: vec![flow, dose, survival, exposure, detectors, appendix],
    }
}

/// A study of which nothing can be concluded: no figures, no tables.
pub fn empty() -> Document {
    let text = "0 of 12 runs are completed. The report needs at least one completed run.";
    Document {
        title: "Prediction error and crashes: pilot".into(),
        subtitle: "12 runs planned".into(),
        answer: vec!["There are no completed runs, so there is nothing to analyze yet.".into()],
        refusals: vec![refusal(
            "no_runs",
            Severity::Error,
            "Nothing can be concluded.",
            "0 of 12 runs are completed.",
        )],
        sections: vec![section("flow", "Runs", &[text])],
    }
}

/// A study of many long runs: the page must stay below 5 MB.
pub fn large() -> Document {
    let mut runs = runs(200, 2000.0, 8);
    // An average that moves at every step, so that no point of a line can be left out.
    let mut random = base::SplitMix64(1);
    for exposure in runs.iter_mut().flat_map(|run| &mut run.exposure) {
        *exposure += random.next_f64();
    }
    let mut document = specimen();
    document.title = "A large study".into();
    document.sections[3].figures[0] = figures::spaghetti(&runs, 1000, 2000);
    document.sections[5].tables = vec![tables::every_run(&runs)];
    document
}
