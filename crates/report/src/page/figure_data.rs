//! The numbers of a figure: for the script that writes CSV, and as rows of a table.

use crate::escape;
use crate::number::six_digits_json;
use analysis::document::{Axis, Figure, Layer};

/// Bytes of figure data that a page holds.
const MOST_BYTES: usize = 1_800_000;

/// What remains of them.
pub struct DataBudget {
    left: usize,
}

impl Default for DataBudget {
    fn default() -> Self {
        DataBudget { left: MOST_BYTES }
    }
}

impl DataBudget {
    /// The data, if there is room for them.
    pub fn take(&mut self, data: String) -> Option<String> {
        let left = self.left.checked_sub(data.len())?;
        self.left = left;
        Some(data)
    }
}

/// Columns of the data of all layers, in their order.
const COLUMNS: [&str; 10] =
    ["x", "y", "x_low", "x_high", "y_low", "y_high", "from", "to", "row", "value"];

/// A layer as columns of numbers.
pub struct LayerData<'a> {
    pub kind: &'static str,
    pub series: &'a str,
    pub columns: Vec<(&'static str, Vec<f64>)>,
}

impl LayerData<'_> {
    pub fn len(&self) -> usize {
        self.columns.first().map_or(0, |(_, values)| values.len())
    }
}

/// The layer's data.
pub fn layer_data(layer: &Layer) -> LayerData<'_> {
    let (kind, series, columns): (_, &str, Vec<(&'static str, Vec<f64>)>) = match layer {
        Layer::Steps { series, points } => ("steps", series, pairs(points)),
        Layer::Line { series, points, dashed } => {
            (if *dashed { "dashed line" } else { "line" }, series, pairs(points))
        }
        Layer::Points { series, points } => ("points", series, pairs(points)),
        Layer::Band { series, points, .. } => {
            ("band", series, triples(points, ["x", "y_low", "y_high"]))
        }
        Layer::Bars { series, points } => ("bar", series, triples(points, ["from", "to", "row"])),
        Layer::Cells { series, points } => ("cell", series, triples(points, ["x", "y", "value"])),
        Layer::Intervals { series, points } => {
            let column = |of: fn(&(f64, f64, f64, f64)) -> f64| points.iter().map(of).collect();
            let columns = vec![
                ("x_low", column(|point| point.0)),
                ("x", column(|point| point.1)),
                ("x_high", column(|point| point.2)),
                ("row", column(|point| point.3)),
            ];
            ("interval", series, columns)
        }
        Layer::Rule { at, vertical, label } => {
            ("rule", label, vec![(if *vertical { "x" } else { "y" }, vec![*at])])
        }
    };
    LayerData { kind, series, columns }
}

fn pairs(points: &[(f64, f64)]) -> Vec<(&'static str, Vec<f64>)> {
    let (x, y) = points.iter().copied().unzip();
    vec![("x", x), ("y", y)]
}

fn triples(points: &[(f64, f64, f64)], names: [&'static str; 3]) -> Vec<(&'static str, Vec<f64>)> {
    let column = |of: fn(&(f64, f64, f64)) -> f64| points.iter().map(of).collect();
    let columns = [column(|point| point.0), column(|point| point.1), column(|point| point.2)];
    names.into_iter().zip(columns).collect()
}

/// The columns that the layers of a figure use.
pub fn used_columns(layers: &[LayerData<'_>]) -> Vec<&'static str> {
    let used =
        |name: &&str| layers.iter().any(|l| l.columns.iter().any(|(column, _)| column == name));
    COLUMNS.into_iter().filter(used).collect()
}

/// The axis whose categories a column's numbers mean; `None` for other columns.
pub fn named_axis<'a>(figure: &'a Figure, column: &str) -> Option<&'a Axis> {
    let axis = match column {
        "x" => &figure.x,
        "y" => &figure.y,
        "row" if figure.y.categories.is_empty() => &figure.x,
        "row" => &figure.y,
        _ => return None,
    };
    (!axis.categories.is_empty()).then_some(axis)
}

/// The data as JSON for the page's script, which `csvOf` in `page.js` reads.
pub fn json(figure: &Figure, layers: &[LayerData<'_>]) -> String {
    let columns = used_columns(layers);
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let list = |items: Vec<String>| items.join(",");
    let names = |column: &&&str| {
        let names = named_axis(figure, column)?.categories.iter().map(|name| quoted(name));
        Some(format!("{}:[{}]", quoted(column), list(names.collect())))
    };
    let layer = |data: &LayerData<'_>| {
        let column =
            |(name, values): &(&str, Vec<f64>)| format!("{}:{}", quoted(name), column_json(values));
        format!(
            "{{\"kind\":{},\"series\":{},\"count\":{},\"columns\":{{{}}}}}",
            quoted(data.kind),
            quoted(data.series),
            data.len(),
            list(data.columns.iter().map(column).collect())
        )
    };
    let text = format!(
        "{{\"columns\":[{}],\"names\":{{{}}},\"layers\":[{}]}}",
        list(columns.iter().map(|name| quoted(name)).collect()),
        list(columns.iter().filter_map(|column| names(&column)).collect()),
        list(layers.iter().map(layer).collect())
    );
    escape::script_json(&text)
}

/// An array of numbers in six significant digits; `{"from":0,"by":1}` for evenly spaced numbers.
fn column_json(values: &[f64]) -> String {
    if let [first, second, ..] = values
        && values.len() > 3
        && first.is_finite()
        && second.is_finite()
    {
        let by = second - first;
        let size = first.abs().max(values[values.len() - 1].abs());
        let even =
            |(at, value): (usize, &f64)| (first + by * at as f64 - value).abs() <= size * 1e-9;
        if values.iter().enumerate().all(even) {
            return format!("{{\"from\":{first:?},\"by\":{by:?}}}");
        }
    }
    let numbers: Vec<String> = values.iter().map(|value| six_digits_json(*value)).collect();
    format!("[{}]", numbers.join(","))
}
