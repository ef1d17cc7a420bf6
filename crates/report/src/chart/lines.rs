//! Curves, bands and areas.

use super::canvas::Canvas;
use super::marker::push_marker;
use super::path::PathData;
use super::series::{DASHED, is_area, is_line, series_name};
use super::texture;
use super::writer::SvgWriter;
use analysis::document::{Figure, Layer};

/// From this number of points on, the curves of a figure are drawn once for both media.
const HEAVY: usize = 20_000;

/// Markers along a line, where dashes do not tell series apart.
const MARKERS_OF_A_LINE: usize = 6;

/// Whether the curves of a figure have too many points to be drawn for each medium.
pub fn is_heavy(figure: &Figure) -> bool {
    let points = |layer: &Layer| match layer {
        Layer::Steps { points, .. } | Layer::Line { points, .. } => points.len(),
        Layer::Band { points, .. } => 2 * points.len(),
        _ => 0,
    };
    figure.layers.iter().map(points).sum::<usize>() > HEAVY
}

/// Draws all bands, then all curves.
pub fn draw(svg: &mut SvgWriter, canvas: &Canvas<'_>) {
    let decimals = if is_heavy(canvas.figure) { 1 } else { 2 };
    for layer in &canvas.figure.layers {
        if let Layer::Band { series, points, stepped } = layer {
            let d = band(canvas, points, *stepped, decimals);
            let class = canvas.series.class(series);
            if is_area(canvas.figure, layer) && !series.is_empty() {
                let fill = texture::fill(&canvas.id, &canvas.series, series);
                let class = format!("{} ed {class}", texture::class(&fill));
                svg.element("path", &[("class", &class), ("d", &d), ("fill", &fill)]);
            } else {
                svg.element("path", &[("class", &*format!("bd {class}")), ("d", &d)]);
            }
        }
    }
    // Thin lines are many; the few others lie above them.
    for thin in [true, false] {
        let layers = canvas.figure.layers.iter().filter(|layer| is_line(layer));
        for layer in layers.filter(|layer| is_thin(canvas, layer) == thin) {
            draw_line(svg, canvas, layer, decimals);
        }
    }
}

fn is_thin(canvas: &Canvas<'_>, layer: &Layer) -> bool {
    series_name(layer).map_or(unnamed_are_thin(canvas.figure), |name| canvas.series.is_thin(name))
}

/// Lines without a series, if there are many.
fn unnamed_are_thin(figure: &Figure) -> bool {
    figure.layers.iter().filter(|layer| is_line(layer) && series_name(layer).is_none()).count() > 12
}

fn draw_line(svg: &mut SvgWriter, canvas: &Canvas<'_>, layer: &Layer, decimals: usize) {
    let (points, dashed) = match layer {
        Layer::Steps { points, .. } => (points, false),
        Layer::Line { points, dashed, .. } => (points, *dashed),
        _ => return,
    };
    let name = series_name(layer).unwrap_or("");
    let stepped = matches!(layer, Layer::Steps { .. });
    let mut path = PathData::new(decimals);
    push_curve(&mut path, canvas, points.iter().copied(), stepped);
    let thin = is_thin(canvas, layer);
    let dash = match (dashed, name) {
        (true, _) => DASHED,
        (false, "") => "",
        (false, name) => canvas.series.dash(name),
    };
    let class = canvas.series.class(name);
    // Fewer lines are drawn stronger: steps that the style sheet defines.
    let strength = match canvas.series.lines(name) {
        _ if !thin => "ln",
        1..=60 => "tn tn1",
        61..=150 => "tn tn2",
        151..=400 => "tn tn3",
        _ => "tn tn4",
    };
    let class = format!("{strength} {class}");
    // Long dashes of thin lines would look like noise.
    let dash = if thin && !dash.is_empty() { "4 2" } else { dash };
    let d = path.finish();
    if !thin && canvas.series.has_thin_lines() {
        svg.element("path", &[("class", "un"), ("d", &d)]);
    }
    svg.element("path", &[("class", &class), ("d", &d), ("stroke-dasharray", dash)]);
    if canvas.series.lines_have_markers() && !name.is_empty() && !thin && !dashed {
        draw_markers_along(svg, canvas, name, points);
    }
}

/// Markers on a few points of a line, away from its ends.
fn draw_markers_along(svg: &mut SvgWriter, canvas: &Canvas<'_>, name: &str, points: &[(f64, f64)]) {
    let every = points.len().div_ceil(MARKERS_OF_A_LINE).max(1);
    let mut d = String::new();
    for (x, y) in points.iter().skip(every / 2).step_by(every) {
        let place = (canvas.x.place(*x), canvas.y.place(*y));
        if place.0.is_finite() && place.1.is_finite() {
            push_marker(&mut d, canvas.series.marker(name), place.0, place.1, 3.5);
        }
    }
    svg.element("path", &[("class", &*format!("mk {}", canvas.series.class(name))), ("d", &d)]);
}

fn push_curve(
    path: &mut PathData,
    canvas: &Canvas<'_>,
    points: impl Iterator<Item = (f64, f64)>,
    stepped: bool,
) {
    let mut before: Option<f64> = None;
    for (x, y) in points {
        let (x, y) = (canvas.x.place(x), canvas.y.place(y));
        if let (true, Some(before)) = (stepped, before) {
            path.to(x, before);
        }
        path.to(x, y);
        before = (!x.is_nan() && !y.is_nan()).then_some(y);
    }
    path.lift();
}

/// The outline of a band: one closed path for each stretch without gaps.
fn band(canvas: &Canvas<'_>, points: &[(f64, f64, f64)], stepped: bool, decimals: usize) -> String {
    let places = |(x, low, high): &(f64, f64, f64)| {
        (canvas.x.place(*x), canvas.y.place(*low), canvas.y.place(*high))
    };
    let places: Vec<(f64, f64, f64)> = points.iter().map(places).collect();
    let mut path = PathData::new(decimals);
    for stretch in places.split(|(x, low, high)| x.is_nan() || low.is_nan() || high.is_nan()) {
        // The upper edge to the right, then the lower edge back. A step is constant to the right,
        // so on the way back the level before each point is that of the next point to the left.
        for (at, (x, _, high)) in stretch.iter().enumerate() {
            if stepped && at > 0 {
                path.to(*x, stretch[at - 1].2);
            }
            path.to(*x, *high);
        }
        for at in (0..stretch.len()).rev() {
            path.to(stretch[at].0, stretch[at].1);
            if stepped && at > 0 {
                path.to(stretch[at].0, stretch[at - 1].1);
            }
        }
        path.close();
    }
    path.finish()
}
