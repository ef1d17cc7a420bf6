//! The columns that begin every table: which study, run and cell a row belongs to.

use super::columns::ExportColumn;
use crate::config::thinking_label;
use analysis::study::stratum_name;
use results::{ExperimentRecord, RunRecord};
use serde_json::Value;
use std::collections::BTreeMap;
use warehouse::Design;

/// The columns of a study.
pub(super) struct StudyKeys {
    study: String,
    phase: Option<String>,
    factors: Vec<String>,
}

/// Values of the key columns of one run.
#[derive(Debug, Clone)]
pub(super) struct RunKeys {
    study: String,
    phase: Option<String>,
    design: String,
    run_id: String,
    model: String,
    replicate: u64,
    draw: u64,
    seed: u64,
    p_shock: Option<f64>,
    levels: ShockLevels,
    expanded: bool,
    stratum: String,
}

/// Values of the keys that have no effect in runs without shocks.
#[derive(Debug, Clone)]
struct ShockLevels {
    pe_mag: Option<String>,
    pe_type_mix: Option<String>,
    observability: Option<String>,
}

/// All combinations of shock levels of a study.
pub(super) struct ControlLevels(Vec<ShockLevels>);

const PE_MAG: &str = "pe_induction.pe_mag";
const PE_TYPE_MIX: &str = "pe_induction.pe_type_mix";
const OBSERVABILITY: &str = "pe_induction.observability";

impl StudyKeys {
    pub fn of(experiment: &ExperimentRecord) -> StudyKeys {
        let phase = experiment.configuration.get("experiment.phase").and_then(Value::as_str);
        StudyKeys {
            study: experiment.name.clone(),
            phase: phase.map(str::to_string),
            factors: factors(experiment),
        }
    }
}

/// The keys of the grid, dotted.
pub(crate) fn factors(experiment: &ExperimentRecord) -> Vec<String> {
    let keys = experiment.configuration.keys().filter_map(|key| key.strip_prefix("grid."));
    keys.map(str::to_string).collect()
}

/// The level of each factor that has an effect in the cell, as text.
pub(crate) fn factor_levels(
    cell: &BTreeMap<String, Value>,
    factors: &[String],
) -> BTreeMap<String, String> {
    let level = |key: &String| {
        if let Some(level) = thinking_label(key, cell) {
            return Some((key.clone(), level));
        }
        let value = cell.get(key).filter(|value| !value.is_null())?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
        Some((key.clone(), text))
    };
    factors.iter().filter_map(level).collect()
}

impl ControlLevels {
    pub fn of(experiment: &ExperimentRecord) -> ControlLevels {
        let levels = |key: &str| match experiment.configuration.get(&format!("grid.{key}")) {
            Some(levels) => levels.as_array().cloned().unwrap_or_default(),
            None => experiment.configuration.get(key).cloned().into_iter().collect(),
        };
        let texts = |key: &str| -> Vec<Option<String>> {
            let texts: Vec<_> =
                levels(key).iter().map(|level| level.as_str().map(str::to_string)).collect();
            if texts.is_empty() { vec![None] } else { texts }
        };
        let mut all = Vec::new();
        for pe_mag in texts(PE_MAG) {
            for pe_type_mix in texts(PE_TYPE_MIX) {
                for observability in texts(OBSERVABILITY) {
                    let (pe_mag, pe_type_mix) = (pe_mag.clone(), pe_type_mix.clone());
                    all.push(ShockLevels { pe_mag, pe_type_mix, observability });
                }
            }
        }
        ControlLevels(all)
    }
}

impl RunKeys {
    /// The keys of a run: several for a control run that is expanded, otherwise one.
    pub fn of(
        study: &StudyKeys,
        record: &RunRecord,
        controls: Option<&ControlLevels>,
    ) -> Vec<RunKeys> {
        let value = |key: &str| record.cell.get(key);
        let text = |key: &str| value(key).and_then(Value::as_str).map(str::to_string);
        let keys = RunKeys {
            study: study.study.clone(),
            phase: study.phase.clone(),
            design: record.design.clone().unwrap_or_else(|| Design::V1.label().to_string()),
            run_id: record.run_id.clone(),
            model: record.model.clone(),
            replicate: record.replicate,
            draw: record.draw,
            seed: record.seed,
            p_shock: value("pe_induction.p_shock").and_then(Value::as_f64),
            levels: ShockLevels {
                pe_mag: text(PE_MAG),
                pe_type_mix: text(PE_TYPE_MIX),
                observability: text(OBSERVABILITY),
            },
            expanded: false,
            stratum: stratum_name(
                &record.model,
                &factor_levels(&record.cell, &study.factors),
                None,
            ),
        };
        let controls = controls.filter(|_| keys.p_shock == Some(0.0));
        let Some(ControlLevels(all)) = controls else { return vec![keys] };
        let copy = |levels: &ShockLevels| {
            let levels = levels.clone();
            RunKeys { levels, expanded: true, ..keys.clone() }
        };
        all.iter().map(copy).collect()
    }
}

/// The columns that begin every table.
pub(super) fn columns() -> Vec<ExportColumn<RunKeys>> {
    type C = ExportColumn<RunKeys>;
    let control = "in runs without shocks (p_shock 0), unless they are expanded";
    vec![
        C::text("study", "Name of the study: experiment.name.", |k| k.study.as_str().into()),
        C::text("phase", "The phase of a larger study: experiment.phase.", |k| {
            k.phase.as_deref().into()
        })
        .null("without the key experiment.phase"),
        C::text("design", "Version of the experiment's design: v1 or v2.", |k| {
            k.design.as_str().into()
        }),
        C::text("run_id", "Hash of the run's cell, model, dtype, seed and draw.", |k| {
            k.run_id.as_str().into()
        }),
        C::text(
            "model",
            "Name of the model or of the scripted operator; human for a person.",
            |k| k.model.as_str().into(),
        ),
        C::whole("replicate", "Number of the world among those of the cell, from 0.", |k| {
            k.replicate.into()
        }),
        C::whole("draw", "Number of the run among those of its cell in its world, from 0.", |k| {
            k.draw.into()
        }),
        C::whole("seed", "Seed of the world; equal in all cells of a paired study.", |k| {
            k.seed.into()
        }),
        C::number("p_shock", "Probability of a shock in a step.", |k| k.p_shock.into()),
        C::text("pe_mag", "Magnitude of shocks.", |k| k.levels.pe_mag.as_deref().into())
            .null(control),
        C::text("pe_type_mix", "Which types of shock occur, and how often.", |k| {
            k.levels.pe_type_mix.as_deref().into()
        })
        .null(control),
        C::text("observability", "What the agent is told about shocks.", |k| {
            k.levels.observability.as_deref().into()
        })
        .null(control),
        C::flag(
            "expanded",
            "Whether the row is a copy of a control run at levels of the study \
             (--expand-controls); its run_id then occurs once for each combination of levels.",
            |k| k.expanded.into(),
        ),
        C::text(
            "stratum",
            "Model, and levels of the factors of the grid that do not describe shocks: within \
             strata the report compares the effects of shocks.",
            |k| k.stratum.as_str().into(),
        ),
    ]
}
