//! A table in memory: named columns of equal length.

use crate::error::AnalysisError;

/// A column. A missing number is NaN, a missing text is `None`.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    Numbers(Vec<f64>),
    Texts(Vec<Option<String>>),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Frame {
    names: Vec<String>,
    columns: Vec<Column>,
    rows: usize,
    /// Of a part of a table: the rows' places in the whole table, from 0.
    places: Option<Vec<usize>>,
}

impl Column {
    pub fn len(&self) -> usize {
        match self {
            Column::Numbers(values) => values.len(),
            Column::Texts(values) => values.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn is_missing(&self, row: usize) -> bool {
        match self {
            Column::Numbers(values) => values[row].is_nan(),
            Column::Texts(values) => values[row].is_none(),
        }
    }

    /// The value of a row as text: a number in its shortest form; `None` if it is missing.
    pub fn text(&self, row: usize) -> Option<String> {
        match self {
            Column::Numbers(values) => {
                Some(values[row].to_string()).filter(|_| !values[row].is_nan())
            }
            Column::Texts(values) => values[row].clone(),
        }
    }

    fn rows(&self, rows: &[usize]) -> Column {
        match self {
            Column::Numbers(values) => {
                Column::Numbers(rows.iter().map(|row| values[*row]).collect())
            }
            Column::Texts(values) => {
                Column::Texts(rows.iter().map(|row| values[*row].clone()).collect())
            }
        }
    }
}

impl Frame {
    pub fn new() -> Frame {
        Frame::default()
    }

    /// Adds a column.
    ///
    /// # Errors
    /// The name is taken, or the length differs from that of the columns before.
    pub fn push(&mut self, name: impl Into<String>, column: Column) -> Result<(), AnalysisError> {
        let name = name.into();
        if self.names.contains(&name) {
            return Err(AnalysisError::Usage(format!("two columns are named {name:?}")));
        }
        if !self.columns.is_empty() && column.len() != self.rows {
            let (found, rows) = (column.len(), self.rows);
            let text = format!("column {name:?} has {found} rows; the others have {rows}");
            return Err(AnalysisError::Usage(text));
        }
        self.rows = column.len();
        self.names.push(name);
        self.columns.push(column);
        Ok(())
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of a row in messages, from 1. In a part of a table it is that in the whole table.
    pub fn row_number(&self, row: usize) -> usize {
        self.places.as_ref().map_or(row, |places| places[row]) + 1
    }

    /// A part of the table: these rows in this order, counted from 0.
    #[must_use]
    pub fn part(&self, rows: &[usize]) -> Frame {
        Frame {
            names: self.names.clone(),
            columns: self.columns.iter().map(|column| column.rows(rows)).collect(),
            rows: rows.len(),
            places: Some(rows.iter().map(|row| self.row_number(*row) - 1).collect()),
        }
    }

    /// # Errors
    /// There is no column of this name.
    pub fn column(&self, name: &str) -> Result<&Column, AnalysisError> {
        let index = self.names.iter().position(|known| known == name);
        index.map(|index| &self.columns[index]).ok_or_else(|| AnalysisError::NoColumn {
            name: name.to_owned(),
            found: self.names.join(", "),
        })
    }

    /// The numbers of a column, none of which is missing.
    ///
    /// # Errors
    /// There is no such column, or a value is missing or is no number.
    pub fn numbers(&self, name: &str) -> Result<&[f64], AnalysisError> {
        let expected = "a finite number";
        match self.column(name)? {
            Column::Numbers(values) => match values.iter().position(|value| !value.is_finite()) {
                Some(row) if values[row].is_nan() => {
                    Err(self.bad_value(name, row, expected, "no value"))
                }
                Some(row) => Err(self.bad_value(name, row, expected, values[row].to_string())),
                None => Ok(values),
            },
            Column::Texts(values) => {
                let number = |text: &str| text.parse::<f64>().is_ok_and(f64::is_finite);
                let is_number = |value: &Option<String>| value.as_deref().is_some_and(number);
                // A column of texts that all look like numbers was written as texts.
                let row = values.iter().position(|value| !is_number(value)).unwrap_or(0);
                let found = values.get(row).cloned().flatten();
                let found =
                    found.map_or("no value".to_owned(), |text| format!("the text {text:?}"));
                Err(self.bad_value(name, row, expected, found))
            }
        }
    }

    /// Numbers that stand for the values of a column, which may be texts: equal values get equal
    /// numbers, counted from 0 in sorted order. Returns the number of each row, and the labels.
    ///
    /// # Errors
    /// There is no such column, or a value is missing.
    pub fn groups(&self, name: &str) -> Result<(Vec<u32>, Vec<String>), AnalysisError> {
        let column = self.column(name)?;
        if let Some(row) = (0..column.len()).find(|row| column.is_missing(*row)) {
            return Err(self.bad_value(name, row, "a value", "none"));
        }
        match column {
            Column::Numbers(values) => {
                // 0 and -0 are equal.
                let values: Vec<f64> = values.iter().map(|value| value + 0.0).collect();
                let mut levels = values.clone();
                levels.sort_by(f64::total_cmp);
                levels.dedup();
                let group = |value: &f64| levels.partition_point(|level| level < value) as u32;
                Ok((
                    values.iter().map(group).collect(),
                    levels.iter().map(f64::to_string).collect(),
                ))
            }
            Column::Texts(values) => {
                let mut levels: Vec<&String> = values.iter().flatten().collect();
                levels.sort();
                levels.dedup();
                let group = |value: &String| levels.partition_point(|level| *level < value) as u32;
                let groups = values.iter().flatten().map(group).collect();
                Ok((groups, levels.into_iter().cloned().collect()))
            }
        }
    }

    /// The error that a row's value is not what a method expects.
    pub fn bad_value(
        &self,
        column: &str,
        row: usize,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> AnalysisError {
        AnalysisError::BadValue {
            column: column.to_owned(),
            row: self.row_number(row),
            expected: expected.into(),
            found: found.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: &[&str]) -> Column {
        Column::Texts(values.iter().map(|value| Some((*value).to_owned())).collect())
    }

    #[test]
    fn errors_in_a_part_name_the_row_of_the_whole_table() {
        let mut frame = Frame::new();
        frame.push("x", Column::Numbers(vec![1.0, 2.0, f64::INFINITY, 4.0])).unwrap();
        frame.push("s", texts(&["1", "2", "3", "4+"])).unwrap();
        let part = frame.part(&[1, 2, 3]).part(&[1, 2]);
        assert_eq!((part.rows(), part.row_number(0)), (2, 3));
        let error = part.numbers("x").unwrap_err().to_string();
        assert_eq!(error, "column \"x\", row 3: expected a finite number, found inf");
        let error = part.numbers("s").unwrap_err().to_string();
        assert_eq!(error, "column \"s\", row 4: expected a finite number, found the text \"4+\"");
    }

    #[test]
    fn groups_are_numbered_in_sorted_order() {
        let mut frame = Frame::new();
        frame.push("x", Column::Numbers(vec![10.0, 9.5, -0.0, 0.0, 10.0])).unwrap();
        frame.push("s", texts(&["b", "a", "b", "c", "a"])).unwrap();
        let labels = ["0", "9.5", "10"].map(String::from).to_vec();
        assert_eq!(frame.groups("x").unwrap(), (vec![2, 1, 0, 0, 2], labels));
        assert_eq!(frame.groups("s").unwrap().0, [1, 0, 1, 2, 0]);
    }
}
