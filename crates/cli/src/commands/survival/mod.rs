//! `vendomini survival`: survival analysis of any table.

mod cloglog;
mod cox;
mod curves;
mod hazards;
mod incidence;
mod input;
mod log_rank;
mod options;
mod subjects;
mod text;

use crate::args::{SurvivalArgs, SurvivalModel};
use crate::failure::Failure;
use crate::output;
use analysis::FitWarning;
use input::SurvivalInput;
use serde::Serialize;

pub fn run(args: &SurvivalArgs) -> Result<u8, Failure> {
    options::check(args)?;
    let input = SurvivalInput::read(args)?;
    let (result, warnings) = fit(args, &input).map_err(|failure| input.in_table(args, failure))?;
    let document = SurvivalDocument::new(args, &input, result, warnings);
    if args.json {
        output::json(&document)?;
        return Ok(0);
    }
    document.print()?;
    Ok(0)
}

/// What `--json` prints. The keys are documented in docs/commands.md and stay as they are.
#[derive(Serialize)]
struct SurvivalDocument {
    model: String,
    table: String,
    /// Rows analyzed, and rows left out for missing values.
    rows: usize,
    rows_left_out: usize,
    subjects: usize,
    /// Events that count, of the causes that are `counted`.
    events: usize,
    causes: Vec<CauseCount>,
    level: f64,
    #[serde(flatten)]
    result: ModelResult,
    warnings: Vec<FitWarning>,
}

/// The events of a cause.
#[derive(Serialize)]
struct CauseCount {
    cause: String,
    events: usize,
    /// Whether the model estimates them; if not, they are censored.
    counted: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ModelResult {
    Curves(curves::CurvesResult),
    Hazards(hazards::HazardsResult),
    LogRank(log_rank::LogRankResult),
    Cox(Box<cox::CoxResult>),
    Incidence(incidence::IncidenceResult),
    Cloglog(cloglog::CloglogResult),
}

type Fitted = (ModelResult, Vec<FitWarning>);

fn fit(args: &SurvivalArgs, input: &SurvivalInput) -> Result<Fitted, analysis::AnalysisError> {
    match args.model {
        SurvivalModel::Km => curves::kaplan_meier(args, input),
        SurvivalModel::NelsonAalen => hazards::nelson_aalen(args, input),
        SurvivalModel::Logrank => log_rank::fit(args, input),
        SurvivalModel::Cox => cox::fit(args, input),
        SurvivalModel::Aj => incidence::fit(args, input),
        SurvivalModel::Cloglog => cloglog::fit(args, input),
    }
}

impl SurvivalDocument {
    fn new(
        args: &SurvivalArgs,
        input: &SurvivalInput,
        result: ModelResult,
        found: Vec<FitWarning>,
    ) -> SurvivalDocument {
        let mut warnings = input.warnings.clone();
        warnings.extend(found);
        SurvivalDocument {
            model: options::name(args.model),
            table: args.table.display().to_string(),
            rows: input.data.rows(),
            rows_left_out: input.rows_left_out,
            subjects: input.subjects,
            events: input.data.cause.iter().filter(|cause| **cause > 0).count(),
            causes: input.causes.iter().map(CauseCount::of).collect(),
            level: args.level,
            result,
            warnings,
        }
    }

    fn print(&self) -> Result<(), Failure> {
        output::line(&self.head())?;
        let counted = self.causes.iter().filter(|cause| cause.counted);
        if self.causes.len() > 1 || counted.count() < self.causes.len() {
            output::line(&format!("causes: {}", self.causes_text()))?;
        }
        let percent = text::percent(self.level);
        match &self.result {
            ModelResult::Curves(result) => result.print(&percent)?,
            ModelResult::Hazards(result) => result.print(&percent)?,
            ModelResult::LogRank(result) => result.print()?,
            ModelResult::Cox(result) => result.print(&percent)?,
            ModelResult::Incidence(result) => result.print(&percent)?,
            ModelResult::Cloglog(result) => result.print(&percent)?,
        }
        for warning in &self.warnings {
            output::line(&format!("warning: {}", warning.text))?;
        }
        Ok(())
    }

    /// What was analyzed, in a line.
    fn head(&self) -> String {
        let mut parts = vec![format!("{} rows", self.rows)];
        if self.rows_left_out > 0 {
            parts.push(format!("{} left out for missing values", self.rows_left_out));
        }
        if self.subjects != self.rows {
            parts.push(format!("{} subjects", self.subjects));
        }
        parts.push(format!("{} events", self.events));
        format!("{}: {}", self.table, parts.join(", "))
    }

    fn causes_text(&self) -> String {
        let text = |cause: &CauseCount| {
            let censored = if cause.counted { "" } else { ", censored" };
            format!("{} ({}{censored})", cause.cause, cause.events)
        };
        self.causes.iter().map(text).collect::<Vec<_>>().join(", ")
    }
}

impl CauseCount {
    fn of((cause, events, counted): &(String, usize, bool)) -> CauseCount {
        CauseCount { cause: cause.clone(), events: *events, counted: *counted }
    }
}
