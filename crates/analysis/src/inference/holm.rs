//! Holm's step-down correction for several tests (Holm 1979).

use crate::AnalysisError;
use serde::Serialize;

/// A test of a family that was declared before the data were seen.
#[derive(Debug, Clone, PartialEq)]
pub struct FamilyTest {
    pub family: String,
    pub name: String,
    /// `None`: not estimable. The test still counts, as one with p = 1.
    pub p: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HolmAdjusted {
    pub family: String,
    pub name: String,
    pub p: Option<f64>,
    /// p after the correction within its family.
    pub p_adjusted: Option<f64>,
    /// Tests of the family, with those not estimable.
    pub family_size: usize,
}

/// Adjusted p-values, in the order given.
///
/// # Errors
/// A value that is not in [0, 1].
pub fn holm(p: &[f64]) -> Result<Vec<f64>, AnalysisError> {
    todo!()
}

/// Adjusts within each family, in the order given.
///
/// # Errors
/// A value that is not in [0, 1].
pub fn holm_by_family(tests: &[FamilyTest]) -> Result<Vec<HolmAdjusted>, AnalysisError> {
    todo!()
}
