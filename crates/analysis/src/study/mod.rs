//! The analysis of a study: from its runs to the document of a report.

mod run;

pub use run::{
    Behavior, ObservedBin, ObservedCrash, ObservedRun, ObservedStudy, PathPoint, RunEnd,
    SHOCK_TYPES, ShockCounts,
};
