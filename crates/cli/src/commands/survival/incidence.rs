//! `--model aj`: cumulative incidence of competing causes, of each group.

use super::curves::{MORE_TIMES, common_time, group_column, group_name, printed_times};
use super::input::SurvivalInput;
use super::text::{limits, print_table, share, time};
use super::{Fitted, ModelResult};
use crate::args::SurvivalArgs;
use crate::failure::Failure;
use crate::output;
use analysis::AnalysisError;
use analysis::survival::{
    CumulativeIncidence, RiskData, SurvivalCurve, aalen_johansen, kaplan_meier,
};
use serde::Serialize;

#[derive(Serialize)]
pub struct IncidenceResult {
    horizon: f64,
    groups: Vec<IncidenceOfGroup>,
    #[serde(skip)]
    times: Vec<f64>,
    #[serde(skip)]
    column: String,
}

#[derive(Serialize)]
struct IncidenceOfGroup {
    group: Option<String>,
    rows: usize,
    times: Vec<f64>,
    at_risk: Vec<u64>,
    /// Share without an event of any cause.
    survival: Vec<f64>,
    incidences: Vec<IncidenceOfCause>,
}

#[derive(Serialize)]
struct IncidenceOfCause {
    cause: String,
    events_total: u64,
    at_horizon: Option<IncidencePoint>,
    /// At the times of `--times`, null after the last time of the group.
    at: Vec<IncidenceAtTime>,
    events: Vec<u64>,
    incidence: Vec<f64>,
    variance: Vec<f64>,
    lower: Vec<f64>,
    upper: Vec<f64>,
}

#[derive(Clone, Copy, Serialize)]
struct IncidencePoint {
    incidence: f64,
    lower: f64,
    upper: f64,
}

#[derive(Serialize)]
struct IncidenceAtTime {
    time: f64,
    #[serde(flatten)]
    point: Option<IncidencePoint>,
}

pub fn fit(args: &SurvivalArgs, input: &SurvivalInput) -> Result<Fitted, AnalysisError> {
    let groups: Vec<(Option<String>, RiskData)> = input.by_group().collect();
    let horizon = args.horizon.unwrap_or_else(|| common_time(groups.iter().map(|(_, data)| data)));
    let of_group = |(label, data): &(Option<String>, RiskData)| {
        let fit = match data.cause.iter().any(|cause| *cause > 0) {
            true => aalen_johansen(data, args.level)?,
            false => without_events(data, args.level)?,
        };
        let cause = |(number, (label, ..)): (u32, &(String, usize, bool))| {
            IncidenceOfCause::of(&fit, number, label, horizon, &args.times)
        };
        let incidences = (1..).zip(&input.causes).map(cause).collect();
        Ok(IncidenceOfGroup {
            group: label.clone(),
            rows: data.rows(),
            incidences,
            times: fit.times,
            at_risk: fit.at_risk,
            survival: fit.survival,
        })
    };
    let groups = groups.iter().map(of_group).collect::<Result<Vec<_>, AnalysisError>>()?;
    let result =
        IncidenceResult { horizon, groups, times: args.times.clone(), column: group_column(args) };
    Ok((ModelResult::Incidence(result), Vec::new()))
}

/// The incidence of a group without events: no cause has any.
fn without_events(data: &RiskData, level: f64) -> Result<CumulativeIncidence, AnalysisError> {
    let SurvivalCurve { times, at_risk, survival, .. } = kaplan_meier(data, level)?;
    Ok(CumulativeIncidence { level, times, at_risk, survival, causes: Vec::new() })
}

impl IncidencePoint {
    /// Before the first event a log-log band has no width, which says nothing of the uncertainty.
    fn new((incidence, lower, upper): (f64, f64, f64)) -> IncidencePoint {
        match incidence > 0.0 {
            true => IncidencePoint { incidence, lower, upper },
            false => IncidencePoint { incidence, lower: f64::NAN, upper: f64::NAN },
        }
    }
}

impl IncidenceOfCause {
    /// The incidence of a cause; 0 in a group without an event of it.
    fn of(
        fit: &CumulativeIncidence,
        number: u32,
        label: &str,
        horizon: f64,
        times: &[f64],
    ) -> IncidenceOfCause {
        let found = fit.causes.iter().find(|cause| cause.cause == number);
        let steps = fit.times.len();
        let zeros = || vec![0.0; steps];
        let point = |time: f64| match found {
            Some(_) => fit.at(number, time).map(IncidencePoint::new),
            None => {
                let is_followed = fit.times.last().is_some_and(|last| time <= *last);
                is_followed.then_some(IncidencePoint::new((0.0, 0.0, 0.0)))
            }
        };
        let limit = |limits: &[f64], incidence: &[f64]| {
            let of = |(limit, incidence): (&f64, &f64)| {
                if *incidence > 0.0 { *limit } else { f64::NAN }
            };
            limits.iter().zip(incidence).map(of).collect()
        };
        let none = || vec![f64::NAN; steps];
        IncidenceOfCause {
            cause: label.to_owned(),
            events_total: found.map_or(0, |cause| cause.events.iter().sum()),
            at_horizon: point(horizon),
            at: times
                .iter()
                .map(|time| IncidenceAtTime { time: *time, point: point(*time) })
                .collect(),
            events: found.map_or(vec![0; steps], |cause| cause.events.clone()),
            incidence: found.map_or_else(zeros, |cause| cause.incidence.clone()),
            variance: found.map_or_else(zeros, |cause| cause.variance.clone()),
            lower: found.map_or_else(none, |cause| limit(&cause.lower, &cause.incidence)),
            upper: found.map_or_else(none, |cause| limit(&cause.upper, &cause.incidence)),
        }
    }

    fn values(&self, times: &[f64], time: f64) -> [f64; 3] {
        let values = |point: IncidencePoint| [point.incidence, point.lower, point.upper];
        if let Some(at) = self.at.iter().find(|at| at.time == time) {
            return at.point.map_or([f64::NAN; 3], values);
        }
        let step = times.iter().position(|step| *step == time);
        step.map_or([f64::NAN; 3], |step| {
            [self.incidence[step], self.lower[step], self.upper[step]]
        })
    }
}

impl IncidenceResult {
    pub fn print(&self, percent: &str) -> Result<(), Failure> {
        let (from, to) = limits(percent);
        let at = format!("incidence up to {}", time(self.horizon));
        let mut rows = Vec::new();
        for group in &self.groups {
            for of in &group.incidences {
                let point = of.at_horizon.map(|p| [p.incidence, p.lower, p.upper]);
                let mut row = vec![group_name(group.group.as_ref()), of.cause.clone()];
                row.push(of.events_total.to_string());
                row.extend(point.unwrap_or([f64::NAN; 3]).map(share));
                rows.push(row);
            }
        }
        print_table(2, &[&self.column, "cause", "events", &at, &from, &to], rows)?;
        output::line("")?;
        self.print_times(&from, &to)
    }

    fn print_times(&self, from: &str, to: &str) -> Result<(), Failure> {
        let head = [self.column.as_str(), "cause", "time", "at risk", "incidence", from, to];
        let mut rows = Vec::new();
        let mut is_part = false;
        for group in &self.groups {
            for of in &group.incidences {
                let (times, left_out) = printed_times(&self.times, &group.times, &of.events);
                is_part |= left_out;
                for at in times {
                    let step = group.times.partition_point(|step| *step < at);
                    let at_risk = group.at_risk.get(step).copied().unwrap_or(0);
                    let mut row = vec![group_name(group.group.as_ref()), of.cause.clone()];
                    row.extend([time(at), at_risk.to_string()]);
                    row.extend(of.values(&group.times, at).map(share));
                    rows.push(row);
                }
            }
        }
        print_table(2, &head, rows)?;
        if is_part { output::line(MORE_TIMES) } else { Ok(()) }
    }
}
