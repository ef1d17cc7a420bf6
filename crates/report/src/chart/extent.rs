//! The ranges that the data of a figure cover.

use analysis::document::{Axis, Figure, Layer, Scale};

/// Whether rows of bars, intervals and cells lie on the y axis: unless the x axis alone has
/// categories.
pub fn rows_on_y(figure: &Figure) -> bool {
    !figure.y.categories.is_empty() || figure.x.categories.is_empty()
}

/// The lowest and the highest position on each axis; `None` where there is none.
#[derive(Default)]
pub struct Extent {
    pub x: Option<(f64, f64)>,
    pub y: Option<(f64, f64)>,
    /// Points that an axis cannot show: zero and negative numbers on a logarithmic one, positions
    /// beyond the categories.
    pub without_place: usize,
}

impl Extent {
    pub fn of(figure: &Figure) -> Extent {
        let mut extent = Extent::default();
        for layer in &figure.layers {
            extent.add(figure, layer);
        }
        extent
    }

    fn add(&mut self, figure: &Figure, layer: &Layer) {
        let rows_on_y = rows_on_y(figure);
        match layer {
            Layer::Steps { points, .. }
            | Layer::Line { points, .. }
            | Layer::Points { points, .. } => {
                for (x, y) in points {
                    self.point(figure, &[*x], &[*y]);
                }
            }
            Layer::Band { points, .. } => {
                for (x, low, high) in points {
                    self.point(figure, &[*x], &[*low, *high]);
                }
            }
            Layer::Intervals { points, .. } => {
                for (low, middle, high, row) in points {
                    self.row(figure, rows_on_y, &[*low, *middle, *high], *row);
                }
            }
            Layer::Bars { points, .. } => {
                for (from, to, row) in points {
                    self.row(figure, rows_on_y, &[*from, *to], *row);
                }
            }
            Layer::Cells { points, .. } => {
                for (column, row, _) in points {
                    self.point(figure, &[*column], &[*row]);
                }
            }
            Layer::Rule { at, vertical: true, .. } => self.point(figure, &[*at], &[]),
            Layer::Rule { at, vertical: false, .. } => self.point(figure, &[], &[*at]),
        }
    }

    fn row(&mut self, figure: &Figure, rows_on_y: bool, along: &[f64], row: f64) {
        if rows_on_y {
            self.point(figure, along, &[row]);
        } else {
            self.point(figure, &[row], along);
        }
    }

    /// Takes in a point. A point of which a coordinate has no place is not drawn, and counted.
    fn point(&mut self, figure: &Figure, xs: &[f64], ys: &[f64]) {
        let misplaced = |axis: &Axis, value: f64| value.is_finite() && !has_place(axis, value);
        let without = xs.iter().any(|x| misplaced(&figure.x, *x))
            || ys.iter().any(|y| misplaced(&figure.y, *y));
        self.without_place += usize::from(without);
        for x in xs.iter().filter(|x| x.is_finite() && has_place(&figure.x, **x)) {
            widen(&mut self.x, *x);
        }
        for y in ys.iter().filter(|y| y.is_finite() && has_place(&figure.y, **y)) {
            widen(&mut self.y, *y);
        }
    }
}

fn has_place(axis: &Axis, value: f64) -> bool {
    match axis.categories.len() {
        0 => axis.scale == Scale::Linear || value > 0.0,
        count => (-0.5..=count as f64 - 0.5).contains(&value),
    }
}

fn widen(range: &mut Option<(f64, f64)>, value: f64) {
    let (low, high) = range.unwrap_or((value, value));
    *range = Some((low.min(value), high.max(value)));
}
