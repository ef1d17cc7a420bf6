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
        let bad = |row: usize, found: String| AnalysisError::BadValue {
            column: name.to_owned(),
            row: row + 1,
            expected: "a finite number".to_owned(),
            found,
        };
        match self.column(name)? {
            Column::Numbers(values) => match values.iter().position(|value| !value.is_finite()) {
                Some(row) if values[row].is_nan() => Err(bad(row, "no value".to_owned())),
                Some(row) => Err(bad(row, values[row].to_string())),
                None => Ok(values),
            },
            Column::Texts(values) => {
                let first = values.first().cloned().flatten();
                Err(bad(0, first.map_or("no value".to_owned(), |text| format!("{text:?}"))))
            }
        }
    }

    /// Numbers that stand for the values of a column, which may be texts: equal values get equal
    /// numbers, counted from 0 in sorted order. Returns the number of each row, and the labels.
    ///
    /// # Errors
    /// There is no such column, or a value is missing.
    pub fn groups(&self, name: &str) -> Result<(Vec<u32>, Vec<String>), AnalysisError> {
        let missing = |row: usize| AnalysisError::BadValue {
            column: name.to_owned(),
            row: row + 1,
            expected: "a value".to_owned(),
            found: "none".to_owned(),
        };
        match self.column(name)? {
            Column::Numbers(values) => {
                if let Some(row) = values.iter().position(|value| value.is_nan()) {
                    return Err(missing(row));
                }
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
                if let Some(row) = values.iter().position(Option::is_none) {
                    return Err(missing(row));
                }
                let mut levels: Vec<&String> = values.iter().flatten().collect();
                levels.sort();
                levels.dedup();
                let group = |value: &String| levels.partition_point(|level| *level < value) as u32;
                let groups = values.iter().flatten().map(group).collect();
                Ok((groups, levels.into_iter().cloned().collect()))
            }
        }
    }
}
