//! Checks that need no model: of a configuration before it is run (audit, cost estimate), and of
//! stored runs (replay, crash detection).

mod audit;
mod detect;
mod estimate;
mod replay;

pub use audit::{AuditReport, DeadFactor, audit};
pub use detect::{DetectionReport, rerun_detectors};
pub use estimate::{CostRates, Estimate, ModelEstimate, estimate};
pub use replay::{ReplayReport, replay, replay_all};
