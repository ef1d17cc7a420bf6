//! Options that a model does not have.

use crate::args::{SurvivalArgs, SurvivalModel};
use crate::failure::Failure;
use clap::ValueEnum;

/// The word for a model on the command line.
pub fn name(model: SurvivalModel) -> String {
    model.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
}

/// Fails if an option has no effect on the model, or a value is out of range.
pub fn check(args: &SurvivalArgs) -> Result<(), Failure> {
    use SurvivalModel::{Aj, Cloglog, Cox, Km, Logrank, NelsonAalen};
    let of_one_cause = [Km, NelsonAalen, Logrank, Cox, Cloglog];
    let options: [(bool, &str, &[SurvivalModel]); 14] = [
        (!args.cause.is_empty(), "--cause", &of_one_cause),
        (!args.covariates.is_empty(), "--covariates", &[Cox, Cloglog]),
        (!args.categorical.is_empty(), "--categorical", &[Cox, Cloglog]),
        (args.group.is_some(), "--group", &[Km, NelsonAalen, Aj, Logrank]),
        (args.strata.is_some(), "--strata", &[Cox, Logrank]),
        (args.cluster.is_some(), "--cluster", &[Cox, Cloglog]),
        (args.robust.is_some(), "--robust", &[Cox, Cloglog]),
        (args.ties.is_some(), "--ties", &[Cox]),
        (args.ph_test.is_some(), "--ph-test", &[Cox]),
        (args.recurrent, "--recurrent", &[Cox, Cloglog, NelsonAalen]),
        (args.horizon.is_some(), "--horizon", &[Km, Aj]),
        (!args.times.is_empty(), "--times", &[Km, NelsonAalen, Aj]),
        (!args.bins.is_empty(), "--bins", &[Cloglog]),
        (args.step.is_some(), "--step", &[Cloglog]),
    ];
    for (is_set, option, models) in options {
        if is_set && !models.contains(&args.model) {
            let names: Vec<String> = models.iter().map(|model| name(*model)).collect();
            return Err(Failure::usage(format!(
                "{option} has no effect on --model {}; it is for {}",
                name(args.model),
                names.join(", ")
            )));
        }
    }
    match args.model {
        Cox if args.covariates.is_empty() => Err(Failure::usage(
            "--model cox: expected --covariates, found none; survival without covariates is \
             --model km",
        )),
        Logrank if args.group.is_none() => Err(Failure::usage(
            "--model logrank: expected --group, the groups to compare, found none",
        )),
        _ if args.recurrent && args.subject.is_none() => {
            Err(Failure::usage("--recurrent: expected --subject, whose events recur, found none"))
        }
        _ => check_values(args),
    }
}

fn check_values(args: &SurvivalArgs) -> Result<(), Failure> {
    if !(args.level > 0.0 && args.level < 1.0) {
        let level = args.level;
        return Err(Failure::usage(format!(
            "--level: expected a share such as 0.95, found {level}"
        )));
    }
    let mut times = args.times.iter().chain(&args.horizon).chain(&args.step);
    if let Some(time) = times.find(|time| !(time.is_finite() && **time > 0.0)) {
        return Err(Failure::usage(format!(
            "--times, --horizon and --step: expected numbers above 0, found {time}"
        )));
    }
    if let Some(column) = args.categorical.iter().find(|column| {
        !args.covariates.iter().any(|term| term.split(':').any(|name| name == *column))
    }) {
        return Err(Failure::usage(format!("--categorical: {column} is not in --covariates")));
    }
    Ok(())
}
