//! The data of a model, from the columns of a table.

use super::subjects::check_subjects;
use crate::args::{SurvivalArgs, SurvivalModel};
use crate::failure::Failure;
use crate::table_file::{self, TableFile};
use analysis::AnalysisError;
use analysis::FitWarning;
use analysis::coding::{
    CodedCovariates, CodedEvents, code_covariates, code_events, columns_of_terms,
};
use analysis::frame::{Column, Frame};
use analysis::survival::RiskData;
use error_kind::ErrorKind;

/// What a model is fitted to.
pub struct SurvivalInput {
    /// The causes are 1 for all events that count, except for `aj`: there 1, 2, ... are the causes.
    pub data: RiskData,
    pub covariates: CodedCovariates,
    /// The group of each row, and the groups' labels; without --group one group without a label.
    pub groups: Vec<u32>,
    pub group_labels: Vec<Option<String>>,
    /// Causes: label, number of events, and whether they count.
    pub causes: Vec<(String, usize, bool)>,
    pub subjects: usize,
    pub rows_left_out: usize,
    pub warnings: Vec<FitWarning>,
    frame: Frame,
}

impl SurvivalInput {
    pub fn read(args: &SurvivalArgs) -> Result<SurvivalInput, Failure> {
        let table = table_file::read(&args.table, &used_columns(args))?;
        let rows = table.frame.rows();
        let frame = without_missing(args, table)?;
        let rows_left_out = rows - frame.rows();
        SurvivalInput::of(args, frame, rows_left_out).map_err(|error| in_table(args, error.into()))
    }

    fn of(
        args: &SurvivalArgs,
        frame: Frame,
        rows_left_out: usize,
    ) -> Result<SurvivalInput, AnalysisError> {
        let mut warnings = Vec::new();
        let (start, stop) = times(args, &frame, &mut warnings)?;
        let events = code_events(&frame, &args.event, &censored_words(args, &frame)?)?;
        let causes = causes(args, &events, &mut warnings)?;
        let numbers = |column: &Option<String>| match column {
            Some(column) => frame.groups(column).map(|(groups, _)| groups),
            None => Ok(Vec::new()),
        };
        let (groups, group_labels) = match &args.group {
            Some(column) => {
                let (groups, labels) = frame.groups(column)?;
                (groups, labels.into_iter().map(Some).collect())
            }
            None => (vec![0; frame.rows()], vec![None]),
        };
        let terms: Vec<&str> = args.covariates.iter().map(String::as_str).collect();
        let categorical: Vec<&str> = args.categorical.iter().map(String::as_str).collect();
        let covariates = code_covariates(&frame, &terms, &categorical)?;
        let note = |note: &String| FitWarning { code: "mixed_column", text: note.clone() };
        warnings.extend(covariates.notes.iter().map(note));
        let data = RiskData {
            start,
            stop,
            cause: causes.of_rows,
            strata: numbers(&args.strata)?,
            clusters: numbers(&args.cluster)?,
            subjects: numbers(&args.subject)?,
        };
        let subjects = match data.subjects.iter().max() {
            Some(last) => *last as usize + 1,
            None => data.rows(),
        };
        check_subjects(args, &frame, &data)?;
        let causes = causes.counts;
        Ok(SurvivalInput {
            data,
            covariates,
            groups,
            group_labels,
            causes,
            subjects,
            rows_left_out,
            warnings,
            frame,
        })
    }

    /// The groups: label, and the rows' data.
    pub fn by_group(&self) -> impl Iterator<Item = (Option<String>, RiskData)> {
        (0..).zip(&self.group_labels).map(|(group, label)| {
            (label.clone(), self.data.select(|row| self.groups[row] == group))
        })
    }

    /// An error of a method, with the table's name and the row's number in the table.
    pub fn in_table(&self, args: &SurvivalArgs, error: AnalysisError) -> Failure {
        let error = match error {
            AnalysisError::BadValue { column, row, expected, found } if row > 0 => {
                self.frame.bad_value(&column, row - 1, expected, found)
            }
            other => other,
        };
        in_table(args, error.into())
    }
}

fn in_table(args: &SurvivalArgs, failure: Failure) -> Failure {
    Failure::new(failure.kind, format!("{}: {}", args.table.display(), failure.text))
}

/// The columns that the options name, each once.
fn used_columns(args: &SurvivalArgs) -> Vec<&str> {
    let terms: Vec<&str> = args.covariates.iter().map(String::as_str).collect();
    let one = [&args.start, &args.group, &args.strata, &args.subject, &args.cluster];
    let named = [Some(&args.time), Some(&args.event)].into_iter().chain(one.map(Option::as_ref));
    let mut columns = Vec::new();
    for column in named.flatten().map(String::as_str).chain(columns_of_terms(&terms)) {
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    columns
}

/// The values of the event column that mean censored.
fn censored_words<'a>(
    args: &'a SurvivalArgs,
    frame: &Frame,
) -> Result<Vec<&'a str>, AnalysisError> {
    if !args.censored.is_empty() {
        return Ok(args.censored.iter().map(String::as_str).collect());
    }
    let mut words = vec!["0", "false", "censored", "horizon"];
    // Texts name what happened, if anything did; a number that is missing is not known.
    let is_nothing = match frame.column(&args.event)? {
        Column::Numbers(numbers) => numbers.iter().all(|number| number.is_nan()),
        Column::Texts(_) => true,
    };
    if is_nothing {
        words.push("");
    }
    Ok(words)
}

/// The rows that lack no value that is used.
fn without_missing(args: &SurvivalArgs, table: TableFile) -> Result<Frame, Failure> {
    let TableFile { frame, missing_words } = table;
    let may_miss = censored_words(args, &frame)?.contains(&"");
    let mut lacking = Vec::new();
    let mut is_complete = vec![true; frame.rows()];
    for name in frame.names().iter().filter(|name| **name != args.event || !may_miss) {
        let column = frame.column(name)?;
        let missing: Vec<usize> = (0..frame.rows()).filter(|row| column.is_missing(*row)).collect();
        missing.iter().for_each(|row| is_complete[*row] = false);
        let Some(first) = missing.first() else { continue };
        let word = missing_words.iter().find(|(column, _)| column == name);
        let word = word.map_or(String::new(), |(_, word)| format!(", some as {word:?}"));
        let (count, row) = (missing.len(), frame.row_number(*first));
        lacking.push(format!("{name} lacks {count} (first in row {row}{word})"));
    }
    let complete: Vec<usize> = (0..frame.rows()).filter(|row| is_complete[*row]).collect();
    let missing = frame.rows() - complete.len();
    if missing == 0 {
        return Ok(frame);
    }
    let found = format!(
        "{}: expected values in the columns used, found {missing} of {} rows without: {}",
        args.table.display(),
        frame.rows(),
        lacking.join(", ")
    );
    if !args.drop_missing {
        let advice = "fill them in, or leave these rows out with --drop-missing";
        return Err(Failure::new(ErrorKind::BadInput, format!("{found}; {advice}")));
    }
    if complete.is_empty() {
        return Err(Failure::new(ErrorKind::BadInput, format!("{found}; no row is left")));
    }
    Ok(frame.part(&complete))
}

/// Start of rows whose time 0 is a time at which they were at risk.
const JUST_BEFORE_0: f64 = -f64::MIN_POSITIVE;

/// Start and stop of each row.
fn times(
    args: &SurvivalArgs,
    frame: &Frame,
    warnings: &mut Vec<FitWarning>,
) -> Result<(Vec<f64>, Vec<f64>), AnalysisError> {
    let stop = frame.numbers(&args.time)?.to_vec();
    let bad = |row: usize, expected: String| {
        Err(frame.bad_value(&args.time, row, expected, stop[row].to_string()))
    };
    if let Some(column) = &args.start {
        let start = frame.numbers(column)?.to_vec();
        if let Some(row) = (0..stop.len()).find(|row| start[*row] >= stop[*row]) {
            return bad(row, format!("a time after that of {column}, {}", start[row]));
        }
        return Ok((start, stop));
    }
    let is_grouped = args.model == SurvivalModel::Cloglog;
    if let Some(row) = stop.iter().position(|stop| *stop < 0.0 || (*stop == 0.0 && is_grouped)) {
        return bad(
            row,
            "a time above 0, since rows are at risk from 0 without --start".to_owned(),
        );
    }
    let zeros = stop.iter().filter(|stop| **stop == 0.0).count();
    if zeros == 0 {
        return Ok((vec![0.0; stop.len()], stop));
    }
    let text = format!(
        "{zeros} rows have time 0: they count as at risk then, as in R and lifelines; is it right \
         that they left at once?"
    );
    warnings.push(FitWarning { code: "time_zero", text });
    Ok((vec![JUST_BEFORE_0; stop.len()], stop))
}

struct Causes {
    of_rows: Vec<u32>,
    counts: Vec<(String, usize, bool)>,
}

/// `--cause` for events of all causes.
const ANY: &str = "any";

/// The causes that count.
fn causes(
    args: &SurvivalArgs,
    events: &CodedEvents,
    warnings: &mut Vec<FitWarning>,
) -> Result<Causes, AnalysisError> {
    let is_of_all = args.model == SurvivalModel::Aj;
    let wanted: Vec<&str> = match args.cause.iter().any(|cause| cause == ANY) {
        true => events.labels.iter().map(String::as_str).collect(),
        false => args.cause.iter().map(String::as_str).collect(),
    };
    let wanted = match (events.labels.len(), wanted.is_empty()) {
        (_, false) => wanted,
        (count, true) if count == 1 || is_of_all => {
            events.labels.iter().map(String::as_str).collect()
        }
        (count, true) => {
            return Err(AnalysisError::Usage(format!(
                "{:?} has {count} causes of events: {}. Name the one that counts with --cause, or \
                 --cause any for all; a value that means that nothing happened is named with \
                 --censored",
                args.event,
                events.summary()
            )));
        }
    };
    let of_rows = events.only(&wanted)?;
    let each = events.labels.iter().zip(events.counts());
    let counts: Vec<(String, usize, bool)> = each
        .map(|(label, count)| (label.clone(), count, wanted.contains(&label.as_str())))
        .collect();
    if args.model == SurvivalModel::Km && counts.iter().any(|(.., counted)| !counted) {
        let text = "events of other causes are censored: 1 - survival is no probability of this \
                    cause where the others occur; --model aj gives that"
            .to_owned();
        warnings.push(FitWarning { code: "competing_causes", text });
    }
    let of_rows = if is_of_all { events.causes.clone() } else { of_rows };
    Ok(Causes { of_rows, counts })
}
