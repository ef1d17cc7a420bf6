/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CheckReport {
    /// Numbers compared.
    pub compared: usize,
    /// The largest difference.
    pub max_abs_error: f64,
    /// The largest difference as a share of what rounding may cause there. Where bits must agree,
    /// any difference is infinite.
    pub worst_share: f64,
}

impl CheckReport {
    /// Nothing compared yet.
    pub(super) fn new() -> Self {
        Self { compared: 0, max_abs_error: 0.0, worst_share: 0.0 }
    }

    /// Whether something was compared, and no difference is larger than rounding explains.
    pub fn passed(&self) -> bool {
        self.compared > 0 && self.worst_share <= 1.0
    }

    /// Compares one number with what it should be, give or take.
    pub(super) fn number(&mut self, found: f64, expected: f64, tolerance: f64) {
        let error = (found - expected).abs();
        let error = if error.is_nan() { f64::INFINITY } else { error };
        self.compared += 1;
        self.max_abs_error = self.max_abs_error.max(error);
        let share = if error == 0.0 { 0.0 } else { error / tolerance };
        self.worst_share = self.worst_share.max(share);
    }

    /// Compares numbers with what they should be, within `tolerance` of 1 or of their size.
    pub(super) fn numbers(&mut self, found: &[f32], expected: &[f64], tolerance: f64) {
        self.lengths(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            self.number(f64::from(*found), *expected, tolerance * (1.0 + expected.abs()));
        }
    }

    /// Compares numbers bit by bit.
    pub(super) fn same_bits(&mut self, found: &[f32], expected: &[f32]) {
        self.lengths(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let differ = found.to_bits() != expected.to_bits();
            self.number(f64::from(*found), f64::from(*expected), 0.0);
            if differ {
                self.worst_share = f64::INFINITY;
            }
        }
    }

    /// Compares bytes.
    pub(super) fn same_bytes(&mut self, found: &[u8], expected: &[u8]) {
        self.lengths(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            self.number(f64::from(*found), f64::from(*expected), 0.0);
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
    fn differences_fail() {
        let report = |compare: &dyn Fn(&mut CheckReport)| {
            let mut report = CheckReport::new();
            compare(&mut report);
            report.passed()
        };
        assert!(!report(&|_| ()), "nothing compared");
        assert!(report(&|r| r.numbers(&[1.0], &[1.0 + 1e-6], 1e-6)));
        assert!(!report(&|r| r.numbers(&[1.0], &[1.0 + 1e-5], 1e-6)));
        assert!(!report(&|r| r.numbers(&[f32::NAN], &[1.0], 1.0)));
        assert!(!report(&|r| r.numbers(&[1.0, 2.0], &[1.0], 1.0)), "lengths");
        assert!(report(&|r| r.same_bits(&[0.0], &[0.0])));
        assert!(!report(&|r| r.same_bits(&[0.0], &[-0.0])));
        assert!(!report(&|r| r.same_bytes(&[1, 2], &[1, 3])));
    }
}
