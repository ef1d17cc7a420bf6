//! Measures of an agent's replies that the world does not compute: calibration of stated
//! confidence, and similarity of later summaries to the first ones.

mod calibration;
mod similarity;

pub(crate) use calibration::CalibrationSums;
pub use calibration::{Calibration, CalibrationBin};
pub(crate) use similarity::SummarySimilarity;
