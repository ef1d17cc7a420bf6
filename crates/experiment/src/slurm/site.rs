//! Settings of a Slurm cluster.

use crate::error::{ConfigProblem, SourceLocation};
use serde::Deserialize;

/// Settings that differ between clusters, read from a YAML file. Unknown keys are errors.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Site {
    /// Value of sbatch's `--account`.
    pub account: Option<String>,
    /// Value of sbatch's `--partition`.
    pub partition: Option<String>,
    /// Value of sbatch's `--qos`.
    pub qos: Option<String>,
    /// Value of sbatch's `--constraint`.
    pub constraint: Option<String>,
    /// Environment modules that the script loads with `module load`.
    pub modules: Vec<String>,
    /// Value of the variable `HF_HOME` on the nodes.
    pub hf_home: Option<String>,
    /// Slurm's name of the GPU type, such as `a100` in `--gres=gpu:a100:2`.
    pub gpu_type: Option<String>,
    /// Path of a machine file that describes a node, for which the placement of models is planned.
    /// `None` plans for the machine that submits the jobs.
    pub machine: Option<String>,
    /// Number of CPU cores of a task.
    pub cpus_per_task: u64,
    /// Maximum memory of a task on a node, in GB.
    pub memory_per_node_gb: Option<f64>,
    /// Maximum time limit of a job, in hours.
    pub hours_max: f64,
    /// Maximum number of tasks of one model.
    pub tasks_max: usize,
    /// Maximum number of submitted jobs of a user. Needed on clusters where Slurm's accounting does
    /// not report MaxSubmitJobs, or to submit fewer jobs.
    pub submit_jobs_max: Option<usize>,
    /// Maximum size of a job array, if it is to be smaller than Slurm's MaxArraySize.
    pub array_size_max: Option<usize>,
    /// Whether a job may requeue itself. Otherwise it submits a successor job.
    pub requeue: bool,
    /// Seconds before the end of a job at which Slurm signals it to save its state.
    pub signal_lead_s: u64,
}

impl Default for Site {
    fn default() -> Self {
        Site {
            account: None,
            partition: None,
            qos: None,
            constraint: None,
            modules: Vec::new(),
            hf_home: None,
            gpu_type: None,
            machine: None,
            cpus_per_task: 8,
            memory_per_node_gb: None,
            hours_max: 24.0,
            tasks_max: 16,
            submit_jobs_max: None,
            array_size_max: None,
            requeue: true,
            signal_lead_s: 120,
        }
    }
}

impl Site {
    /// Parses the text of a site file. Error messages call it `file`.
    ///
    /// # Errors
    /// An unknown key, a value out of its range, or a text that could break out of its line in the
    /// script.
    pub fn from_yaml(file: &str, text: &str) -> Result<Site, ConfigProblem> {
        let site: Site =
            serde_saphyr::from_str(text).map_err(|error| yaml_problem(file, &error))?;
        site.check().map_err(|WrongValue { key, expected, found }| ConfigProblem::WrongType {
            at: SourceLocation { file: file.to_string(), line: 0 },
            key: key.into(),
            expected: expected.into(),
            found,
        })?;
        Ok(site)
    }

    fn check(&self) -> Result<(), WrongValue> {
        let wrong = |key, expected, found| Err(WrongValue { key, expected, found });
        if !(self.hours_max > 0.0 && self.hours_max <= 8760.0) {
            let expected = "hours, more than 0 and at most 8760";
            return wrong("hours_max", expected, self.hours_max.to_string());
        }
        for (key, number) in [
            ("cpus_per_task", Some(self.cpus_per_task)),
            ("tasks_max", Some(self.tasks_max as u64)),
            ("submit_jobs_max", self.submit_jobs_max.map(|jobs| jobs as u64)),
            ("array_size_max", self.array_size_max.map(|size| size as u64)),
        ] {
            if number == Some(0) {
                return wrong(key, "1 or more", "0".into());
            }
        }
        if self.memory_per_node_gb.is_some_and(|gb| gb.is_nan() || gb <= 0.0) {
            let found = format!("{:?}", self.memory_per_node_gb);
            return wrong("memory_per_node_gb", "more than 0", found);
        }
        for (key, value) in self.script_words() {
            if value.is_empty() || value.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return wrong(key, "a word without spaces", format!("{value:?}"));
            }
        }
        Ok(())
    }

    /// Texts that are inserted into the script, by key.
    fn script_words(&self) -> Vec<(&'static str, &str)> {
        let optional = [
            ("account", &self.account),
            ("partition", &self.partition),
            ("qos", &self.qos),
            ("constraint", &self.constraint),
            ("gpu_type", &self.gpu_type),
        ];
        let one = optional.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?)));
        one.chain(self.modules.iter().map(|module| ("modules", module.as_str()))).collect()
    }
}

struct WrongValue {
    key: &'static str,
    expected: &'static str,
    found: String,
}

fn yaml_problem(file: &str, error: &serde_saphyr::Error) -> ConfigProblem {
    let line = error.location().map_or(0, |at| at.line());
    let at = SourceLocation { file: file.to_string(), line };
    match error.without_snippet() {
        serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
            let similarity = |known: &&&str| strsim::jaro_winkler(known, field);
            let nearest = expected
                .iter()
                .max_by(|a, b| similarity(a).total_cmp(&similarity(b)))
                .filter(|key| similarity(key) > 0.7);
            let suggestion = nearest.map(|key| (*key).to_string());
            ConfigProblem::UnknownKey { at, key: field.to_string(), suggestion }
        }
        other => ConfigProblem::NotYaml { at, message: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_reported_with_its_line_and_a_suggestion() {
        let error = Site::from_yaml("site.yaml", "account: a\npartitoin: b\n")
            .expect_err("unknown")
            .to_string();
        assert!(
            error.contains("site.yaml line 2") && error.contains("did you mean partition"),
            "{error}"
        );
    }

    #[test]
    fn values_that_would_break_the_script_are_refused() {
        for text in [
            "hours_max: 0",
            "account: \"a\\nrm\"",
            "cpus_per_task: 0",
            "modules: [\"a; b\"]",
            "hours_max: .nan",
        ] {
            assert!(Site::from_yaml("site.yaml", text).is_err(), "{text}");
        }
        assert!(!Site::from_yaml("site.yaml", "requeue: false").expect("good").requeue);
    }
}
