//! What ended each row's time at risk.

use crate::AnalysisError;
use crate::frame::{Column, Frame};

/// The causes of events by row.
#[derive(Debug, Clone, PartialEq)]
pub struct CodedEvents {
    /// 0: censored; k: the cause `labels[k - 1]`.
    pub causes: Vec<u32>,
    /// The causes' names: numbers ascending, or texts sorted.
    pub labels: Vec<String>,
}

/// Causes that are taken for a mistake: a column of times or ids was named.
const CAUSES_MAX: usize = 50;

/// Reads the causes of events from a column. `censored` lists the values that mean that nothing was
/// seen to end the time at risk, in any case; the empty word stands for a missing value. All other
/// values are causes.
///
/// # Errors
/// `BadValue`: a value is missing where that does not mean censored, or a number is not whole or
/// negative. `Usage`: the column has over 50 causes. `NotEstimable`: no row has an event.
pub fn code_events(
    frame: &Frame,
    column: &str,
    censored: &[&str],
) -> Result<CodedEvents, AnalysisError> {
    let values = frame.column(column)?;
    if let Column::Numbers(numbers) = values {
        let is_code = |number: &f64| number.is_nan() || (*number >= 0.0 && number.fract() == 0.0);
        if let Some(row) = numbers.iter().position(|number| !is_code(number)) {
            let expected = "0, 1 or the number of a cause";
            return Err(frame.bad_value(column, row, expected, numbers[row].to_string()));
        }
    }
    let mut events = Vec::new();
    let mut is_event = vec![false; frame.rows()];
    for (row, is_event) in is_event.iter_mut().enumerate() {
        let word = values.text(row);
        if word.is_none() && !censored.contains(&"") {
            let expected = "an event, or a word for censored (--censored '' takes no value as one)";
            return Err(frame.bad_value(column, row, expected, "no value"));
        }
        *is_event = !is_censored(&word.unwrap_or_default(), censored);
        if *is_event {
            events.push(row);
        }
    }
    if events.is_empty() {
        return Err(AnalysisError::NotEstimable(format!(
            "no events: each of the {} values of {column:?} means censored ({})",
            frame.rows(),
            quoted(censored)
        )));
    }
    let (groups, labels) = frame.part(&events).groups(column)?;
    if labels.len() > CAUSES_MAX {
        return Err(AnalysisError::Usage(format!(
            "column {column:?}: expected 0 and 1, or up to {CAUSES_MAX} causes of events, found {} \
             different values, such as {:?}",
            labels.len(),
            labels[0]
        )));
    }
    let mut causes = vec![0; frame.rows()];
    for (row, group) in events.into_iter().zip(groups) {
        causes[row] = group + 1;
    }
    Ok(CodedEvents { causes, labels })
}

impl CodedEvents {
    /// Rows that end with each cause.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.labels.len()];
        self.causes
            .iter()
            .filter(|cause| **cause > 0)
            .for_each(|cause| counts[*cause as usize - 1] += 1);
        counts
    }

    /// The causes with their numbers of events: `ruin (12), loop (3)`.
    pub fn summary(&self) -> String {
        let each = self.labels.iter().zip(self.counts());
        let each: Vec<String> = each.map(|(label, count)| format!("{label} ({count})")).collect();
        each.join(", ")
    }

    /// The same rows with one cause, `wanted`; events of other causes are censored.
    ///
    /// # Errors
    /// `Usage`: no event has a wanted cause.
    pub fn only(&self, wanted: &[&str]) -> Result<Vec<u32>, AnalysisError> {
        for word in wanted {
            if !self.labels.iter().any(|label| label == word) {
                let found = self.summary();
                let text = format!("expected a cause of an event, found {word:?}; causes: {found}");
                return Err(AnalysisError::Usage(text));
            }
        }
        let is_wanted =
            |cause: u32| cause > 0 && wanted.contains(&self.labels[cause as usize - 1].as_str());
        Ok(self.causes.iter().map(|cause| u32::from(is_wanted(*cause))).collect())
    }
}

fn is_censored(value: &str, censored: &[&str]) -> bool {
    censored.iter().any(|word| {
        let numbers = (value.parse::<f64>(), word.parse::<f64>());
        word.eq_ignore_ascii_case(value) || matches!(numbers, (Ok(a), Ok(b)) if a == b)
    })
}

fn quoted(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(column: Column) -> Frame {
        let mut frame = Frame::new();
        frame.push("e", column).unwrap();
        frame
    }

    fn texts(values: &[&str]) -> Frame {
        let text = |value: &&str| Some((*value).to_owned()).filter(|value| !value.is_empty());
        frame(Column::Texts(values.iter().map(text).collect()))
    }

    const WORDS: [&str; 5] = ["", "0", "false", "censored", "horizon"];

    #[test]
    fn words_and_missing_values_mean_censored_and_all_else_is_a_cause() {
        let frame = texts(&["ruin", "", "Horizon", "crash:looping", "ruin", "0", "0.0"]);
        let events = code_events(&frame, "e", &WORDS).unwrap();
        assert_eq!(events.causes, [2, 0, 0, 1, 2, 0, 0]);
        assert_eq!(events.summary(), "crash:looping (1), ruin (2)");
        assert_eq!(events.only(&["ruin"]).unwrap(), [1, 0, 0, 0, 1, 0, 0]);
        assert_eq!(events.only(&["ruin", "crash:looping"]).unwrap(), [1, 0, 0, 1, 1, 0, 0]);
        let error = events.only(&["loop"]).unwrap_err().to_string();
        assert!(error.contains("crash:looping (1), ruin (2)"), "{error}");
    }

    #[test]
    fn numbers_are_codes_of_causes() {
        let numbers = |values: &[f64]| frame(Column::Numbers(values.to_vec()));
        let events = code_events(&numbers(&[0.0, 2.0, 10.0, 2.0, 0.0]), "e", &["0"]).unwrap();
        assert_eq!(
            (events.causes, events.labels),
            (vec![0, 1, 2, 1, 0], vec!["2".into(), "10".into()])
        );
        let alive = code_events(&numbers(&[1.0, 2.0]), "e", &["1"]).unwrap();
        assert_eq!(alive.causes, [0, 1]);
        for (values, text) in [
            (&[1.0, 0.5][..], "row 2: expected 0, 1"),
            (&[-1.0, 0.0], "found -1"),
            (&[1.0, f64::NAN], "row 2: expected an event"),
            (&[0.0, 0.0], "no events"),
        ] {
            let error = code_events(&numbers(values), "e", &["0"]).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        let times: Vec<f64> = (1..200).map(f64::from).collect();
        let error = code_events(&numbers(&times), "e", &["0"]).unwrap_err().to_string();
        assert!(error.contains("199 different values"), "{error}");
    }
}
