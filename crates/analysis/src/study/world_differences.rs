//! Differences between means of the same world, and the tests of them.

use super::context::AnalysisOptions;
use super::run::RunMeasure;
use crate::document::{Format, Value};
use crate::inference::{HodgesLehmann, Zeros, hodges_lehmann, sign_test, wilcoxon_signed_rank};
use std::collections::BTreeMap;

pub const STEPS: RunMeasure = ("steps without crash", |run| run.end_step as f64);
pub const CRASHED: RunMeasure = ("share crashed", |run| run.crash_cause().into());
pub const ERRORS: RunMeasure = ("accumulated errors", |run| run.at(run.steps).exposure);

/// Differences `treated - control`, one a world in ascending order. Values of a side are averaged
/// over the runs of a world and cell, and differences over the cells that both sides have.
pub fn world_differences<W: Ord + Copy, C: Ord>(
    treated: impl Iterator<Item = ((W, C), f64)>,
    control: impl Iterator<Item = ((W, C), f64)>,
) -> Vec<f64> {
    let of_control = cell_means(control);
    let mut by_world: BTreeMap<W, Vec<f64>> = BTreeMap::new();
    for (cell, mean) in cell_means(treated) {
        if let Some(of_control) = of_control.get(&cell) {
            by_world.entry(cell.0).or_default().push(mean - of_control);
        }
    }
    by_world.into_values().map(|d| d.iter().sum::<f64>() / d.len() as f64).collect()
}

fn cell_means<K: Ord>(values: impl Iterator<Item = (K, f64)>) -> BTreeMap<K, f64> {
    let mut sums: BTreeMap<K, (f64, f64)> = BTreeMap::new();
    for (cell, value) in values {
        let sum = sums.entry(cell).or_default();
        (sum.0, sum.1) = (sum.0 + value, sum.1 + 1.0);
    }
    sums.into_iter().map(|(cell, (sum, count))| (cell, sum / count)).collect()
}

/// Whether differences are zero.
pub struct DifferenceTests {
    worlds: usize,
    /// `None` without differences.
    pub estimate: Option<HodgesLehmann>,
    pub sign_p: Option<f64>,
    pub wilcoxon_p: Option<f64>,
}

impl DifferenceTests {
    pub fn of(differences: &[f64], options: &AnalysisOptions) -> DifferenceTests {
        let wilcoxon = wilcoxon_signed_rank(differences, Zeros::Pratt);
        DifferenceTests {
            worlds: differences.len(),
            estimate: hodges_lehmann(differences, options.level).ok(),
            sign_p: sign_test(differences).ok().map(|test| test.p),
            wilcoxon_p: wilcoxon.ok().map(|test| test.p),
        }
    }

    /// Columns of [`Self::cells`].
    pub const COLUMNS: [(&'static str, &'static str, Format); 7] = [
        ("worlds", "worlds", Format::Whole),
        ("median", "median", Format::Digits(3)),
        ("estimate", "Hodges-Lehmann", Format::Digits(3)),
        ("lower", "lower", Format::Digits(3)),
        ("upper", "upper", Format::Digits(3)),
        ("sign_p", "sign test p", Format::P),
        ("wilcoxon_p", "Wilcoxon p", Format::P),
    ];

    pub fn cells(&self) -> [Value; 7] {
        let estimate = self.estimate.as_ref();
        let interval = estimate.and_then(|estimate| estimate.interval);
        [
            self.worlds.into(),
            estimate.map(|e| e.median).into(),
            estimate.map(|e| e.estimate).into(),
            interval.map(|i| i.low).into(),
            interval.map(|i| i.high).into(),
            self.sign_p.into(),
            self.wilcoxon_p.into(),
        ]
    }
}
