//! The plot of a figure: where its data lie, for what is drawn on it.

use super::axis_map::AxisMap;
use super::extent::rows_on_y;
use super::medium::Medium;
use super::series::SeriesTable;
use crate::number;
use analysis::document::{Axis, Figure};

/// The rectangle of the data. Lengths in units of the SVG.
#[derive(Clone, Copy)]
pub struct PlotBox {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

/// A plot in its place.
pub struct Canvas<'a> {
    pub figure: &'a Figure,
    pub medium: Medium,
    pub series: SeriesTable,
    pub plot: PlotBox,
    pub x: AxisMap,
    pub y: AxisMap,
    /// Identifier of the drawing, the begin of all identifiers in it.
    pub id: String,
}

impl Canvas<'_> {
    /// The axis along rows.
    pub fn along(&self) -> &AxisMap {
        if rows_on_y(self.figure) { &self.x } else { &self.y }
    }

    /// The axis of rows.
    pub fn across(&self) -> &AxisMap {
        if rows_on_y(self.figure) { &self.y } else { &self.x }
    }

    /// The name of a position on the axis of rows.
    pub fn row_name(&self, row: f64) -> String {
        let axis = if rows_on_y(self.figure) { &self.figure.y } else { &self.figure.x };
        category(axis, row)
    }
}

/// The name of a category; the number itself on an axis of numbers.
pub fn category(axis: &Axis, position: f64) -> String {
    let whole = position >= 0.0 && position.fract() == 0.0;
    let name = if whole { axis.categories.get(position as usize) } else { None };
    name.cloned().unwrap_or_else(|| number::plain(position, 6))
}
