//! Power of a planned study, by simulation of its declared analysis: crashes are drawn from a
//! hazard with a known effect, and the analysis is applied to them.
//!
//! - [`PowerDesign`]: the runs of the plan, each with the exposure that it would accumulate.
//! - [`PlantedHazard`]: the hazard of crashes, solved for a hazard ratio and a baseline.
//! - [`StudySimulator`]: draws studies and analyzes them; [`PowerTally`] counts what was found.
//! - [`SchoenfeldCheck`]: the formula for independent runs, to compare with.

mod covariate;
mod cox;
mod crashes;
mod design;
mod hazard;
mod risk_sets;
mod schoenfeld;
mod simulator;

pub use covariate::DeclaredAnalysis;
pub use cox::{SimulatedCrashes, SimulatedFit, fit_simulated};
pub use design::{ExposurePath, PATH_STEPS, PlannedExposure, PowerDesign};
pub use hazard::{HazardAssumptions, PlantedHazard};
pub use schoenfeld::SchoenfeldCheck;
pub use simulator::{PowerTally, RejectionTally, StudySimulator};
