//! `--model km`: survival by time, of each group.

use super::input::SurvivalInput;
use super::text::{limits, number, optional, print_table, share, time};
use super::{Fitted, ModelResult};
use crate::args::SurvivalArgs;
use crate::failure::Failure;
use crate::output;
use analysis::survival::{
    RestrictedMean, RiskData, SurvivalCurve, SurvivalPoint, SurvivalQuantile, restricted_mean,
    restricted_mean_difference,
};
use analysis::{AnalysisError, FitWarning};
use serde::Serialize;

#[derive(Serialize)]
pub struct CurvesResult {
    horizon: f64,
    groups: Vec<CurveOfGroup>,
    /// Of each group but the first, minus that of the first.
    restricted_mean_differences: Vec<DifferenceOfGroups>,
    #[serde(skip)]
    times: Vec<f64>,
    #[serde(skip)]
    column: String,
}

#[derive(Serialize)]
struct CurveOfGroup {
    group: Option<String>,
    rows: usize,
    events: u64,
    median: SurvivalQuantile,
    /// `None` if the group is not followed up to the horizon.
    at_horizon: Option<SurvivalPoint>,
    restricted_mean: Option<RestrictedMean>,
    /// At the times of `--times`, null after the last time of the group.
    at: Vec<CurveAtTime>,
    curve: CurveSteps,
}

#[derive(Serialize)]
struct CurveAtTime {
    time: f64,
    #[serde(flatten)]
    point: Option<SurvivalPoint>,
}

/// Of each time at which a subject has an event or leaves.
#[derive(Serialize)]
struct CurveSteps {
    times: Vec<f64>,
    at_risk: Vec<u64>,
    events: Vec<u64>,
    censored: Vec<u64>,
    survival: Vec<f64>,
    lower: Vec<f64>,
    upper: Vec<f64>,
}

#[derive(Serialize)]
struct DifferenceOfGroups {
    group: Option<String>,
    reference: Option<String>,
    #[serde(flatten)]
    difference: RestrictedMean,
}

pub fn kaplan_meier(args: &SurvivalArgs, input: &SurvivalInput) -> Result<Fitted, AnalysisError> {
    let groups: Vec<(Option<String>, RiskData)> = input.by_group().collect();
    let fits = groups.iter().map(|(_, data)| analysis::survival::kaplan_meier(data, args.level));
    let fits = fits.collect::<Result<Vec<SurvivalCurve>, AnalysisError>>()?;
    let horizon = args.horizon.unwrap_or_else(|| common_time(groups.iter().map(|(_, data)| data)));
    let mut warnings: Vec<FitWarning> = Vec::new();
    for ((label, _), fit) in groups.iter().zip(&fits) {
        warnings.extend(fit.warnings.iter().map(|warning| of_group(label.as_deref(), warning)));
        let found = match restricted_mean(fit, horizon) {
            Err(error) => Some(FitWarning { code: "horizon", text: error.to_string() }),
            Ok(_) if has_event(fit, horizon) => None,
            Ok(_) => Some(FitWarning { code: "no_events", text: no_events_text(horizon) }),
        };
        warnings.extend(found.map(|warning| of_group(label.as_deref(), &warning)));
    }
    let of_groups = groups.iter().zip(&fits).map(|((label, data), fit)| CurveOfGroup {
        group: label.clone(),
        rows: data.rows(),
        events: fit.events.iter().sum(),
        median: fit.median(),
        at_horizon: fit.at(horizon).map(honest_point),
        restricted_mean: restricted_mean(fit, horizon).ok().map(honest_mean),
        at: args
            .times
            .iter()
            .map(|time| CurveAtTime { time: *time, point: fit.at(*time).map(honest_point) })
            .collect(),
        curve: CurveSteps::of(fit),
    });
    let of_groups = of_groups.collect();
    let difference = |((label, _), fit): (&(Option<String>, RiskData), &SurvivalCurve)| {
        let difference = restricted_mean_difference(fit, &fits[0], horizon).ok()?;
        let without = [fit, &fits[0]].iter().any(|fit| !has_event(fit, horizon));
        let difference = if without { without_error(difference) } else { difference };
        Some(DifferenceOfGroups {
            group: label.clone(),
            reference: groups[0].0.clone(),
            difference,
        })
    };
    let differences = groups.iter().zip(&fits).skip(1).filter_map(difference).collect();
    let result = CurvesResult {
        horizon,
        groups: of_groups,
        restricted_mean_differences: differences,
        times: args.times.clone(),
        column: group_column(args),
    };
    Ok((ModelResult::Curves(result), warnings))
}

fn has_event(fit: &SurvivalCurve, horizon: f64) -> bool {
    fit.times.iter().zip(&fit.events).any(|(time, events)| *time <= horizon && *events > 0)
}

fn no_events_text(horizon: f64) -> String {
    format!("no event up to {}: the data give no interval", time(horizon))
}

/// Before the first event a log-log band has no width, which says nothing of the uncertainty.
fn honest_point(point: SurvivalPoint) -> SurvivalPoint {
    match point.survival < 1.0 {
        true => point,
        false => SurvivalPoint { se: f64::NAN, lower: f64::NAN, upper: f64::NAN, ..point },
    }
}

fn honest_mean(mean: RestrictedMean) -> RestrictedMean {
    if mean.se > 0.0 { mean } else { without_error(mean) }
}

fn without_error(mean: RestrictedMean) -> RestrictedMean {
    let none = f64::NAN;
    RestrictedMean { se: none, lower: none, upper: none, p: none, ..mean }
}

/// The longest time that all groups reach.
pub fn common_time<'a>(groups: impl Iterator<Item = &'a RiskData>) -> f64 {
    groups
        .map(|data| data.stop.iter().copied().fold(f64::NEG_INFINITY, f64::max))
        .fold(f64::INFINITY, f64::min)
}

/// A warning of one group's fit.
pub fn of_group(label: Option<&str>, warning: &FitWarning) -> FitWarning {
    let FitWarning { code, text } = warning.clone();
    let text = label.map_or(text.clone(), |label| format!("group {label}: {text}"));
    FitWarning { code, text }
}

/// The head of the groups' column.
pub fn group_column(args: &SurvivalArgs) -> String {
    args.group.clone().unwrap_or_else(|| "group".to_owned())
}

/// The name of a group; "all" without groups.
pub fn group_name(group: Option<&String>) -> String {
    group.map_or("all", String::as_str).to_owned()
}

impl CurveSteps {
    fn of(fit: &SurvivalCurve) -> CurveSteps {
        let limit = |limits: &[f64]| {
            let of = |(limit, survival): (&f64, &f64)| {
                if *survival < 1.0 { *limit } else { f64::NAN }
            };
            limits.iter().zip(&fit.survival).map(of).collect()
        };
        CurveSteps {
            times: fit.times.clone(),
            at_risk: fit.at_risk.clone(),
            events: fit.events.clone(),
            censored: fit.censored.clone(),
            survival: fit.survival.clone(),
            lower: limit(&fit.lower),
            upper: limit(&fit.upper),
        }
    }

    /// Number at risk just before `time`, and events up to it.
    fn counts(&self, time: f64) -> (u64, u64) {
        let later = self.times.partition_point(|step| *step < time);
        let at_risk = self.at_risk.get(later).copied().unwrap_or(0);
        let events = self.times.iter().zip(&self.events).filter(|(step, _)| **step <= time);
        (at_risk, events.map(|(_, events)| events).sum())
    }
}

impl CurvesResult {
    pub fn print(&self, percent: &str) -> Result<(), Failure> {
        self.print_groups(percent)?;
        self.print_differences(percent)?;
        let (from, to) = limits(percent);
        let head =
            [self.column.as_str(), "time", "at risk", "events so far", "survival", &from, &to];
        let mut rows = Vec::new();
        let mut is_part = false;
        for group in &self.groups {
            let (times, left_out) =
                printed_times(&self.times, &group.curve.times, &group.curve.events);
            is_part |= left_out;
            for at in times {
                let (at_risk, events) = group.curve.counts(at);
                let mut row = vec![group_name(group.group.as_ref()), time(at)];
                row.extend([at_risk.to_string(), events.to_string()]);
                row.extend(group.point(at).map(share));
                rows.push(row);
            }
        }
        output::line("")?;
        print_table(1, &head, rows)?;
        if is_part { output::line(MORE_TIMES) } else { Ok(()) }
    }

    fn print_groups(&self, percent: &str) -> Result<(), Failure> {
        let (from, to) = limits(percent);
        let at = time(self.horizon);
        let survival = format!("survival at {at}");
        let mean = format!("mean up to {at}");
        let head = [
            self.column.as_str(),
            "rows",
            "events",
            "median",
            &from,
            &to,
            &survival,
            &from,
            &to,
            &mean,
            &from,
            &to,
        ];
        let row = |group: &CurveOfGroup| {
            let median = [group.median.time, group.median.lower, group.median.upper];
            let point = group.at_horizon;
            let survival =
                [point.map(|p| p.survival), point.map(|p| p.lower), point.map(|p| p.upper)];
            let mean = group.restricted_mean;
            let mean = [mean.map(|m| m.value), mean.map(|m| m.lower), mean.map(|m| m.upper)];
            let mut row = vec![
                group_name(group.group.as_ref()),
                group.rows.to_string(),
                group.events.to_string(),
            ];
            row.extend(median.map(|value| optional(value, time)));
            row.extend(survival.map(|value| optional(value, share)));
            row.extend(mean.map(|value| optional(value, number)));
            row
        };
        print_table(1, &head, self.groups.iter().map(row).collect())
    }

    fn print_differences(&self, percent: &str) -> Result<(), Failure> {
        if self.restricted_mean_differences.is_empty() {
            return Ok(());
        }
        output::line("")?;
        let (from, to) = limits(percent);
        let head = ["difference of means", "value", "se", &from, &to, "p"];
        let row = |of: &DifferenceOfGroups| {
            let names = [&of.group, &of.reference].map(|group| group_name(group.as_ref()));
            let RestrictedMean { value, se, lower, upper, p, .. } = of.difference;
            let mut row = vec![names.join(" - ")];
            row.extend([value, se, lower, upper].map(number));
            row.push(super::text::p(p));
            row
        };
        print_table(1, &head, self.restricted_mean_differences.iter().map(row).collect())
    }
}

impl CurveOfGroup {
    /// Survival and its band at a time; NaN after the last time.
    fn point(&self, time: f64) -> [f64; 3] {
        let curve = &self.curve;
        if let Some(at) = self.at.iter().find(|at| at.time == time) {
            return at.point.map_or([f64::NAN; 3], |p| [p.survival, p.lower, p.upper]);
        }
        let step = curve.times.iter().position(|step| *step == time);
        step.map_or([f64::NAN; 3], |step| {
            [curve.survival[step], curve.lower[step], curve.upper[step]]
        })
    }
}

pub const MORE_TIMES: &str =
    "some of the times with events; --times 10,20 names others, --json prints all";

/// Times to print: those requested, or up to ten of those with events; and whether others with
/// events are left out.
pub fn printed_times(asked: &[f64], times: &[f64], events: &[u64]) -> (Vec<f64>, bool) {
    const PRINTED_MAX: usize = 10;
    if !asked.is_empty() {
        return (asked.to_vec(), false);
    }
    let with_events: Vec<f64> = times
        .iter()
        .zip(events)
        .filter(|(_, events)| **events > 0)
        .map(|(time, _)| *time)
        .collect();
    if with_events.len() <= PRINTED_MAX {
        return (with_events, false);
    }
    let last = with_events.len() - 1;
    let chosen = (0..PRINTED_MAX).map(|at| with_events[at * last / (PRINTED_MAX - 1)]).collect();
    (chosen, true)
}
