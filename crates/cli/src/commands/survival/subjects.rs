//! Rows of one subject that contradict one another.

use crate::args::{SurvivalArgs, SurvivalModel};
use analysis::AnalysisError;
use analysis::frame::Frame;
use analysis::survival::RiskData;

/// Checks that the rows of each subject follow one another, end with its event, and are of one
/// cluster. The methods check the same, but know neither the table's columns nor its rows.
pub fn check_subjects(
    args: &SurvivalArgs,
    frame: &Frame,
    data: &RiskData,
) -> Result<(), AnalysisError> {
    let Some(column) = &args.subject else { return Ok(()) };
    let mut order: Vec<usize> = (0..data.rows()).collect();
    order.sort_by(|a, b| {
        let starts = data.start[*a].total_cmp(&data.start[*b]);
        data.subjects[*a].cmp(&data.subjects[*b]).then(starts)
    });
    for pair in order.windows(2) {
        let (row, next) = (pair[0], pair[1]);
        if data.subjects[row] == data.subjects[next] {
            let subject = frame.column(column)?.text(row).unwrap_or_default();
            Neighbors { args, frame, data, subject, row, next }.check()?;
        }
    }
    Ok(())
}

/// Two rows of a subject, one after the other.
struct Neighbors<'a> {
    args: &'a SurvivalArgs,
    frame: &'a Frame,
    data: &'a RiskData,
    subject: String,
    row: usize,
    next: usize,
}

impl Neighbors<'_> {
    fn check(&self) -> Result<(), AnalysisError> {
        let Neighbors { args, frame, data, ref subject, row, next } = *self;
        let (number, next_number) = (frame.row_number(row), frame.row_number(next));
        if data.start[next] < data.stop[row] {
            let Some(start) = &args.start else {
                let expected = format!(
                    "one row for each subject without --start, but row {number} is of the same"
                );
                let column = args.subject.as_deref().unwrap_or_default();
                return Err(frame.bad_value(column, next, expected, subject));
            };
            let expected = format!(
                "a time from {} on, where row {number} of subject {subject} ends",
                data.stop[row]
            );
            return Err(frame.bad_value(start, next, expected, data.start[next].to_string()));
        }
        if data.cause[row] != 0 && !args.recurrent {
            let advice = match args.model {
                SurvivalModel::Cox | SurvivalModel::Cloglog | SurvivalModel::NelsonAalen => {
                    "; --recurrent allows several events"
                }
                _ => "",
            };
            let expected =
                format!("no event, since subject {subject} goes on in row {next_number}{advice}");
            let found = frame.column(&args.event)?.text(row).unwrap_or_default();
            return Err(frame.bad_value(&args.event, row, expected, found));
        }
        match &args.cluster {
            Some(cluster) if data.clusters[row] != data.clusters[next] => {
                let values = frame.column(cluster)?;
                let expected = format!(
                    "{}, the cluster of subject {subject} in row {number}",
                    values.text(row).unwrap_or_default()
                );
                let found = values.text(next).unwrap_or_default();
                Err(frame.bad_value(cluster, next, expected, found))
            }
            _ => Ok(()),
        }
    }
}
