//! Points: markers, or ticks on the step function of the same series.

use super::canvas::Canvas;
use super::marker::push_marker;
use super::path::coordinate;
use super::rows::RowLabels;
use super::series::series_name;
use super::writer::SvgWriter;
use crate::number;
use analysis::document::Layer;

/// More points than this have no titles of their own, and smaller markers.
const POINTS_WITH_TITLES: usize = 300;

pub fn draw(
    svg: &mut SvgWriter,
    canvas: &Canvas<'_>,
    rows: &RowLabels,
    (series, points): (&str, &[(f64, f64)]),
) {
    let class = canvas.series.class(series);
    let on_steps = |layer: &Layer| {
        matches!(layer, Layer::Steps { .. }) && series_name(layer).unwrap_or("") == series
    };
    let ticks = canvas.figure.layers.iter().any(on_steps);
    let many = points.len() > POINTS_WITH_TITLES;
    let shift = if canvas.figure.y.categories.is_empty() { 0.0 } else { rows.shift(canvas.medium) };
    let mut all = String::new();
    for (x, y) in points.iter().filter(|point| is_visible(canvas, **point)) {
        let place = (canvas.x.place(*x), canvas.y.place(*y) + shift);
        let mut d = String::new();
        if ticks {
            d = format!("M{} {}v8", coordinate(place.0), coordinate(place.1 - 4.0));
        } else {
            let radius = if many { 2.2 } else { 3.6 };
            push_marker(&mut d, canvas.series.marker(series), place.0, place.1, radius);
        }
        if many || ticks {
            all.push_str(&d);
            continue;
        }
        let number = |value: f64| number::plain(value, 4);
        let y = match canvas.figure.y.categories.is_empty() {
            true => number(*y),
            false => canvas.row_name(*y),
        };
        let title = format!("{}: {}, {y}", series, number(*x));
        let title = title.trim_start_matches(": ");
        svg.titled("path", &[("class", &*format!("mk {class}")), ("d", &d)], title);
    }
    if !all.is_empty() {
        let kind = if ticks { "cs" } else { "mk" };
        svg.element("path", &[("class", &*format!("{kind} {class}")), ("d", &all)]);
    }
}

/// Whether a point lies on both axes.
pub fn is_visible(canvas: &Canvas<'_>, (x, y): (f64, f64)) -> bool {
    canvas.x.holds(x) && canvas.y.holds(y)
}
