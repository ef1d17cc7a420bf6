//! Bars along rows: runs in time, stacked shares.

use super::canvas::Canvas;
use super::extent::rows_on_y;
use super::path::coordinate;
use super::rows::RowLabels;
use super::texture;
use super::writer::SvgWriter;
use crate::number;

/// A shorter bar is drawn at this length, so that it is seen.
const SHORTEST: f64 = 0.75;

pub fn draw(
    svg: &mut SvgWriter,
    canvas: &Canvas<'_>,
    rows: &RowLabels,
    (series, points): (&str, &[(f64, f64, f64)]),
) {
    let fill = texture::fill(&canvas.id, &canvas.series, series);
    let class = format!("{} {}", texture::class(&fill), canvas.series.class(series));
    let height = rows.content_height(canvas);
    let thick = (height * 0.72).clamp(2.0, 40.0);
    let (start, end) = canvas.along().ends();
    for (from, to, row) in points {
        let (a, b) = (canvas.along().place(*from), canvas.along().place(*to));
        let across = canvas.across().place(*row) + rows.shift(canvas.medium) - thick / 2.0;
        if a.is_nan() || b.is_nan() || !canvas.across().holds(*row) {
            continue;
        }
        let (low, high) = (a.min(b).clamp(start, end), a.max(b).clamp(start, end));
        let length = (high - low).max(SHORTEST);
        let (x, y, width, height) = match rows_on_y(canvas.figure) {
            true => (low, across, length, thick),
            false => (across, low, thick, length),
        };
        let [x, y, width, height] = [x, y, width, height].map(coordinate);
        let attributes = [
            ("class", &*class),
            ("x", &x),
            ("y", &y),
            ("width", &width),
            ("height", &height),
            ("fill", &fill),
        ];
        let number = |value: f64| number::plain(value, 4);
        let name = canvas.row_name(*row);
        let title = format!("{name}: {series}, {} to {}", number(*from), number(*to));
        svg.titled("rect", &attributes, &title);
    }
}
