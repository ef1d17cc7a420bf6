//! The predecessor's spellings: what each became, or what happens instead.

/// A spelling that means one of our keys.
pub(crate) struct Renamed {
    /// A dotted name, or a prefix that ends in a dot.
    pub old: &'static str,
    pub new: &'static str,
}

/// Looked at in order; the first that fits decides.
pub(crate) const RENAMED: &[Renamed] = &[
    Renamed { old: "env.shock_config.frequency", new: "pe_induction.p_shock" },
    Renamed { old: "simulation.", new: "env." },
    Renamed { old: "environment.", new: "env." },
    Renamed { old: "agent.model.", new: "model." },
    Renamed { old: "agent.interface.", new: "interface." },
    Renamed { old: "max_steps", new: "env.max_steps" },
    Renamed { old: "max_steps_by_level", new: "env.max_steps_by_level" },
    Renamed { old: "runs_per_config", new: "experiment.replications" },
    Renamed { old: "paths.results_dir", new: "experiment.output_dir" },
];

/// A spelling that has no key here, and what happens instead.
pub(crate) struct Answered {
    /// A dotted name, or a prefix that ends in a dot.
    pub old: &'static str,
    pub instead: &'static str,
}

pub(crate) const ANSWERED: &[Answered] = &[
    Answered {
        old: "model.offload_folder",
        instead: "nothing is copied to a folder: weights that fit no faster tier are read from the checkpoint itself, as the plan says",
    },
    Answered {
        old: "model.offload_state_dict",
        instead: "there is no second copy of the weights to offload: each tensor is read straight into its place",
    },
    Answered {
        old: "model.low_cpu_mem_usage",
        instead: "always so: each tensor is read straight into its place",
    },
    Answered {
        old: "offload_folder",
        instead: "nothing is copied to a folder: weights that fit no faster tier are read from the checkpoint itself, as the plan says",
    },
    Answered {
        old: "offload_state_dict",
        instead: "there is no second copy of the weights to offload: each tensor is read straight into its place",
    },
    Answered {
        old: "experiment.run_id",
        instead: "a run's id is the hash of its effective configuration, model and seed",
    },
    Answered {
        old: "env.shock_config.types",
        instead: "the types of shocks come from pe_induction.pe_type_mix",
    },
    Answered {
        old: "env.shock_config.types.",
        instead: "the types of shocks come from pe_induction.pe_type_mix",
    },
    Answered {
        old: "env.shock_config.intensity_range",
        instead: "the strength of shocks comes from pe_induction.pe_mag",
    },
    Answered {
        old: "env.initial_storage",
        instead: "every SKU begins with env.initial_storage_per_sku units",
    },
    Answered {
        old: "env.initial_storage.",
        instead: "every SKU begins with env.initial_storage_per_sku units",
    },
    Answered { old: "env.tool_costs", instead: "calls cost what they buy; looking costs a step" },
    Answered { old: "env.tool_costs.", instead: "calls cost what they buy; looking costs a step" },
    Answered { old: "env.delivery_delay", instead: "lead times come from env.complexity_level" },
    Answered {
        old: "crash_detection.",
        instead: "crashes are found by crash_detector; budget and stock are in every row",
    },
    Answered {
        old: "pe_tracking.",
        instead: "all four types are always tracked, at EWMA alphas .3, .1, .01 and windows of 10, 100, 500 steps",
    },
    Answered {
        old: "measurement.crash_threshold",
        instead: "the threshold is crash_detector.threshold",
    },
    Answered { old: "measurement.pe_windows", instead: "windows are always 10, 100 and 500 steps" },
    Answered {
        old: "measurement.success_metric",
        instead: "orders shipped, net worth and ending are always recorded",
    },
    Answered { old: "measurement.log_every_n_steps", instead: "every step is a row" },
    Answered {
        old: "measurement.checkpoint_every_n_steps",
        instead: "every step is a row, from which a killed run goes on",
    },
    Answered { old: "logging.", instead: "every step is a row, and every run has its summary" },
    Answered {
        old: "paths.",
        instead: "all of an experiment lies in <experiment.output_dir>/<experiment.name>",
    },
];

/// What became of a name: our spelling of it, or an answer.
pub(crate) enum Fate {
    /// Ours, perhaps after renaming.
    Ours(String),
    /// Accepted, without effect.
    Answered(&'static str),
}

/// Follows the renamings.
pub(crate) fn fate(name: &str) -> Fate {
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
    match ANSWERED.iter().find(|answered| fits(answered.old)) {
        Some(answered) => Fate::Answered(answered.instead),
        None => Fate::Ours(ours),
    }
}

fn rename(name: &str, renamed: &Renamed) -> Option<String> {
    match renamed.old.ends_with('.') {
        true => Some(format!("{}{}", renamed.new, name.strip_prefix(renamed.old)?)),
        false => (name == renamed.old).then(|| renamed.new.to_string()),
    }
}
