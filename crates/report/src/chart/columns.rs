//! Names of the columns of an x axis of categories.

use super::canvas::Canvas;
use super::medium::Medium;
use super::path::coordinate;
use super::text_width::{shortened, width, wrapped};
use super::writer::{Anchor, SvgWriter};
use analysis::document::Axis;

/// Longest length of a turned name.
const TURNED_ROOM: f64 = 130.0;
const LINES: usize = 3;
/// Widest column of a matrix.
pub const WIDEST: f64 = 84.0;

/// Names below the plot: in a few lines where they fit, else turned by 45 degrees.
pub struct ColumnLabels {
    names: Vec<Vec<String>>,
    turned: bool,
    height: f64,
    overhang: f64,
}

impl ColumnLabels {
    /// The names of an axis whose plot lies between two places.
    pub fn of(axis: &Axis, left: f64, right_end: f64, medium: Medium) -> ColumnLabels {
        let font = medium.font();
        let count = axis.categories.len().max(1) as f64;
        let step = ((right_end - left) / count).min(WIDEST);
        let lines_of = |name: &String| wrapped(name, font, step - 6.0, LINES);
        let names: Vec<Vec<String>> = axis.categories.iter().map(lines_of).collect();
        let fits = |(name, lines): (&String, &Vec<String>)| lines.join(" ") == *name;
        if axis.categories.iter().zip(&names).all(fits) {
            let lines = names.iter().map(Vec::len).max().unwrap_or(0) as f64;
            let height = if lines == 0.0 { 0.0 } else { lines * medium.line() + 6.0 };
            return ColumnLabels { names, turned: false, height, overhang: 0.0 };
        }
        let short = |name: &String| vec![shortened(name, font, TURNED_ROOM)];
        let names: Vec<Vec<String>> = axis.categories.iter().map(short).collect();
        let diagonal = |name: &String| width(name, font) * std::f64::consts::FRAC_1_SQRT_2;
        let longest = names.iter().flatten().map(diagonal).fold(0.0, f64::max);
        // A name ends at the middle of its column and reaches to the left, over the columns before
        // and beyond the plot. Room to the left makes columns narrower: with the middle of a column
        // at a share s of the plot and w to its right end, left + s (w - left) >= length.
        let reach = |(at, lines): (usize, &Vec<String>)| {
            let length = lines.iter().map(diagonal).fold(0.0, f64::max);
            let middle = at as f64 + 0.5;
            let share = middle / count;
            ((length - share * right_end) / (1.0 - share)).max(length - middle * WIDEST)
        };
        let overhang = names.iter().enumerate().map(reach).fold(0.0, f64::max);
        ColumnLabels { names, turned: true, height: longest + font + 4.0, overhang }
    }

    /// Room below the plot.
    pub fn height(&self) -> f64 {
        self.height
    }

    /// Room to the left of the plot.
    pub fn overhang(&self) -> f64 {
        self.overhang
    }

    pub fn draw(&self, svg: &mut SvgWriter, canvas: &Canvas<'_>) {
        let font = canvas.medium.font();
        // Turned names of narrow columns would overlap: every second, third, ... is shown.
        let distance = canvas.x.step() * std::f64::consts::FRAC_1_SQRT_2;
        let every = if self.turned { ((font + 1.0) / distance).ceil().max(1.0) } else { 1.0 };
        for (column, lines) in self.names.iter().enumerate().step_by(every as usize) {
            let x = canvas.x.place(column as f64);
            if self.turned {
                let (x, y) = (x + font * 0.35, canvas.plot.bottom + font);
                let turn = format!("rotate(-45 {} {})", coordinate(x), coordinate(y));
                svg.turned_text("tk", Anchor::End, (x, y), &turn, &lines.join(" "));
                continue;
            }
            for (at, line) in lines.iter().enumerate() {
                let y = canvas.plot.bottom + 6.0 + font + at as f64 * canvas.medium.line();
                svg.text("tk", Anchor::Middle, (x, y), line);
            }
        }
    }
}
