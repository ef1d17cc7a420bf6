//! `vendomini plan`: shows where every byte of a model would go; reads only the headers of its
//! files.

use crate::args::PlanArgs;
use crate::failure::Failure;
use crate::output;
use crate::session::{self, PlannedModel};
use crate::stage::StagingAdvice;
use placement::{Plan, Rung, RungOutcome};
use serde::Serialize;
use watch::Watch;

/// The JSON document that `--json` prints.
#[derive(Serialize)]
struct PlanDocument<'a> {
    model: String,
    model_class: &'a str,
    rung: Rung,
    rungs: &'a [RungOutcome],
    #[serde(skip_serializing_if = "Option::is_none")]
    staging: Option<StagingAdvice>,
    #[serde(flatten)]
    plan: &'a Plan,
}

pub fn run(args: &PlanArgs, watch: &Watch) -> Result<u8, Failure> {
    let PlannedModel { checkpoint, staging, ladder } = session::plan(&args.placement, watch)?;
    if args.json {
        output::json(&PlanDocument {
            model: checkpoint.root.display().to_string(),
            model_class: &checkpoint.config.class_name,
            rung: ladder.rung,
            rungs: &ladder.tried,
            staging,
            plan: &ladder.plan,
        })?;
        return Ok(0);
    }
    output::line(&ladder.plan.describe())?;
    if let Some(staging) = staging {
        output::line(&format!("staging: {staging}"))?;
    }
    Ok(0)
}
