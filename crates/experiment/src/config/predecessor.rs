//! Configuration keys of the predecessor program: for each of them its current name, or the reason
//! why it has no effect.

/// An old name of a key, and its current name.
pub(crate) struct RenamedKey {
    /// The old name: a dotted key, or a prefix that ends in a dot.
    pub old: &'static str,
    pub new: &'static str,
}

/// All renamed keys. The first matching entry applies.
pub(crate) const RENAMED: &[RenamedKey] = &[
    RenamedKey { old: "env.shock_config.frequency", new: "pe_induction.p_shock" },
    RenamedKey { old: "simulation.", new: "env." },
    RenamedKey { old: "environment.", new: "env." },
    RenamedKey { old: "agent.model.", new: "model." },
    RenamedKey { old: "agent.interface.", new: "interface." },
    RenamedKey { old: "max_steps", new: "env.max_steps" },
    RenamedKey { old: "max_steps_by_level", new: "env.max_steps_by_level" },
    RenamedKey { old: "runs_per_config", new: "experiment.replications" },
    RenamedKey { old: "paths.results_dir", new: "experiment.output_dir" },
];

/// A key of the predecessor that is accepted but has no effect.
pub(crate) struct IgnoredKey {
    /// A dotted key, or a prefix that ends in a dot.
    pub old: &'static str,
    /// What this program does instead, as a message for the user.
    pub instead: &'static str,
}

pub(crate) const IGNORED: &[IgnoredKey] = &[
    IgnoredKey {
        old: "model.offload_folder",
        instead: "nothing is copied to a folder: weights that fit no faster tier are read from the checkpoint, as the plan says",
    },
    IgnoredKey {
        old: "model.offload_state_dict",
        instead: "each tensor is read directly into its final memory: there is no second copy to offload",
    },
    IgnoredKey {
        old: "model.low_cpu_mem_usage",
        instead: "always on: each tensor is read directly into its final memory",
    },
    IgnoredKey {
        old: "offload_folder",
        instead: "nothing is copied to a folder: weights that fit no faster tier are read from the checkpoint, as the plan says",
    },
    IgnoredKey {
        old: "offload_state_dict",
        instead: "each tensor is read directly into its final memory: there is no second copy to offload",
    },
    IgnoredKey {
        old: "experiment.run_id",
        instead: "a run's id is the hash of its effective configuration, model and seed",
    },
    IgnoredKey {
        old: "env.shock_config.types",
        instead: "pe_induction.pe_type_mix sets the types of shocks",
    },
    IgnoredKey {
        old: "env.shock_config.types.",
        instead: "pe_induction.pe_type_mix sets the types of shocks",
    },
    IgnoredKey {
        old: "env.shock_config.intensity_range",
        instead: "pe_induction.pe_mag sets the magnitude of shocks",
    },
    IgnoredKey {
        old: "env.initial_storage",
        instead: "every SKU starts with env.initial_storage_per_sku units",
    },
    IgnoredKey {
        old: "env.initial_storage.",
        instead: "every SKU starts with env.initial_storage_per_sku units",
    },
    IgnoredKey {
        old: "env.tool_costs",
        instead: "a call costs what it buys; a query costs one step",
    },
    IgnoredKey {
        old: "env.tool_costs.",
        instead: "a call costs what it buys; a query costs one step",
    },
    IgnoredKey { old: "env.delivery_delay", instead: "env.complexity_level sets lead times" },
    IgnoredKey {
        old: "crash_detection.",
        instead: "crash_detector.* configures crash detection; budget and stock are in every row",
    },
    IgnoredKey {
        old: "pe_tracking.",
        instead: "all four error types are always tracked, at EWMA alphas .3, .1, .01 and windows of 10, 100, 500 steps",
    },
    IgnoredKey {
        old: "measurement.crash_threshold",
        instead: "crash_detector.threshold sets the threshold",
    },
    IgnoredKey {
        old: "measurement.pe_windows",
        instead: "windows are always 10, 100 and 500 steps",
    },
    IgnoredKey {
        old: "measurement.success_metric",
        instead: "orders shipped, net worth and outcome are always recorded",
    },
    IgnoredKey { old: "measurement.log_every_n_steps", instead: "every step is a row" },
    IgnoredKey {
        old: "measurement.checkpoint_every_n_steps",
        instead: "every step is a row, from which a killed run resumes",
    },
    IgnoredKey { old: "logging.", instead: "every step is a row, and every run has a summary" },
    IgnoredKey {
        old: "paths.",
        instead: "an experiment is stored in <experiment.output_dir>/<experiment.name>",
    },
];

/// How a name in a configuration is to be read.
pub(crate) enum KeyMapping {
    /// The current name of the key, which may be missing from the key table.
    Key(String),
    /// The name is accepted without effect; the text says what this program does instead.
    Ignored(&'static str),
}

/// Maps a name in a configuration to a current key, or to a note that it has no effect.
pub(crate) fn resolve_name(name: &str) -> KeyMapping {
    let mut resolved = name.to_string();
    // At most two renamings apply in sequence, as for `simulation.shock_config.frequency`.
    for _ in 0..3 {
        match RENAMED.iter().find_map(|renamed| rename(&resolved, renamed)) {
            Some(next) => resolved = next,
            None => break,
        }
    }
    let matches =
        |old: &str| if old.ends_with('.') { resolved.starts_with(old) } else { resolved == old };
    match IGNORED.iter().find(|ignored| matches(ignored.old)) {
        Some(ignored) => KeyMapping::Ignored(ignored.instead),
        None => KeyMapping::Key(resolved),
    }
}

fn rename(name: &str, renamed: &RenamedKey) -> Option<String> {
    match renamed.old.ends_with('.') {
        true => Some(format!("{}{}", renamed.new, name.strip_prefix(renamed.old)?)),
        false => (name == renamed.old).then(|| renamed.new.to_string()),
    }
}
