//! Survival analysis of time at risk in counting-process form.
//!
//! Conventions: a row is at risk in (start, stop]; deaths at a time are counted while those who
//! leave at the same time are still at risk; ties in Cox models are Efron's.

mod risk_data;

pub use risk_data::{Covariates, RiskData};
