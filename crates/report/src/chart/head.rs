//! The lines of text right above the plot: the name of the y axis, and the names of vertical rules.

use super::axis_map::AxisMap;
use super::canvas::Canvas;
use super::medium::Medium;
use super::text_width::{shortened, width, wrapped};
use super::writer::{Anchor, SvgWriter};
use analysis::document::{Figure, Layer};

/// Distance between two names on a line.
const GAP: f64 = 10.0;

/// The name of a rule: above it, centered if neither the edges of the figure nor other rules are in
/// the way.
struct RuleLabel {
    label: String,
    rule: f64,
    anchor: Anchor,
    at: f64,
    /// Lines above the lowest one.
    row: usize,
}

pub struct Head {
    y_label: Vec<String>,
    rules: Vec<RuleLabel>,
    rows: usize,
    line: f64,
}

impl Head {
    pub fn of(figure: &Figure, x: &AxisMap, medium: Medium) -> Head {
        let font = medium.font();
        let y_label = wrapped(&figure.y.label, font, medium.width(), 2);
        let mut rows = y_label.len();
        // Stretches of the lines that have text.
        let mut taken: Vec<(usize, f64, f64)> = Vec::new();
        for (at, line) in y_label.iter().rev().enumerate() {
            taken.push((at, 0.0, width(line, font) * 1.06));
        }
        let mut rules = Vec::new();
        let mut named: Vec<(f64, &str)> = figure.layers.iter().filter_map(named_rule).collect();
        named.retain(|(at, _)| x.holds(*at));
        // Short names first: the line to a name higher up then crosses fewer names.
        named.sort_by(|a, b| width(a.1, font).total_cmp(&width(b.1, font)));
        let places: Vec<f64> = named.iter().map(|(at, _)| x.place(*at)).collect();
        for (at, label) in named {
            let label = shortened(label, font, medium.width());
            let (rule, length) = (x.place(at), width(&label, font));
            let others = places.iter().copied().filter(|place| (place - rule).abs() > 0.5);
            let (anchor, from) = placed(rule, length, others.collect(), medium.width());
            let to = from + length;
            let free = |row: &usize| {
                let touches =
                    |(of, a, b): &(usize, f64, f64)| of == row && from < b + GAP && *a < to + GAP;
                !taken.iter().any(touches)
            };
            let row = (0..).find(free).unwrap_or(rows);
            taken.push((row, from, to));
            rows = rows.max(row + 1);
            let at = match anchor {
                Anchor::Start => from,
                Anchor::Middle => from + length / 2.0,
                Anchor::End => to,
            };
            rules.push(RuleLabel { label, rule, anchor, at, row });
        }
        Head { y_label, rules, rows, line: medium.line() }
    }

    pub fn height(&self) -> f64 {
        self.rows as f64 * self.line + if self.rows == 0 { 10.0 } else { 11.0 }
    }

    pub fn draw(&self, svg: &mut SvgWriter, canvas: &Canvas<'_>) {
        let top = canvas.plot.top;
        let baseline = |row: usize| top - 12.0 - row as f64 * self.line;
        for (at, line) in self.y_label.iter().rev().enumerate() {
            svg.text("lb", Anchor::Start, (0.0, baseline(at)), line);
        }
        for label in &self.rules {
            let y = baseline(label.row);
            svg.line("ru", (label.rule, y + 4.0), (label.rule, top));
            svg.text("tk", label.anchor, (label.at, y), &label.label);
        }
    }
}

/// The place and the name of a vertical rule that has a name.
fn named_rule(layer: &Layer) -> Option<(f64, &str)> {
    match layer {
        Layer::Rule { at, vertical: true, label } if !label.is_empty() => Some((*at, label)),
        _ => None,
    }
}

/// The anchor and the left end of the name of a rule: centered, else to one side, wherever it stays
/// inside of the figure and keeps off the other rules; off the edges at least.
fn placed(rule: f64, length: f64, others: Vec<f64>, width: f64) -> (Anchor, f64) {
    let choices = [
        (Anchor::Middle, rule - length / 2.0),
        (Anchor::End, rule - length),
        (Anchor::Start, rule),
    ];
    let inside = |from: f64| from >= 0.0 && from + length <= width;
    let clear = |from: f64| !others.iter().any(|x| from - 3.0 < *x && *x < from + length + 3.0);
    let found = choices.iter().find(|(_, from)| inside(*from) && clear(*from));
    let found = found.or_else(|| choices.iter().find(|(_, from)| inside(*from)));
    found.copied().unwrap_or(match rule < width / 2.0 {
        true => (Anchor::Start, 0.0),
        false => (Anchor::End, width - length),
    })
}
