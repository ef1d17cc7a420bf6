//! Measures of an agent's replies that the world does not compute: calibration of stated
//! confidence, similarity of later summaries to the first ones, and the use of tools.

mod calibration;
mod embedder;
mod metrics;
mod similarity;

pub(crate) use calibration::CalibrationSums;
pub use calibration::{Calibration, CalibrationBin};
pub(crate) use metrics::{MONITORING, MetricSums};
pub(crate) use similarity::SummarySimilarity;
