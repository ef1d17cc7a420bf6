//! `vendomini report` and `vendomini compare`: answer the question of a study, as a page, as
//! numbers, and as tables.

use crate::args::{AnalysisArgs, CompareArgs, ReportArgs};
use crate::failure::Failure;
use crate::{output, report_files};
use analysis::document::{Document, Severity};
use analysis::study::{
    AnalysisOptions, ObservedStudy, Side, analyze, compare as compare_sides, leave_out_repeated,
};
use base::shell_word;
use experiment::observed_study;
use report::Colophon;
use results::Store;
use std::path::{Path, PathBuf};

pub fn run(args: &ReportArgs) -> Result<u8, Failure> {
    let mut studies = args.dirs.iter().map(|dir| observed(dir)).collect::<Result<Vec<_>, _>>()?;
    leave_out_repeated(&mut studies);
    let document = analyze(&studies, &options(&args.analysis)?);
    let folder = folder(&args.analysis, args.dirs.last());
    finish(&args.analysis, &folder, &document, &studies)
}

pub fn compare(args: &CompareArgs) -> Result<u8, Failure> {
    let of_model = |study: ObservedStudy, model: &Option<String>| match model {
        None => Ok(study),
        Some(model) => only(study, model),
    };
    let a = [of_model(observed(&args.a)?, &args.model_a)?];
    let b = [of_model(observed(&args.b)?, &args.model_b)?];
    let names = [name(&a[0], &args.model_a), name(&b[0], &args.model_b)];
    if names[0] == names[1] && args.a == args.b {
        let text = "both sides are the same runs: name two folders, or --model-a and --model-b";
        return Err(Failure::usage(text));
    }
    let document = compare_sides(
        &Side { name: &names[0], studies: &a },
        &Side { name: &names[1], studies: &b },
        &options(&args.analysis)?,
    );
    let folder = match &args.analysis.out {
        Some(out) => out.clone(),
        None => args.b.join(format!("compared with {}", file_name(&names[0]))),
    };
    let [a, b] = [a, b].map(|side| side.into_iter().next().unwrap_or_default());
    finish(&args.analysis, &folder, &document, &[a, b])
}

/// A name as one part of a path.
fn file_name(name: &str) -> String {
    name.replace(['/', '\\'], "-")
}

fn name(study: &ObservedStudy, model: &Option<String>) -> String {
    match model {
        Some(model) => format!("{} ({model})", study.name),
        None => study.name.clone(),
    }
}

/// The runs of one model.
fn only(mut study: ObservedStudy, model: &str) -> Result<ObservedStudy, Failure> {
    let mut known: Vec<&str> = study.runs.iter().map(|run| run.model.as_str()).collect();
    known.sort_unstable();
    known.dedup();
    if !known.contains(&model) {
        let known = known.join(", ");
        let text = format!("{} has no runs of {model}; it has {known}", study.folder);
        return Err(Failure::usage(text));
    }
    study.runs.retain(|run| run.model == model);
    study.planned = study.runs.len();
    Ok(study)
}

fn observed(dir: &Path) -> Result<ObservedStudy, Failure> {
    Ok(observed_study(&Store::open(dir)?)?)
}

fn options(args: &AnalysisArgs) -> Result<AnalysisOptions, Failure> {
    if !(100..=1_000_000).contains(&args.replicates) {
        let found = args.replicates;
        return Err(Failure::usage(format!(
            "--replicates: expected 100 to 1000000, found {found}"
        )));
    }
    let (lag, seed, replicates) = (args.lag, args.seed, args.replicates);
    Ok(AnalysisOptions { lag, seed, replicates, ..AnalysisOptions::default() })
}

fn folder(args: &AnalysisArgs, dir: Option<&PathBuf>) -> PathBuf {
    let beside = || dir.map(|dir| dir.join("analysis")).unwrap_or_default();
    args.out.clone().unwrap_or_else(beside)
}

/// Writes the files, and prints the answer.
fn finish(
    args: &AnalysisArgs,
    folder: &Path,
    document: &Document,
    studies: &[ObservedStudy],
) -> Result<u8, Failure> {
    let mut facts =
        vec![("Program".to_owned(), format!("vendomini {}", env!("CARGO_PKG_VERSION")))];
    for study in studies {
        facts.push(("Study".to_owned(), format!("{}, design {}", study.name, study.design)));
    }
    facts.push(("Seed".to_owned(), args.seed.to_string()));
    facts.push(("Replicates".to_owned(), args.replicates.to_string()));
    let words = std::env::args_os().skip(1).map(|word| shell_word(&word.to_string_lossy()));
    let command =
        std::iter::once("vendomini".to_owned()).chain(words).collect::<Vec<_>>().join(" ");
    let colophon = Colophon { facts, command };
    report_files::write(folder, document, &colophon)?;
    if args.json {
        output::part(&report::json(document))?;
    } else {
        print(document)?;
    }
    output::message(&format!("{} written", folder.join("report.html").display()));
    Ok(0)
}

fn print(document: &Document) -> Result<(), Failure> {
    output::line(&format!("{}: {}", document.title, document.subtitle))?;
    for sentence in &document.answer {
        output::line(&format!("  {sentence}"))?;
    }
    for refusal in &document.refusals {
        let severity = match refusal.severity {
            Severity::Error => "cannot be concluded",
            Severity::Warning => "warning",
        };
        output::line(&format!("{severity}: {} {}", refusal.what, refusal.why))?;
    }
    Ok(())
}
