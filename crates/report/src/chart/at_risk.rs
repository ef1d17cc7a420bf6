//! Numbers at risk, aligned below the x axis.

use super::canvas::Canvas;
use super::legend::Swatch;
use super::medium::Medium;
use super::series::SeriesTable;
use super::text_width::{shortened, width};
use super::writer::{Anchor, SvgWriter};
use crate::number;
use analysis::document::{AtRisk, Figure};

/// Width of a sample of the series' line, with the distance to the name.
const MARK: f64 = 28.0;
const LONGEST_NAME: f64 = 150.0;

/// The block of numbers at risk.
pub struct AtRiskBlock {
    /// On narrow figures, the name of a row lies above its numbers.
    above: bool,
    left: f64,
    half_number: f64,
    line: f64,
    rows: usize,
}

impl AtRiskBlock {
    pub fn of(figure: &Figure, medium: Medium) -> AtRiskBlock {
        let font = medium.font();
        let above = medium == Medium::Narrow;
        let rows = figure.at_risk.as_ref().map_or(&[][..], |at_risk| &at_risk.rows);
        let names = rows.iter().map(|(name, _)| width(name, font).min(LONGEST_NAME));
        let name = names.fold(0.0, f64::max);
        let half_number = widest_number(figure.at_risk.as_ref(), font) / 2.0;
        let marks = if SeriesTable::of(figure).names.is_empty() { 0.0 } else { MARK };
        let left = match (rows.is_empty(), above) {
            (true, _) => 0.0,
            (false, true) => half_number,
            (false, false) => marks + name + 10.0 + half_number,
        };
        AtRiskBlock { above, left, half_number, line: medium.line(), rows: rows.len() }
    }

    /// Room to the left of the plot.
    pub fn left(&self) -> f64 {
        self.left
    }

    /// Room to the right of the plot.
    pub fn right(&self) -> f64 {
        if self.rows == 0 { 0.0 } else { self.half_number }
    }

    pub fn height(&self) -> f64 {
        let lines = if self.above { 2.0 * self.rows as f64 } else { self.rows as f64 };
        if self.rows == 0 { 0.0 } else { (lines + 1.0) * self.line + 10.0 }
    }

    /// Draws the block below a line; numbers that would touch the one before are left out.
    pub fn draw(&self, svg: &mut SvgWriter, canvas: &Canvas<'_>, top: f64) {
        let Some(at_risk) = &canvas.figure.at_risk else { return };
        let font = canvas.medium.font();
        let mut y = top + 10.0 + font;
        svg.text("lb", Anchor::Start, (0.0, y), "At risk");
        let columns = self.columns(canvas, at_risk);
        for (name, numbers) in &at_risk.rows {
            y += self.line;
            let known = canvas.series.index(name).is_some();
            if known {
                let place = (0.0, y - font * 0.35);
                Swatch::of(canvas.figure, name).without_band().draw(svg, canvas, name, place);
            }
            let x = if known { MARK } else { 0.0 };
            let room = if self.above { canvas.medium.width() - x } else { LONGEST_NAME };
            svg.text("tk", Anchor::Start, (x, y), &shortened(name, font, room));
            if self.above {
                y += self.line;
            }
            for (at, x) in &columns {
                if let Some(number) = numbers.get(*at) {
                    let text = number::fixed(*number as f64, 0);
                    svg.text("tk", Anchor::Middle, (*x, y), &text);
                }
            }
        }
    }

    /// The times that are shown, with their places.
    fn columns(&self, canvas: &Canvas<'_>, at_risk: &AtRisk) -> Vec<(usize, f64)> {
        let mut columns: Vec<(usize, f64)> = Vec::new();
        for (at, time) in at_risk.times.iter().enumerate() {
            let x = canvas.x.place(*time);
            let clear =
                columns.last().is_none_or(|(_, last)| x - last >= 2.0 * self.half_number + 8.0);
            if canvas.x.holds(*time) && clear {
                columns.push((at, x));
            }
        }
        columns
    }
}

fn widest_number(at_risk: Option<&AtRisk>, font: f64) -> f64 {
    let numbers = at_risk.iter().flat_map(|at_risk| at_risk.rows.iter().flat_map(|row| &row.1));
    numbers.map(|n| width(&number::fixed(*n as f64, 0), font)).fold(0.0, f64::max)
}
