//! Names of the rows of a y axis of categories.

use super::canvas::Canvas;
use super::medium::Medium;
use super::text_width::{shortened, width, wrapped};
use super::writer::{Anchor, SvgWriter};
use analysis::document::{Figure, Layer};

/// Names to the left of the plot, or above each row where they leave too little for the plot.
pub struct RowLabels {
    /// Lines of each name.
    names: Vec<Vec<String>>,
    pub above: bool,
    /// Height of a row.
    row: f64,
    left: f64,
    font: f64,
}

/// Size of names of tight rows.
const SMALL_FONT: f64 = 11.0;

/// More names than this are never above their rows: the figure would be too tall.
const ROWS_WITH_NAMES_ABOVE: usize = 40;

impl RowLabels {
    pub fn of(figure: &Figure, medium: Medium) -> RowLabels {
        let categories = &figure.y.categories;
        let tight: f64 = match categories.len() {
            0..=12 => 28.0,
            13..=30 => 20.0,
            31..=80 => 13.0,
            _ => 9.0,
        };
        let font = if tight < 16.0 { SMALL_FONT } else { medium.font() };
        let widest = categories.iter().map(|name| width(name, font)).fold(0.0, f64::max);
        let matrix = !figure.x.categories.is_empty();
        let above = medium == Medium::Narrow
            && !matrix
            && widest > 100.0
            && categories.len() <= ROWS_WITH_NAMES_ABOVE;
        let room = if medium == Medium::Wide { 250.0 } else { 110.0 };
        let lines = if tight >= 28.0 { 2 } else { 1 };
        let names: Vec<Vec<String>> = match above {
            true => categories.iter().map(|s| vec![shortened(s, font, medium.width())]).collect(),
            false => categories.iter().map(|s| wrapped(s, font, room, lines)).collect(),
        };
        let most_lines = names.iter().map(Vec::len).max().unwrap_or(0) as f64;
        let groups = interval_series(figure) as f64;
        let content = tight.max(groups * 17.0 + 10.0);
        let row = match above {
            true => content + medium.line(),
            false if lines == 2 => content.max(most_lines * 15.0 + 10.0),
            false => content,
        };
        let widest_line = names.iter().flatten().map(|s| width(s, font)).fold(0.0, f64::max);
        let left = if above || names.is_empty() { 0.0 } else { widest_line + 12.0 };
        RowLabels { names, above, row, left: left.max(6.0), font }
    }

    /// Room to the left of the plot.
    pub fn left(&self) -> f64 {
        self.left
    }

    pub fn plot_height(&self) -> f64 {
        self.names.len() as f64 * self.row
    }

    /// How far marks lie below the middle of their row, where the name is above them.
    pub fn shift(&self, medium: Medium) -> f64 {
        if self.above { medium.line() / 2.0 } else { 0.0 }
    }

    /// Whether each name above its row leaves so much room beside it.
    pub fn names_leave(&self, room: f64, medium: Medium) -> bool {
        let widest = self.names.iter().flatten().map(|s| width(s, self.font));
        widest.fold(0.0, f64::max) + room + 12.0 <= medium.width()
    }

    /// Height of a row without its name.
    pub fn content_height(&self, canvas: &Canvas<'_>) -> f64 {
        let step = canvas.across().step();
        if self.above { step - canvas.medium.line() } else { step }
    }

    /// Writes the names; of rows lower than the text every second, third, ... one.
    pub fn draw(&self, svg: &mut SvgWriter, canvas: &Canvas<'_>) {
        let step = canvas.y.step();
        let class = if self.font < canvas.medium.font() { "tk small" } else { "tk" };
        let every = (self.font / step).ceil().max(1.0) as usize;
        for (row, lines) in self.names.iter().enumerate().step_by(every) {
            let y = canvas.y.place(row as f64);
            if self.above {
                let at = (0.0, y - step / 2.0 + self.font + 2.0);
                svg.text("tk halo", Anchor::Start, at, &lines.join(" "));
                continue;
            }
            let first = y - (lines.len() as f64 - 1.0) * 7.5 + self.font * 0.35;
            for (at, line) in lines.iter().enumerate() {
                let place = (canvas.plot.left - 10.0, first + at as f64 * 15.0);
                svg.text(class, Anchor::End, place, line);
            }
        }
    }
}

/// Number of interval layers, which lie beside each other in a row.
pub fn interval_series(figure: &Figure) -> usize {
    figure.layers.iter().filter(|layer| matches!(layer, Layer::Intervals { .. })).count()
}
