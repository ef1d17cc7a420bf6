//! Runs that several folders have: a copied folder, or one that is named twice.

use super::run::ObservedStudy;
use std::collections::BTreeSet;

/// Keeps each run in the first of the studies that has it, so that none counts twice.
pub fn leave_out_repeated(studies: &mut [ObservedStudy]) {
    let mut seen = BTreeSet::new();
    for study in studies {
        let before = study.runs.len();
        study.runs.retain(|run| seen.insert(run.run_id.clone()));
        study.repeated = before - study.runs.len();
    }
}
