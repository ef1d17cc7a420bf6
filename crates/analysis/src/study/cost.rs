//! What the study cost.

use super::context::{Findings, StudyContext};
use super::run::ObservedRun;
use super::sheet::table;
use crate::document::{Format, Section};
use std::collections::BTreeMap;

pub fn section(context: &StudyContext<'_>, findings: &mut Findings) {
    let mut models: BTreeMap<&str, Vec<&ObservedRun>> = BTreeMap::new();
    for run in context.studies.iter().flat_map(|study| &study.runs) {
        models.entry(&run.model).or_default().push(run);
    }
    let columns = [
        ("model", "model", Format::Text),
        ("runs", "runs", Format::Whole),
        ("steps", "steps", Format::Whole),
        ("prompt_tokens", "prompt tokens (10⁶)", Format::Decimals(1)),
        ("reply_tokens", "reply tokens (10⁶)", Format::Decimals(1)),
        ("reply_hours", "hours of replies", Format::Decimals(1)),
        ("crashes", "crashes", Format::Whole),
        ("tokens_per_crash", "tokens for a crash (10³)", Format::Decimals(0)),
    ];
    let mut sheet = table("cost", "Cost by model", &columns);
    for (model, runs) in models {
        let sum =
            |value: &dyn Fn(&ObservedRun) -> f64| runs.iter().map(|run| value(run)).sum::<f64>();
        let tokens = sum(&|run| (run.prompt_tokens + run.reply_tokens) as f64);
        let crashes = runs.iter().filter(|run| run.crashed()).count();
        sheet.rows.push(vec![
            model.into(),
            runs.len().into(),
            sum(&|run| run.steps as f64).into(),
            (sum(&|run| run.prompt_tokens as f64) / 1e6).into(),
            (sum(&|run| run.reply_tokens as f64) / 1e6).into(),
            (sum(&|run| run.reply_seconds) / 3600.0).into(),
            crashes.into(),
            (tokens / 1e3 / crashes as f64).into(),
        ]);
    }
    sheet
        .notes
        .push("Hours are waited for replies, summed over runs that wait at the same time.".into());
    findings.sections.push(Section {
        id: "cost".into(),
        title: "Cost".into(),
        tables: vec![sheet],
        ..Section::default()
    });
}
