//! `--model logrank`: whether groups have equal hazards.

use super::curves::group_column;
use super::input::SurvivalInput;
use super::text::{number, p, print_table};
use super::{Fitted, ModelResult};
use crate::args::SurvivalArgs;
use crate::failure::Failure;
use crate::output;
use analysis::AnalysisError;
use analysis::survival::log_rank;
use serde::Serialize;

#[derive(Serialize)]
pub struct LogRankResult {
    chi2: f64,
    df: usize,
    p: f64,
    strata: usize,
    groups: Vec<EventsOfGroup>,
    #[serde(skip)]
    column: String,
}

/// Events of a group, and those expected if all groups had equal hazards.
#[derive(Serialize)]
struct EventsOfGroup {
    group: Option<String>,
    rows: usize,
    observed: f64,
    expected: f64,
}

pub fn fit(args: &SurvivalArgs, input: &SurvivalInput) -> Result<Fitted, AnalysisError> {
    let test = log_rank(&input.data, &input.groups)?;
    let counts = test.groups.iter().zip(test.observed.iter().zip(&test.expected));
    let groups = counts.map(|(group, (observed, expected))| EventsOfGroup {
        group: input.group_labels[*group as usize].clone(),
        rows: input.groups.iter().filter(|row| *row == group).count(),
        observed: *observed,
        expected: *expected,
    });
    let groups = groups.collect();
    let column = group_column(args);
    let strata = input.data.strata.iter().max().map_or(1, |last| *last as usize + 1);
    let result = LogRankResult { chi2: test.chi2, df: test.df, p: test.p, strata, groups, column };
    Ok((ModelResult::LogRank(result), Vec::new()))
}

impl LogRankResult {
    pub fn print(&self) -> Result<(), Failure> {
        let row = |group: &EventsOfGroup| {
            vec![
                group.group.clone().unwrap_or_default(),
                group.rows.to_string(),
                group.observed.to_string(),
                number(group.expected),
            ]
        };
        print_table(
            1,
            &[&self.column, "rows", "events", "expected if hazards are equal"],
            self.groups.iter().map(row).collect(),
        )?;
        let strata = match self.strata {
            1 => String::new(),
            count => format!(", within {count} strata"),
        };
        output::line(&format!(
            "log-rank test: chi2 {}, df {}, p {}{strata}",
            number(self.chi2),
            self.df,
            p(self.p)
        ))
    }
}
