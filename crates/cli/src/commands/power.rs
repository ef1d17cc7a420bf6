//! `vendomini power`: simulates the declared analysis of a configuration before it is run.

use crate::args::PowerArgs;
use crate::failure::Failure;
use crate::output;
use analysis::inference::Proportion;
use analysis::power::DeclaredAnalysis;
use experiment::{
    AnalysisPower, AssumedValue, AssumptionSource, Config, DesignCost, PowerOptions, PowerReport,
    SearchedDesign, observed_study,
};
use results::Store;

pub fn run(args: &PowerArgs) -> Result<u8, Failure> {
    let options = options(args)?;
    let config = Config::load(&args.config, &args.set)?;
    config.notes().iter().for_each(|note| output::message(note));
    let pilot = match &args.pilot {
        Some(folder) => Some(observed_study(&Store::open(folder)?)?),
        None => None,
    };
    let report = experiment::power(&config, pilot.as_ref(), &options)?;
    match args.json {
        true => output::json(&report)?,
        false => print(&report)?,
    }
    Ok(0)
}

/// The options as given, checked.
fn options(args: &PowerArgs) -> Result<PowerOptions, Failure> {
    let refuse = |flag: &str, expected: &str, found: f64| {
        Err(Failure::usage(format!("--{flag}: expected {expected}, found {found}")))
    };
    let PowerArgs { hr, baseline, world_sd, simulations, seed, .. } = *args;
    if !(hr > 0.0 && hr.is_finite() && hr != 1.0) {
        return refuse("hr", "a hazard ratio above 0 other than 1, which is no effect", hr);
    }
    if let Some(found) = baseline.filter(|share| !(*share > 0.0 && *share < 1.0)) {
        return refuse("baseline", "a share of runs above 0 and below 1", found);
    }
    if let Some(found) = world_sd.filter(|sd| !(0.0..=10.0).contains(sd)) {
        return refuse("world-sd", "a standard deviation from 0 to 10", found);
    }
    Ok(PowerOptions { hazard_ratio: hr, baseline, world_sd, simulations, seed, threads: None })
}

fn print(report: &PowerReport) -> Result<(), Failure> {
    print_assumptions(report)?;
    output::line(&format!(
        "{} simulated studies with this effect, and as many without any:",
        report.simulations
    ))?;
    print_table(&analysis_table(&report.analyses))?;
    print_unestimable(&report.analyses, 2 * report.simulations)?;
    let formula = &report.formula;
    output::line(&format!(
        "{:.0} crashes expected; for independent runs, Schoenfeld's formula needs {:.0} for 80% \
         power, and gives {}",
        report.events,
        formula.events_needed,
        percent(formula.power)
    ))?;
    output::line(&format!("cost: {}", cost_text(&report.cost)))?;
    print_search(report)
}

fn print_assumptions(report: &PowerReport) -> Result<(), Failure> {
    let PowerReport { name, worlds, hazard_ratio, doses, lag, .. } = report;
    output::line(&format!("{name}: {} runs in {worlds} worlds", report.cost.runs))?;
    output::line(&format!(
        "assumed: the highest dose has {hazard_ratio} times the hazard of the lowest, through \
         exposure {lag} steps before, at the mean exposure of each:"
    ))?;
    let mut table = vec![["p_shock", "runs", "mean exposure"].map(String::from).to_vec()];
    for dose in doses {
        let exposure = format!("{:.2}", dose.exposure);
        table.push(vec![dose.p_shock.to_string(), dose.runs.to_string(), exposure]);
    }
    print_table(&table)?;
    let played = match report.exposure_source {
        AssumptionSource::Pilot => {
            "exposure grows as in the pilot, in games of the careful operator"
        }
        _ => "exposure is that of the careful operator, which a model may exceed (--pilot)",
    };
    output::line(&format!("  {played}"))?;
    let PowerReport { baseline, world_sd, entered, .. } = report;
    let lowest = doses.first().map_or(0.0, |dose| dose.p_shock);
    let crash = percent(baseline.value);
    output::line(&format!("  {crash} of the runs at p_shock {lowest} crash{}", source(baseline)))?;
    output::line(&format!(
        "  the log hazard of worlds has the standard deviation {:.2}{}",
        world_sd.value,
        source(world_sd)
    ))?;
    if entered.value < 1.0 {
        let share = percent(entered.value);
        output::line(&format!("  {share} of the runs become competent{}", source(entered)))?;
    }
    for note in &report.notes {
        output::line(&format!("  {note}"))?;
    }
    Ok(())
}

fn source(assumed: &AssumedValue) -> &'static str {
    match assumed.source {
        AssumptionSource::Option => "",
        AssumptionSource::Pilot => " (as in the pilot)",
        AssumptionSource::Default => " (default)",
    }
}

fn print_table(table: &[Vec<String>]) -> Result<(), Failure> {
    for line in results::aligned(table).lines() {
        output::line(&format!("  {line}"))?;
    }
    Ok(())
}

fn analysis_table(analyses: &[AnalysisPower]) -> Vec<Vec<String>> {
    let head = ["Cox model", "power", "", "false positives", ""];
    let mut table = vec![head.map(String::from).to_vec()];
    for found in analyses {
        let [power, power_interval] = share(&found.power);
        let [chance, chance_interval] = share(&found.false_positives);
        let name = found.analysis.label().to_owned();
        table.push(vec![name, power, power_interval, chance, chance_interval]);
    }
    table
}

/// Studies whose crashes determine no estimate, if they are many.
fn print_unestimable(analyses: &[AnalysisPower], simulated: u64) -> Result<(), Failure> {
    for found in analyses.iter().filter(|found| found.not_estimable * 100 > simulated) {
        output::line(&format!(
            "  {}: {} of {simulated} studies have too few crashes for an estimate, and find nothing",
            found.analysis.label(),
            found.not_estimable
        ))?;
    }
    Ok(())
}

/// A share and the interval of the simulation.
fn share(found: &Proportion) -> [String; 2] {
    let interval = &found.interval;
    [percent(found.share), format!("({:.1} to {:.1})", 100.0 * interval.low, 100.0 * interval.high)]
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

fn cost_text(cost: &DesignCost) -> String {
    let runs = format!("{} runs, at most {} steps", cost.runs, cost.steps_max);
    if cost.tokens == 0.0 {
        return format!("{runs} of scripted operators");
    }
    let unknown = match cost.unknown.len() {
        0 => String::new(),
        _ => format!(", without {}, of unknown size", cost.unknown.join(", ")),
    };
    let (tokens, hours) = (cost.tokens / 1e6, cost.gpu_hours);
    format!("{runs}, {tokens:.1} million tokens, {hours:.1} GPU-hours{unknown}")
}

fn print_search(report: &PowerReport) -> Result<(), Failure> {
    let Some(first) = report.searched.first() else { return Ok(()) };
    let simulated = first.analyses.first().map_or(0, |found| found.power.total);
    output::line(&format!(
        "fewest worlds with 80% power in both models ({simulated} simulated studies each):"
    ))?;
    print_table(&search_table(&report.searched))?;
    let Some(cheapest) = report.cheapest.and_then(|index| report.searched.get(index)) else {
        return output::line(
            "no number of worlds that was tried reaches 80%: ask for a larger effect, or raise the \
             highest dose",
        );
    };
    output::line("the cheapest of them, as settings of the configuration (or --set KEY=VALUE):")?;
    for setting in &cheapest.settings {
        output::line(&format!("  {setting}"))?;
    }
    if cheapest.doses.len() == 2 && report.doses.len() > 2 {
        output::line("  two doses show that there is an effect, and not its shape")?;
    }
    Ok(())
}

fn search_table(searched: &[SearchedDesign]) -> Vec<Vec<String>> {
    let models = searched.iter().any(|design| design.cost.tokens > 0.0);
    let mut head = vec!["doses".to_owned(), "worlds".to_owned()];
    head.extend(DeclaredAnalysis::ALL.map(|analysis| format!("power, {}", analysis.short_label())));
    head.extend(["false positives", "runs"].map(String::from));
    if models {
        head.extend(["million tokens", "GPU-hours"].map(String::from));
    }
    let mut table = vec![head];
    table.extend(searched.iter().map(|design| search_row(design, models)));
    table
}

/// `models`: whether there are models, which cost tokens.
fn search_row(design: &SearchedDesign, models: bool) -> Vec<String> {
    let doses: Vec<String> = design.doses.iter().map(f64::to_string).collect();
    let worlds = match design.reached {
        true => design.worlds.to_string(),
        false => format!("over {}", design.worlds),
    };
    let chance = design.analyses.iter().map(|found| percent(found.false_positives.share));
    let mut row = vec![doses.join(" "), worlds];
    row.extend(design.analyses.iter().map(|found| percent(found.power.share)));
    row.extend([chance.collect::<Vec<_>>().join(", "), design.cost.runs.to_string()]);
    if models {
        row.push(format!("{:.1}", design.cost.tokens / 1e6));
        row.push(format!("{:.1}", design.cost.gpu_hours));
    }
    row
}
