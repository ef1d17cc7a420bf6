//! Estimates with intervals: a forest plot, with its numbers beside it.

use super::canvas::Canvas;
use super::extent::rows_on_y;
use super::marker::push_marker;
use super::medium::Medium;
use super::path::coordinate;
use super::rows::{RowLabels, interval_series};
use super::text_width::width;
use super::writer::{Anchor, SvgWriter};
use crate::number;
use analysis::document::{Figure, Layer};

const CAP: f64 = 4.0;

type IntervalPoint = (f64, f64, f64, f64);

/// The numbers of intervals as text, to the right of the plot or, where row names lie above their
/// rows, at the end of the name.
pub struct EstimateColumn {
    room: f64,
    decimals: usize,
    pub shown: bool,
}

impl EstimateColumn {
    pub fn of(figure: &Figure, medium: Medium, rows: &RowLabels) -> EstimateColumn {
        let decimals = decimals(figure);
        let texts = points(figure).map(|point| estimate(point, decimals));
        let widest = texts.map(|text| width(&text, medium.font())).fold(0.0, f64::max);
        let of_rows = !figure.y.categories.is_empty() && widest > 0.0;
        let above = rows.above && interval_series(figure) == 1 && rows.names_leave(widest, medium);
        let beside = medium == Medium::Wide && widest <= 220.0;
        let room = if of_rows && beside { widest + 14.0 } else { 0.0 };
        EstimateColumn { room, decimals, shown: of_rows && (beside || above) }
    }

    /// Room to the right of the plot.
    pub fn room(&self) -> f64 {
        self.room
    }
}

fn points(figure: &Figure) -> impl Iterator<Item = &IntervalPoint> {
    figure.layers.iter().flat_map(|layer| match layer {
        Layer::Intervals { points, .. } => points.as_slice(),
        _ => &[],
    })
}

/// Decimals of all numbers of the figure: more for small ones.
fn decimals(figure: &Figure) -> usize {
    let middles = points(figure).map(|point| point.1.abs()).filter(|value| value.is_finite());
    let (mut least, mut most) = (f64::INFINITY, 0.0f64);
    for value in middles.filter(|value| *value > 0.0) {
        (least, most) = (least.min(value), most.max(value));
    }
    match (least, most) {
        (_, most) if most >= 100.0 => 1,
        (least, _) if least < 0.1 => 3,
        _ => 2,
    }
}

/// `1.52 (1.10 to 2.09)`.
fn estimate((low, middle, high, _): &IntervalPoint, decimals: usize) -> String {
    let shown = |value: f64| {
        let format = match value.abs() {
            v if v >= 1e5 => analysis::document::Format::Digits(3),
            _ => analysis::document::Format::Decimals(decimals as u8),
        };
        number::shown(value, format).unwrap_or_else(|| "–".to_string())
    };
    format!("{} ({} to {})", shown(*middle), shown(*low), shown(*high))
}

/// Draws a layer of intervals; layers of the same figure lie beside each other in their rows.
pub fn draw(
    svg: &mut SvgWriter,
    canvas: &Canvas<'_>,
    rows: &RowLabels,
    estimates: &EstimateColumn,
    (layer, series, points): (usize, &str, &[IntervalPoint]),
) {
    let layers = interval_series(canvas.figure) as f64;
    let spacing = (rows.content_height(canvas) / layers.max(1.0)).min(17.0);
    let offset = (layer as f64 - (layers - 1.0) / 2.0) * spacing + rows.shift(canvas.medium);
    for point in points.iter().filter(|point| canvas.across().holds(point.3)) {
        draw_interval(svg, canvas, series, point, offset);
        if estimates.shown {
            let text = estimate(point, estimates.decimals);
            let y = canvas.y.place(point.3) + offset + canvas.medium.font() * 0.35;
            let at = match rows.above {
                false => (canvas.medium.width(), y),
                true => {
                    let top = canvas.y.place(point.3) - canvas.y.step() / 2.0;
                    (canvas.medium.width(), top + canvas.medium.font() + 2.0)
                }
            };
            svg.text("tk", Anchor::End, at, &text);
        }
    }
}

/// One interval; an end beyond the axis is an arrow.
fn draw_interval(
    svg: &mut SvgWriter,
    canvas: &Canvas<'_>,
    series: &str,
    (low, middle, high, row): &IntervalPoint,
    offset: f64,
) {
    let class = canvas.series.class(series);
    let upright = !rows_on_y(canvas.figure);
    let (start, end) = canvas.along().ends();
    let across = canvas.across().place(*row) + offset;
    let place = |value: f64| canvas.along().place(value);
    let (from, to) = (place(*low), place(*high));
    let title =
        format!("{}: {}", canvas.row_name(*row), estimate(&(*low, *middle, *high, *row), 3));
    let mut d = String::new();
    if !from.is_nan() && !to.is_nan() && across.is_finite() {
        let (a, b) = (from.clamp(start, end), to.clamp(start, end));
        push_segment(&mut d, upright, (a, across), (b, across));
        for (wanted, got) in [(from, a), (to, b)] {
            if wanted == got {
                push_segment(&mut d, upright, (got, across - CAP), (got, across + CAP));
            } else {
                let back = if got == start { 6.0 } else { -6.0 };
                push_segment(&mut d, upright, (got + back, across - CAP), (got, across));
                push_segment(&mut d, upright, (got, across), (got + back, across + CAP));
            }
        }
        svg.titled("path", &[("class", &*format!("iv {class}")), ("d", &d)], &title);
    }
    let at = place(*middle);
    if at >= start - 1e-6 && at <= end + 1e-6 {
        let mut d = String::new();
        let (x, y) = if upright { (across, at) } else { (at, across) };
        push_marker(&mut d, canvas.series.marker(series), x, y, 4.5);
        svg.titled("path", &[("class", &*format!("mk {class}")), ("d", &d)], &title);
    }
}

/// A line between two places (along, across).
fn push_segment(d: &mut String, upright: bool, from: (f64, f64), to: (f64, f64)) {
    for (letter, (along, across)) in [('M', from), ('L', to)] {
        let (x, y) = if upright { (across, along) } else { (along, across) };
        d.push(letter);
        d.push_str(&coordinate(x));
        d.push(' ');
        d.push_str(&coordinate(y));
    }
}
