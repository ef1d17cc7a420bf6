//! Checks that need no model: of a configuration before it is run (audit, cost estimate, power),
//! and of stored runs (replay, crash detection).

mod audit;
mod detect;
mod estimate;
mod paired_replies;
mod power;
mod qualification;
mod replay;

pub use audit::{AuditReport, CellPlay, DeadFactor, WORLDS_MIN, audit, play_cells};
pub use detect::{DetectionReport, rerun_detectors};
pub(crate) use estimate::parameters_b;
pub use estimate::{CostRates, Estimate, ModelEstimate, estimate};
pub use paired_replies::{PairedReplies, paired_replies};
pub use power::{
    AnalysisPower, AssumedValue, AssumptionSource, DesignCost, DoseExposure, PowerOptions,
    PowerReport, SearchedDesign, power,
};
pub use qualification::{
    QUALIFYING_STEPS, QUALIFYING_WORLDS, Qualification, QualifyingRun, qualification,
    qualification_name, qualifying_config,
};
pub(crate) use replay::planned_run;
pub use replay::{ReplayReport, replay, replay_all};
