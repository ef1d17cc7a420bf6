use crate::error::{ConfigProblem, SourceLocation};
use serde::Deserialize;

/// What differs from cluster to cluster. Read from YAML; an unknown key is an error.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Site {
    /// `--account`.
    pub account: Option<String>,
    /// `--partition`.
    pub partition: Option<String>,
    /// `--qos`.
    pub qos: Option<String>,
    /// `--constraint`.
    pub constraint: Option<String>,
    /// Loaded with `module load` before anything else.
    pub modules: Vec<String>,
    /// `HF_HOME` on the nodes.
    pub hf_home: Option<String>,
    /// Slurm's name for the cards, as in `--gres=gpu:a100:2`.
    pub gpu_type: Option<String>,
    /// A machine file that describes a node; models are planned for it. None: for the machine that
    /// submits.
    pub machine: Option<String>,
    /// Cores of a task.
    pub cpus_per_task: u64,
    /// Memory that a node may give to a task, in GB; it bounds what is asked for.
    pub memory_per_node_gb: Option<f64>,
    /// The longest a job may take.
    pub hours_max: f64,
    /// The most tasks of a model.
    pub tasks_max: usize,
    /// Jobs that a user may have submitted, where accounting does not say (MaxSubmitJobs), or
    /// fewer than it says.
    pub submit_jobs_max: Option<usize>,
    /// The largest array, where it is to be smaller than MaxArraySize.
    pub array_size_max: Option<usize>,
    /// Whether a job may requeue itself; otherwise it submits its successor.
    pub requeue: bool,
    /// Seconds before a job's end at which it is told to save.
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
    /// Reads a site's settings; `file` is their name, for messages.
    ///
    /// # Errors
    /// A key that nothing reads, a value out of range, or words that would end up as another line
    /// of the script.
    pub fn from_yaml(file: &str, text: &str) -> Result<Site, ConfigProblem> {
        let site: Site = serde_saphyr::from_str(text).map_err(|error| refused(file, &error))?;
        let wrong = |key: &str, expected: &str, found: String| {
            let place = SourceLocation { file: file.to_string(), line: 0 };
            Err(ConfigProblem::WrongType {
                place,
                key: key.into(),
                expected: expected.into(),
                found,
            })
        };
        if !(site.hours_max > 0.0 && site.hours_max <= 8760.0) {
            return wrong(
                "hours_max",
                "hours, more than 0 and at most 8760",
                site.hours_max.to_string(),
            );
        }
        for (key, number) in
            [("cpus_per_task", site.cpus_per_task), ("tasks_max", site.tasks_max as u64)]
        {
            if number == 0 {
                return wrong(key, "1 or more", "0".into());
            }
        }
        for (key, number) in
            [("submit_jobs_max", site.submit_jobs_max), ("array_size_max", site.array_size_max)]
        {
            if number == Some(0) {
                return wrong(key, "1 or more", "0".into());
            }
        }
        if site.memory_per_node_gb.is_some_and(|gb| gb.is_nan() || gb <= 0.0) {
            return wrong(
                "memory_per_node_gb",
                "more than 0",
                format!("{:?}", site.memory_per_node_gb),
            );
        }
        for (key, value) in site.words() {
            if value.is_empty() || value.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return wrong(key, "a word without spaces", format!("{value:?}"));
            }
        }
        Ok(site)
    }

    fn words(&self) -> Vec<(&'static str, &str)> {
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

fn refused(file: &str, error: &serde_saphyr::Error) -> ConfigProblem {
    let place =
        SourceLocation { file: file.to_string(), line: error.location().map_or(0, |at| at.line()) };
    match error.without_snippet() {
        serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
            let near = |known: &&&str| strsim::jaro_winkler(known, field);
            let nearest = expected
                .iter()
                .max_by(|a, b| near(a).total_cmp(&near(b)))
                .filter(|k| near(k) > 0.7);
            let suggestion = nearest.map(|key| (*key).to_string());
            ConfigProblem::UnknownKey { place, key: field.to_string(), suggestion }
        }
        other => ConfigProblem::NotYaml { place, words: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_its_neighbor() {
        let error = Site::from_yaml("site.yaml", "account: a\npartitoin: b\n")
            .expect_err("unknown")
            .to_string();
        assert!(
            error.contains("site.yaml line 2") && error.contains("did you mean partition"),
            "{error}"
        );
    }

    #[test]
    fn what_would_break_the_script_is_refused() {
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
