//! Figures over an agent's replies that the world does not compute: how well stated confidence is
//! calibrated, and how similar later summaries are to the first ones.

mod calibration;
mod similarity;

pub(crate) use calibration::CalibrationSums;
pub use calibration::{Calibration, CalibrationBin};
pub(crate) use similarity::SummarySimilarity;
