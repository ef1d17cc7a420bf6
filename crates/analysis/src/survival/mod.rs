//! Survival analysis of time at risk in counting-process form.
//!
//! Conventions: a row is at risk in (start, stop]; deaths at a time are counted while those who
//! leave at the same time are still at risk; ties in Cox models are Efron's. Times are compared
//! exactly: 0.1 + 0.2 and 0.3 are two times.

mod aalen_johansen;
mod concordance;
pub mod cox;
mod curve;
mod discrete_hazard;
mod estimate;
mod kaplan_meier;
mod log_rank;
mod nelson_aalen;
mod restricted_mean;
mod risk_data;
mod risk_order;
mod risk_table;
mod separation;
mod trials;

pub use aalen_johansen::{CauseIncidence, CumulativeIncidence, aalen_johansen};
pub use concordance::{Concordance, concordance};
pub use curve::{SurvivalCurve, SurvivalPoint, SurvivalQuantile};
pub use discrete_hazard::{DiscreteFit, DiscreteOptions, EventTime, discrete_hazard};
pub use estimate::{Coefficient, Contrast, CoxTest, RobustErrors};
pub use kaplan_meier::kaplan_meier;
pub use log_rank::{LogRank, log_rank};
pub use nelson_aalen::{CumulativeHazard, HazardTies, nelson_aalen};
pub use restricted_mean::{RestrictedMean, restricted_mean, restricted_mean_difference};
pub use risk_data::{Covariates, EventsPerSubject, RiskData};
