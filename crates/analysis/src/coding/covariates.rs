//! Covariates from columns: numbers as they are, categories as indicators of their levels, products
//! as interactions.

use crate::AnalysisError;
use crate::frame::{Column, Frame};
use crate::survival::Covariates;

/// Covariates, and what a reader of the fit must know of them.
#[derive(Debug, Clone, PartialEq)]
pub struct CodedCovariates {
    pub covariates: Covariates,
    /// The columns taken as categories, with the reference level of each.
    pub references: Vec<(String, String)>,
    pub notes: Vec<String>,
}

/// Levels beyond which a column of texts is taken for a mistake.
const LEVELS_MAX: usize = 50;

/// The columns that terms are made of, each once. A term is a column, or several joined by colons:
/// their interaction.
pub fn columns_of_terms<'a>(terms: &[&'a str]) -> Vec<&'a str> {
    let mut columns = Vec::new();
    for column in terms.iter().flat_map(|term| term.split(':')) {
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    columns
}

/// Makes covariates of terms. A column of numbers is one covariate, unless it is in `categorical`.
/// A column of categories is an indicator (0 or 1) of each level but the first in sorted order, the
/// reference; the indicators are named `column=level`. An interaction is the product of each
/// covariate of its first column with each of the next, named `a:b`.
///
/// # Errors
/// `Usage`: a term occurs twice, or a column has over 50 levels. `BadValue`: a value is missing or
/// infinite. `NotEstimable`: a covariate has the same value in all rows.
pub fn code_covariates(
    frame: &Frame,
    terms: &[&str],
    categorical: &[&str],
) -> Result<CodedCovariates, AnalysisError> {
    let mut coded = Vec::new();
    let (mut references, mut notes) = (Vec::new(), Vec::new());
    for column in columns_of_terms(terms) {
        let (covariates, reference) = code_column(frame, column, categorical.contains(&column))?;
        references.extend(reference.map(|level| (column.to_owned(), level)));
        notes.extend(mixed_note(frame, column)?);
        coded.push((column, covariates));
    }
    let of_column = |column: &str| {
        let found = coded.iter().find(|(name, _)| *name == column);
        found.map_or(&[][..], |(_, covariates)| covariates)
    };
    let mut all: Vec<NamedValues> = Vec::new();
    for term in terms {
        let mut columns = term.split(':');
        let first = columns.next().map_or(Vec::new(), |column| of_column(column).to_vec());
        let product = columns.fold(first, |left, column| products(&left, of_column(column)));
        for covariate in product {
            if all.iter().any(|known| known.name == covariate.name) {
                let text = format!("covariate {:?} is given twice", covariate.name);
                return Err(AnalysisError::Usage(text));
            }
            all.push(covariate);
        }
    }
    refuse_constants(&all)?;
    Ok(CodedCovariates { covariates: by_row(frame.rows(), all), references, notes })
}

#[derive(Debug, Clone, PartialEq)]
struct NamedValues {
    name: String,
    values: Vec<f64>,
}

/// The covariates of a column, and the reference level of categories.
fn code_column(
    frame: &Frame,
    column: &str,
    is_categorical: bool,
) -> Result<(Vec<NamedValues>, Option<String>), AnalysisError> {
    if !is_categorical && matches!(frame.column(column)?, Column::Numbers(_)) {
        let values = frame.numbers(column)?.to_vec();
        return Ok((vec![NamedValues { name: column.to_owned(), values }], None));
    }
    let (groups, levels) = frame.groups(column)?;
    if levels.len() > LEVELS_MAX {
        return Err(too_many_levels(frame, column, levels.len()));
    }
    let Some((reference, others)) = levels.split_first() else {
        return Ok((Vec::new(), None));
    };
    if others.is_empty() {
        return Err(constant(&[format!("{column} ({reference} in all rows)")]));
    }
    let indicator = |(level, label): (u32, &String)| NamedValues {
        name: format!("{column}={label}"),
        values: groups.iter().map(|group| f64::from(u8::from(*group == level))).collect(),
    };
    Ok(((1..).zip(others).map(indicator).collect(), Some(reference.clone())))
}

fn products(left: &[NamedValues], right: &[NamedValues]) -> Vec<NamedValues> {
    let product = |a: &NamedValues, b: &NamedValues| NamedValues {
        name: format!("{}:{}", a.name, b.name),
        values: a.values.iter().zip(&b.values).map(|(a, b)| a * b).collect(),
    };
    left.iter().flat_map(|a| right.iter().map(move |b| product(a, b))).collect()
}

fn refuse_constants(covariates: &[NamedValues]) -> Result<(), AnalysisError> {
    let is_constant = |values: &[f64]| values.iter().all(|value| *value == values[0]);
    let found: Vec<String> = covariates
        .iter()
        .filter(|covariate| is_constant(&covariate.values))
        .map(|covariate| match covariate.values.first() {
            Some(value) => format!("{} ({value} in all rows)", covariate.name),
            None => covariate.name.clone(),
        })
        .collect();
    if found.is_empty() { Ok(()) } else { Err(constant(&found)) }
}

fn constant(found: &[String]) -> AnalysisError {
    AnalysisError::NotEstimable(format!(
        "covariates that do not vary have no effect to estimate; leave out: {}",
        found.join(", ")
    ))
}

fn too_many_levels(frame: &Frame, column: &str, levels: usize) -> AnalysisError {
    let advice = match mixed(frame, column) {
        Ok(Some((row, text))) => {
            format!("; if it is meant to be a number: row {} is {text:?}", frame.row_number(row))
        }
        _ => String::new(),
    };
    AnalysisError::Usage(format!(
        "covariate {column:?}: expected numbers, or up to {LEVELS_MAX} categories, found {levels} \
         categories{advice}"
    ))
}

/// A note if a column holds numbers and texts, since one bad number makes it a column of texts.
fn mixed_note(frame: &Frame, column: &str) -> Result<Option<String>, AnalysisError> {
    Ok(mixed(frame, column)?.map(|(row, text)| {
        format!(
            "column {column} is taken as categories, although it has numbers: row {} is {text:?}",
            frame.row_number(row)
        )
    }))
}

/// The first text that is no number, in a column that has both.
fn mixed(frame: &Frame, column: &str) -> Result<Option<(usize, String)>, AnalysisError> {
    let Column::Texts(texts) = frame.column(column)? else { return Ok(None) };
    let is_number = |text: &Option<String>| text.as_ref().is_some_and(|t| t.parse::<f64>().is_ok());
    if !texts.iter().any(is_number) {
        return Ok(None);
    }
    let other = texts.iter().enumerate().find(|(_, text)| text.is_some() && !is_number(text));
    Ok(other.and_then(|(row, text)| Some((row, text.clone()?))))
}

fn by_row(rows: usize, covariates: Vec<NamedValues>) -> Covariates {
    let values = (0..rows).flat_map(|row| covariates.iter().map(move |c| c.values[row])).collect();
    Covariates { values, names: covariates.into_iter().map(|c| c.name).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        let text = |value: &str| Some(value.to_owned());
        let mut frame = Frame::new();
        frame.push("x", Column::Numbers(vec![1.0, 2.0, 3.0, 4.0])).unwrap();
        frame.push("one", Column::Numbers(vec![7.0; 4])).unwrap();
        frame.push("arm", Column::Texts(["b", "a", "c", "a"].map(text).to_vec())).unwrap();
        frame.push("stage", Column::Texts(["1", "2", "3+", "2"].map(text).to_vec())).unwrap();
        frame
    }

    fn coded(terms: &[&str], categorical: &[&str]) -> CodedCovariates {
        code_covariates(&frame(), terms, categorical).unwrap()
    }

    #[test]
    fn categories_are_indicators_and_interactions_are_products() {
        let all = coded(&["x", "arm", "x:arm"], &[]);
        assert_eq!(all.covariates.names, ["x", "arm=b", "arm=c", "x:arm=b", "x:arm=c"]);
        #[rustfmt::skip]
        assert_eq!(all.covariates.values, [
            1.0, 1.0, 0.0, 1.0, 0.0,
            2.0, 0.0, 0.0, 0.0, 0.0,
            3.0, 0.0, 1.0, 0.0, 3.0,
            4.0, 0.0, 0.0, 0.0, 0.0,
        ]);
        assert_eq!(all.references, [("arm".to_owned(), "a".to_owned())]);
        assert_eq!(coded(&["x"], &["x"]).covariates.names, ["x=2", "x=3", "x=4"]);
        let note = &coded(&["stage"], &[]).notes[0];
        assert!(note.contains("row 3 is \"3+\""), "{note}");
    }

    #[test]
    fn constant_repeated_and_unknown_covariates_are_refused() {
        for (terms, text) in [
            (&["x", "one"][..], "one (7 in all rows)"),
            (&["x", "x"], "\"x\" is given twice"),
            (&["y"], "column \"y\" not found"),
        ] {
            let error = code_covariates(&frame(), terms, &[]).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        let mut ages = frame();
        let rows = (0..4).map(|_| None).collect();
        ages.push("empty", Column::Texts(rows)).unwrap();
        let error = code_covariates(&ages, &["empty"], &[]).unwrap_err().to_string();
        assert!(error.contains("row 1: expected a value"), "{error}");
    }

    #[test]
    fn a_number_with_a_typing_error_is_not_taken_as_many_categories() {
        let text = |row: usize| Some(if row == 70 { "7O".to_owned() } else { row.to_string() });
        let mut frame = Frame::new();
        frame.push("age", Column::Texts((0..100).map(text).collect())).unwrap();
        let error = code_covariates(&frame, &["age"], &[]).unwrap_err().to_string();
        assert!(
            error.contains("100 categories; if it is meant to be a number: row 71 is \"7O\""),
            "{error}"
        );
    }
}
