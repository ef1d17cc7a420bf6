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
    if let Some(row) = p.iter().position(|p| !(0.0..=1.0).contains(p)) {
        return Err(AnalysisError::BadValue {
            column: "p".to_owned(),
            row: row + 1,
            expected: "a probability".to_owned(),
            found: p[row].to_string(),
        });
    }
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut largest = 0.0f64;
    for (rank, at) in order.into_iter().enumerate() {
        largest = largest.max((p.len() - rank) as f64 * p[at]).min(1.0);
        adjusted[at] = largest;
    }
    Ok(adjusted)
}

/// Adjusts within each family, in the order given.
///
/// # Errors
/// A value that is not in [0, 1].
pub fn holm_by_family(tests: &[FamilyTest]) -> Result<Vec<HolmAdjusted>, AnalysisError> {
    let mut families: Vec<&str> = tests.iter().map(|test| test.family.as_str()).collect();
    families.sort_unstable();
    families.dedup();
    let mut adjusted = vec![None; tests.len()];
    let mut sizes = vec![0; tests.len()];
    for family in families {
        let members: Vec<usize> =
            (0..tests.len()).filter(|at| tests[*at].family == family).collect();
        let p: Vec<f64> = members.iter().map(|at| tests[*at].p.unwrap_or(1.0)).collect();
        for (at, p_adjusted) in members.iter().zip(holm(&p)?) {
            adjusted[*at] = tests[*at].p.map(|_| p_adjusted);
            sizes[*at] = members.len();
        }
    }
    let rows = tests.iter().zip(adjusted).zip(sizes);
    let row = |((test, p_adjusted), family_size): ((&FamilyTest, Option<f64>), usize)| {
        let (family, name, p) = (test.family.clone(), test.name.clone(), test.p);
        HolmAdjusted { family, name, p, p_adjusted, family_size }
    };
    Ok(rows.map(row).collect())
}
