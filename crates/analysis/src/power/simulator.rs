//! Simulates studies: draws their crashes, and applies the declared analyses.

use super::covariate::{CovariateTable, DeclaredAnalysis};
use super::cox::{CoxWorkspace, SimulatedCrashes};
use super::crashes::CrashSource;
use super::design::PowerDesign;
use super::hazard::PlantedHazard;
use std::ops::{AddAssign, Range};

/// Level of the two-sided tests.
const LEVEL: f64 = 0.05;

/// What an analysis concluded in a number of simulated studies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RejectionTally {
    /// Studies with p < .05, whatever the sign.
    pub rejected: u64,
    /// Those of them that estimate an effect with the sign of the planted one.
    pub right_sign: u64,
    /// Studies that did not determine the estimate. They count as not rejected.
    pub not_estimable: u64,
}

/// What happened in a number of simulated studies. Tallies add up, so that simulations can be
/// divided between threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PowerTally {
    pub simulations: u64,
    /// Crashes of all studies.
    pub events: u64,
    /// Runs of the lowest dose that entered the time at risk, and those of them that crashed.
    pub lowest_entered: u64,
    pub lowest_crashed: u64,
    /// By analysis, in the order of [`DeclaredAnalysis::ALL`].
    pub analyses: [RejectionTally; 2],
}

impl AddAssign for PowerTally {
    fn add_assign(&mut self, other: PowerTally) {
        self.simulations += other.simulations;
        self.events += other.events;
        self.lowest_entered += other.lowest_entered;
        self.lowest_crashed += other.lowest_crashed;
        for (sum, new) in self.analyses.iter_mut().zip(other.analyses) {
            sum.rejected += new.rejected;
            sum.right_sign += new.right_sign;
            sum.not_estimable += new.not_estimable;
        }
    }
}

/// Simulates studies of one design under one hazard.
pub struct StudySimulator<'a> {
    design: &'a PowerDesign,
    hazard: PlantedHazard,
    crashes: CrashSource<'a>,
    covariates: [CovariateTable; 2],
}

impl<'a> StudySimulator<'a> {
    pub fn new(design: &'a PowerDesign, hazard: PlantedHazard) -> StudySimulator<'a> {
        StudySimulator {
            design,
            hazard,
            crashes: CrashSource::new(design, hazard),
            covariates: DeclaredAnalysis::ALL.map(|analysis| CovariateTable::new(design, analysis)),
        }
    }

    /// Simulates the studies with these numbers. The result depends on nothing but the design, the
    /// hazard, the seed and the numbers.
    pub fn simulate(&self, seed: u64, simulations: Range<u64>) -> PowerTally {
        let mut tally = PowerTally::default();
        let (mut drawn, mut workspace) = (SimulatedCrashes::default(), CoxWorkspace::default());
        for simulation in simulations {
            self.crashes.draw(seed, simulation, &mut drawn);
            tally += self.analyze(&drawn, &mut workspace);
        }
        tally
    }

    fn analyze(&self, drawn: &SimulatedCrashes, workspace: &mut CoxWorkspace) -> PowerTally {
        let mut tally = PowerTally { simulations: 1, ..PowerTally::default() };
        let lowest = self.design.lowest_dose();
        for (index, run) in self.design.runs().iter().enumerate() {
            let entered = self.design.paths()[run.path].entry < drawn.stop[index].into();
            let crashed = drawn.crashed[index];
            tally.events += u64::from(crashed);
            tally.lowest_entered += u64::from(entered && run.dose == lowest);
            tally.lowest_crashed += u64::from(crashed && run.dose == lowest);
        }
        for (table, counts) in self.covariates.iter().zip(&mut tally.analyses) {
            match workspace.fit(self.design, table, drawn) {
                None => counts.not_estimable += 1,
                Some(fit) if fit.p < LEVEL => {
                    counts.rejected += 1;
                    counts.right_sign += u64::from(fit.coef * self.hazard.log_ratio > 0.0);
                }
                Some(_) => {}
            }
        }
        tally
    }
}
