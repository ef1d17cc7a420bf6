//! Result of a check.

/// Number of values that a check compared, and the largest differences.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CheckReport {
    /// Number of values compared.
    pub compared: usize,
    pub max_abs_error: f64,
    /// Largest difference divided by its tolerance: more than 1 is a failure. If bits must agree,
    /// any difference counts as infinite.
    pub worst_share: f64,
}

impl CheckReport {
    pub(super) fn new() -> Self {
        Self { compared: 0, max_abs_error: 0.0, worst_share: 0.0 }
    }

    /// Whether values were compared and all differences are within their tolerance.
    pub fn passed(&self) -> bool {
        self.compared > 0 && self.worst_share <= 1.0
    }

    /// Compares one value.
    pub(super) fn value(&mut self, found: f64, expected: f64, tolerance: f64) {
        let error = (found - expected).abs();
        let error = if error.is_nan() { f64::INFINITY } else { error };
        self.compared += 1;
        self.max_abs_error = self.max_abs_error.max(error);
        let share = if error == 0.0 { 0.0 } else { error / tolerance };
        self.worst_share = self.worst_share.max(share);
    }

    /// Compares values; the tolerance is `tolerance * (1 + |expected|)`.
    pub(super) fn values(&mut self, found: &[f32], expected: &[f64], tolerance: f64) {
        self.lengths(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            self.value(f64::from(*found), *expected, tolerance * (1.0 + expected.abs()));
        }
    }

    /// Compares values bit by bit.
    pub(super) fn same_bits(&mut self, found: &[f32], expected: &[f32]) {
        self.lengths(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let differ = found.to_bits() != expected.to_bits();
            self.value(f64::from(*found), f64::from(*expected), 0.0);
            if differ {
                self.worst_share = f64::INFINITY;
            }
        }
    }

    pub(super) fn same_bytes(&mut self, found: &[u8], expected: &[u8]) {
        self.lengths(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            self.value(f64::from(*found), f64::from(*expected), 0.0);
        }
    }

    fn lengths(&mut self, found: usize, expected: usize) {
        if found != expected {
            self.worst_share = f64::INFINITY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_passes_only_if_values_were_compared_and_agree() {
        let report = |compare: &dyn Fn(&mut CheckReport)| {
            let mut report = CheckReport::new();
            compare(&mut report);
            report.passed()
        };
        assert!(!report(&|_| ()), "nothing compared");
        assert!(report(&|r| r.values(&[1.0], &[1.0 + 1e-6], 1e-6)));
        assert!(!report(&|r| r.values(&[1.0], &[1.0 + 1e-5], 1e-6)));
        assert!(!report(&|r| r.values(&[f32::NAN], &[1.0], 1.0)));
        assert!(!report(&|r| r.values(&[1.0, 2.0], &[1.0], 1.0)), "lengths");
        assert!(report(&|r| r.same_bits(&[0.0], &[0.0])));
        assert!(!report(&|r| r.same_bits(&[0.0], &[-0.0])));
        assert!(!report(&|r| r.same_bytes(&[1, 2], &[1, 3])));
    }
}
