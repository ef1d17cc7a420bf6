//! The predecessor's spellings: what each became, or what happens instead.

/// A spelling that means one of our keys.
pub(crate) struct RenamedKey {
    /// A dotted name, or a prefix that ends in a dot.
    pub old: &'static str,
    pub new: &'static str,
}

/// Looked at in order; the first that fits decides.
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

/// A spelling that has no key here, and what happens instead.
pub(crate) struct IgnoredKey {
    /// A dotted name, or a prefix that ends in a dot.
    pub old: &'static str,
    pub instead: &'static str,
}

pub(crate) const IGNORED: &[IgnoredKey] = &[
    IgnoredKey {
        old: "model.offload_folder",
        instead: "nothing is copied to a folder: weights that fit no faster tier are read from the checkpoint itself, as the plan says",
    },
    IgnoredKey {
        old: "model.offload_state_dict",
        instead: "there is no second copy of the weights to offload: each tensor is read straight into its place",
    },
    IgnoredKey {
        old: "model.low_cpu_mem_usage",
        instead: "always so: each tensor is read straight into its place",
    },
    IgnoredKey {
        old: "offload_folder",
        instead: "nothing is copied to a folder: weights that fit no faster tier are read from the checkpoint itself, as the plan says",
    },
    IgnoredKey {
        old: "offload_state_dict",
        instead: "there is no second copy of the weights to offload: each tensor is read straight into its place",
    },
    IgnoredKey {
        old: "experiment.run_id",
        instead: "a run's id is the hash of its effective configuration, model and seed",
    },
    IgnoredKey {
        old: "env.shock_config.types",
        instead: "the types of shocks come from pe_induction.pe_type_mix",
    },
    IgnoredKey {
        old: "env.shock_config.types.",
        instead: "the types of shocks come from pe_induction.pe_type_mix",
    },
    IgnoredKey {
        old: "env.shock_config.intensity_range",
        instead: "the strength of shocks comes from pe_induction.pe_mag",
    },
    IgnoredKey {
        old: "env.initial_storage",
        instead: "every SKU begins with env.initial_storage_per_sku units",
    },
    IgnoredKey {
        old: "env.initial_storage.",
        instead: "every SKU begins with env.initial_storage_per_sku units",
    },
    IgnoredKey { old: "env.tool_costs", instead: "calls cost what they buy; looking costs a step" },
    IgnoredKey {
        old: "env.tool_costs.",
        instead: "calls cost what they buy; looking costs a step",
    },
    IgnoredKey { old: "env.delivery_delay", instead: "lead times come from env.complexity_level" },
    IgnoredKey {
        old: "crash_detection.",
        instead: "crashes are found by crash_detector; budget and stock are in every row",
    },
    IgnoredKey {
        old: "pe_tracking.",
        instead: "all four types are always tracked, at EWMA alphas .3, .1, .01 and windows of 10, 100, 500 steps",
    },
    IgnoredKey {
        old: "measurement.crash_threshold",
        instead: "the threshold is crash_detector.threshold",
    },
    IgnoredKey {
        old: "measurement.pe_windows",
        instead: "windows are always 10, 100 and 500 steps",
    },
    IgnoredKey {
        old: "measurement.success_metric",
        instead: "orders shipped, net worth and ending are always recorded",
    },
    IgnoredKey { old: "measurement.log_every_n_steps", instead: "every step is a row" },
    IgnoredKey {
        old: "measurement.checkpoint_every_n_steps",
        instead: "every step is a row, from which a killed run goes on",
    },
    IgnoredKey { old: "logging.", instead: "every step is a row, and every run has its summary" },
    IgnoredKey {
        old: "paths.",
        instead: "all of an experiment lies in <experiment.output_dir>/<experiment.name>",
    },
];

/// What became of a name: our spelling of it, or an answer.
pub(crate) enum KeyMapping {
    /// Ours, perhaps after renaming.
    Key(String),
    /// Accepted, without effect.
    Ignored(&'static str),
}

/// Follows the renamings.
pub(crate) fn fate(name: &str) -> KeyMapping {
    let mut ours = name.to_string();
    // Two renamings can follow each other (simulation.shock_config.frequency); none goes in
    // circles.
    for _ in 0..3 {
        match RENAMED.iter().find_map(|renamed| rename(&ours, renamed)) {
            Some(next) => ours = next,
            None => break,
        }
    }
    let fits = |old: &str| if old.ends_with('.') { ours.starts_with(old) } else { ours == old };
    match IGNORED.iter().find(|answered| fits(answered.old)) {
        Some(answered) => KeyMapping::Ignored(answered.instead),
        None => KeyMapping::Key(ours),
    }
}

fn rename(name: &str, renamed: &RenamedKey) -> Option<String> {
    match renamed.old.ends_with('.') {
        true => Some(format!("{}{}", renamed.new, name.strip_prefix(renamed.old)?)),
        false => (name == renamed.old).then(|| renamed.new.to_string()),
    }
}
