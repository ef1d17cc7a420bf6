//! Matrices: cells in a sequence of shades, and the scale of the shades.

use super::canvas::{Canvas, category};
use super::medium::Medium;
use super::path::coordinate;
use super::text_width::{shortened, width};
use super::writer::{Anchor, SvgWriter};
use crate::number;
use analysis::document::{Figure, Layer};

/// Shades that the style sheet defines: `--h0` to `--h8`, and text on them `--g0` to `--g8`.
pub const SHADES: usize = 9;

const BOX: f64 = 22.0;

/// The values of a matrix, from the lightest to the darkest shade.
#[derive(Clone)]
pub struct Ramp {
    label: String,
    low: f64,
    high: f64,
    format: CellFormat,
}

/// How values are written: all of a matrix in the same way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CellFormat {
    Whole,
    TwoDecimals,
    ThreeDigits,
}

impl CellFormat {
    fn of(values: &[f64]) -> CellFormat {
        if values.iter().all(|value| value.fract() == 0.0) {
            CellFormat::Whole
        } else if values.iter().all(|value| value.abs() < 100.0) {
            CellFormat::TwoDecimals
        } else {
            CellFormat::ThreeDigits
        }
    }

    fn shown(self, value: f64) -> String {
        match self {
            CellFormat::Whole => number::fixed(value, 0),
            // What would read 0.00 is written with its digits.
            CellFormat::TwoDecimals if value != 0.0 && value.abs() < 0.005 => {
                number::significant(value, 1)
            }
            CellFormat::TwoDecimals => number::fixed(value, 2),
            CellFormat::ThreeDigits => number::significant(value, 3),
        }
    }
}

impl Ramp {
    /// The scale of a figure with a matrix.
    pub fn of(figure: &Figure, medium: Medium) -> Option<Ramp> {
        let mut label = "";
        let mut values = Vec::new();
        for layer in &figure.layers {
            if let Layer::Cells { series, points } = layer {
                label = if label.is_empty() { series } else { label };
                values.extend(points.iter().map(|point| point.2).filter(|value| value.is_finite()));
            }
        }
        let least = values.iter().copied().reduce(f64::min)?;
        let most = values.iter().copied().reduce(f64::max)?;
        let low = least.min(0.0);
        let high = if most > low { most } else { low + 1.0 };
        let label = shortened(label, medium.font(), medium.width());
        Some(Ramp { label, low, high, format: CellFormat::of(&values) })
    }

    /// The shade of a value.
    fn shade(&self, value: f64) -> usize {
        let share = (value - self.low) / (self.high - self.low);
        ((share * SHADES as f64).floor().max(0.0) as usize).min(SHADES - 1)
    }

    pub fn height(&self) -> f64 {
        if self.label.is_empty() { 24.0 } else { 44.0 }
    }

    pub fn draw(&self, svg: &mut SvgWriter, canvas: &Canvas<'_>, top: f64) {
        let font = canvas.medium.font();
        let mut y = top;
        if !self.label.is_empty() {
            svg.text("tk", Anchor::Start, (0.0, y + font), &self.label);
            y += 20.0;
        }
        let low = self.format.shown(self.low);
        let left = width(&low, font) + 8.0;
        svg.text("tk", Anchor::Start, (0.0, y + font), &low);
        for shade in 0..SHADES {
            let rect = (left + shade as f64 * BOX, y + 2.0, BOX, 14.0);
            draw_cell(svg, shade, rect, None);
        }
        let right = left + SHADES as f64 * BOX + 8.0;
        svg.text("tk", Anchor::Start, (right, y + font), &self.format.shown(self.high));
    }
}

/// Draws the cells of a matrix; with their values where they fit.
pub fn draw(svg: &mut SvgWriter, canvas: &Canvas<'_>, points: &[(f64, f64, f64)]) {
    let Some(ramp) = Ramp::of(canvas.figure, canvas.medium) else { return };
    let (width_of_cell, height) = (canvas.x.step(), canvas.y.step());
    let font = canvas.medium.font() - 1.0;
    let room = width_of_cell - 4.0;
    let text = |value: f64| if value.is_finite() { ramp.format.shown(value) } else { "–".into() };
    let fits = height >= font + 3.0 && points.iter().all(|p| width(&text(p.2), font) <= room);
    for (column, row, value) in points {
        let (x, y) = (canvas.x.place(*column), canvas.y.place(*row));
        if !canvas.x.holds(*column) || !canvas.y.holds(*row) {
            continue;
        }
        let names = [category(&canvas.figure.y, *row), category(&canvas.figure.x, *column)];
        let title = format!("{}, {}: {}", names[0], names[1], text(*value));
        let rect = (x - width_of_cell / 2.0, y - height / 2.0, width_of_cell, height);
        let shade = ramp.shade(*value);
        if value.is_finite() {
            draw_cell(svg, shade, rect, Some(&title));
        }
        if fits {
            let class = if value.is_finite() { format!("ct g{shade}") } else { "ct".to_string() };
            svg.text(&class, Anchor::Middle, (x, y + font * 0.35), &text(*value));
        }
    }
}

/// A cell without its outermost half unit on each side, which separates cells.
fn draw_cell(
    svg: &mut SvgWriter,
    shade: usize,
    (x, y, width, height): (f64, f64, f64, f64),
    title: Option<&str>,
) {
    let [x, y, width, height] = [x + 0.5, y + 0.5, width - 1.0, height - 1.0].map(coordinate);
    let class = format!("h{shade}");
    let attributes =
        [("class", &*class), ("x", &x), ("y", &y), ("width", &width), ("height", &height)];
    match title {
        Some(title) => svg.titled("rect", &attributes, title),
        None => svg.element("rect", &attributes),
    }
}
