//! A report as a value: sections of text, tables and figures, before any rendering. Every number
//! that a reader sees is in it; `analysis.json` is this document.

use serde::Serialize;

/// A report.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Document {
    pub title: String,
    /// One line below the title: which runs, of which design.
    pub subtitle: String,
    /// The answer, in three sentences.
    pub answer: Vec<String>,
    /// What cannot be concluded, and why; the most serious first.
    pub refusals: Vec<Refusal>,
    pub sections: Vec<Section>,
}

/// A conclusion that the data do not bear.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Refusal {
    /// A stable name: `few_worlds`, `separation`, `no_events`.
    pub code: &'static str,
    pub severity: Severity,
    /// What cannot be concluded.
    pub what: String,
    /// Why, with the numbers, and what would help.
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The answer cannot be relied on.
    Error,
    /// A part of the report does not hold, or holds under an assumption.
    Warning,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Section {
    /// A stable name, used as the anchor: `flow`, `dose`, `survival`.
    pub id: String,
    pub title: String,
    pub text: Vec<String>,
    pub tables: Vec<Table>,
    pub figures: Vec<Figure>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Table {
    /// A stable name, used for files: `t4_cox`.
    pub id: String,
    pub caption: String,
    pub columns: Vec<TableColumn>,
    /// One value for each column.
    pub rows: Vec<Vec<Value>>,
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableColumn {
    /// Name in files: `robust_se`.
    pub name: String,
    /// Head in the report: `robust s.e.`.
    pub label: String,
    pub format: Format,
}

/// How numbers of a column are shown. Files have all digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    Text,
    Whole,
    /// Significant digits.
    Digits(u8),
    /// Decimals.
    Decimals(u8),
    /// A share as a percentage.
    Percent,
    /// A p-value: three digits, `< .001` below.
    P,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    Number(f64),
    Text(String),
    /// Not defined or not estimable: an empty cell, and null in files.
    None,
}

/// A figure: what is drawn, with all its data.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// A stable name: `km_by_dose`.
    pub id: String,
    pub title: String,
    /// What it shows and how to read it.
    pub caption: String,
    /// For those who do not see it: what the figure shows in this study, in a sentence or two.
    pub alt: String,
    pub x: Axis,
    pub y: Axis,
    pub layers: Vec<Layer>,
    /// Below the figure, aligned with the x axis: numbers at risk.
    pub at_risk: Option<AtRisk>,
    /// The command that computes the data.
    pub command: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Axis {
    pub label: String,
    pub scale: Scale,
    /// The range; `None`: that of the data.
    pub range: Option<(f64, f64)>,
    /// Names of the positions 0, 1, 2, ... of an axis of categories; empty for numbers.
    pub categories: Vec<String>,
}

impl Axis {
    /// An axis of numbers, with the range of the data.
    pub fn linear(label: &str) -> Axis {
        Axis { label: label.to_owned(), scale: Scale::Linear, range: None, categories: Vec::new() }
    }

    pub fn log(label: &str) -> Axis {
        Axis { scale: Scale::Log, ..Axis::linear(label) }
    }

    /// The positions 0, 1, 2, ... by their names.
    pub fn of_categories(label: &str, names: Vec<String>) -> Axis {
        Axis { categories: names, ..Axis::linear(label) }
    }

    /// The same axis with a range.
    pub fn from_to(self, low: f64, high: f64) -> Axis {
        Axis { range: Some((low, high)), ..self }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    Linear,
    Log,
}

/// Something drawn. `series` names it in the legend; layers with the same series share a color. An
/// empty series is drawn in the text's color and has no entry.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Layer {
    /// A step function, constant to the right of each point.
    Steps {
        series: String,
        points: Vec<(f64, f64)>,
    },
    Line {
        series: String,
        points: Vec<(f64, f64)>,
        dashed: bool,
    },
    /// The area between two curves: (x, low, high). `stepped`: both are step functions. A band of a
    /// series that has no line is an area of its own (a stack of shares), drawn in full color.
    Band {
        series: String,
        points: Vec<(f64, f64, f64)>,
        stepped: bool,
    },
    /// Markers; on the step function of the same series, ticks (runs censored).
    Points {
        series: String,
        points: Vec<(f64, f64)>,
    },
    /// An estimate with its interval, on a row of an axis of categories: (x low, x, x high, row).
    Intervals {
        series: String,
        points: Vec<(f64, f64, f64, f64)>,
    },
    /// A bar on a row of an axis of categories: (from x, to x, row).
    Bars {
        series: String,
        points: Vec<(f64, f64, f64)>,
    },
    /// A cell of a matrix of categories: (column, row, value); darker is more.
    Cells {
        series: String,
        points: Vec<(f64, f64, f64)>,
    },
    /// A straight line across the figure at x or y.
    Rule {
        at: f64,
        vertical: bool,
        label: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AtRisk {
    pub times: Vec<f64>,
    /// Series and its numbers, one for each time.
    pub rows: Vec<(String, Vec<u64>)>,
}
