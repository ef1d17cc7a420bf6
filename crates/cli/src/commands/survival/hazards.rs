//! `--model nelson-aalen`: cumulative hazard by time, of each group.

use super::curves::{MORE_TIMES, group_column, group_name, printed_times};
use super::input::SurvivalInput;
use super::text::{limits, number, print_table, time};
use super::{Fitted, ModelResult};
use crate::args::SurvivalArgs;
use crate::failure::Failure;
use crate::output;
use analysis::AnalysisError;
use analysis::survival::{CumulativeHazard, HazardTies, RiskData};
use serde::Serialize;

#[derive(Serialize)]
pub struct HazardsResult {
    groups: Vec<HazardOfGroup>,
    #[serde(skip)]
    times: Vec<f64>,
    #[serde(skip)]
    column: String,
}

#[derive(Serialize)]
struct HazardOfGroup {
    group: Option<String>,
    rows: usize,
    events: u64,
    curve: CumulativeHazard,
}

pub fn nelson_aalen(args: &SurvivalArgs, input: &SurvivalInput) -> Result<Fitted, AnalysisError> {
    let of_group = |(label, data): (Option<String>, RiskData)| {
        let curve = analysis::survival::nelson_aalen(&data, HazardTies::Simultaneous, args.level)?;
        let (rows, events) = (data.rows(), curve.events.iter().sum());
        Ok(HazardOfGroup { group: label, rows, events, curve })
    };
    let groups = input.by_group().map(of_group).collect::<Result<Vec<_>, AnalysisError>>()?;
    let result = HazardsResult { groups, times: args.times.clone(), column: group_column(args) };
    Ok((ModelResult::Hazards(result), Vec::new()))
}

impl HazardsResult {
    pub fn print(&self, percent: &str) -> Result<(), Failure> {
        let (from, to) = limits(percent);
        let head = [
            self.column.as_str(),
            "time",
            "at risk",
            "events so far",
            "cumulative hazard",
            "se",
            &from,
            &to,
        ];
        let mut rows = Vec::new();
        let mut is_part = false;
        for HazardOfGroup { group, curve, .. } in &self.groups {
            let (times, left_out) = printed_times(&self.times, &curve.times, &curve.events);
            is_part |= left_out;
            for at in times {
                let passed = curve.times.partition_point(|step| *step <= at);
                let before = curve.times.partition_point(|step| *step < at);
                let events: u64 = curve.events[..passed].iter().sum();
                let at_risk = curve.at_risk.get(before).copied().unwrap_or(0);
                let is_known = before < curve.times.len();
                let value = |values: &[f64], none: f64| match passed.checked_sub(1) {
                    _ if !is_known => "-".to_owned(),
                    Some(step) => number(values[step]),
                    None => number(none),
                };
                let mut row = vec![group_name(group.as_ref()), time(at), at_risk.to_string()];
                row.push(events.to_string());
                row.push(value(&curve.hazard, 0.0));
                row.push(value(&curve.se, 0.0));
                row.extend([&curve.lower, &curve.upper].map(|limit| value(limit, 0.0)));
                rows.push(row);
            }
        }
        print_table(1, &head, rows)?;
        if is_part { output::line(MORE_TIMES) } else { Ok(()) }
    }
}
