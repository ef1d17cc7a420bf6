//! Rungs of the fallback ladder on which memory ran out during a load, in this worker process or in
//! earlier ones that were killed.

use placement::FailedRung;
use serde::{Deserialize, Serialize};

/// The environment variable that passes the failed rungs to the next worker process, as JSON.
pub const VARIABLE: &str = "VENDOMINI_FAILED_RUNGS";

/// Pairs of a model's name as typed and a rung that failed for that model.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailedRungs(Vec<(String, FailedRung)>);

impl FailedRungs {
    /// The rungs that failed in earlier worker processes.
    pub fn from_env() -> Self {
        // Only a supervisor sets the variable; any other value is ignored.
        std::env::var(VARIABLE)
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default()
    }

    /// The value of [`VARIABLE`] for the next worker's environment.
    ///
    /// # Errors
    /// If the rungs cannot be serialized as JSON.
    pub fn to_variable(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// The rungs that failed for one model.
    pub fn of(&self, model: &str) -> Vec<FailedRung> {
        self.0.iter().filter(|(of, _)| of == model).map(|(_, failed)| failed.clone()).collect()
    }

    /// Adds a failed rung. Returns `false` if the rung had failed before, so that another attempt
    /// would be useless.
    pub fn add(&mut self, model: &str, failed: FailedRung) -> bool {
        let known = self.0.iter().any(|(of, earlier)| of == model && earlier.rung == failed.rung);
        if !known {
            self.0.push((model.to_owned(), failed));
        }
        !known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use placement::{GpuLeft, Rung};

    #[test]
    fn rungs_are_kept_per_model_and_survive_the_environment() {
        let failed = |rung| FailedRung {
            rung,
            why: "killed, \"for memory\"".to_owned(),
            next_host_bytes: 1 << 40,
            gpu: Some(GpuLeft { gpu: 1, next_bytes: 7 }),
        };
        let mut rungs = FailedRungs::default();
        assert!(
            rungs.add("a", failed(Rung::AsConfigured))
                && rungs.add("b", failed(Rung::AsConfigured))
        );
        assert!(rungs.add("a", failed(Rung::Int8)) && !rungs.add("a", failed(Rung::Int8)));
        let read: FailedRungs = serde_json::from_str(&rungs.to_variable().unwrap()).unwrap();
        assert_eq!(read, rungs);
        assert_eq!(read.of("a"), [failed(Rung::AsConfigured), failed(Rung::Int8)]);
        assert_eq!(read.of("c"), []);
    }
}
