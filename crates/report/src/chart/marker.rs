//! Markers of points, one shape for each series.

use super::path::coordinate;
use std::fmt::Write;

/// Shapes in the order of the series.
const SHAPES: usize = 6;

/// Appends the path of a marker of about the radius `r` around a point.
pub fn push_marker(out: &mut String, marker: usize, x: f64, y: f64, r: f64) {
    let polygon = |out: &mut String, corners: &[(f64, f64)]| {
        for (at, (dx, dy)) in corners.iter().enumerate() {
            out.push(if at == 0 { 'M' } else { 'L' });
            push_point(out, x + dx * r, y + dy * r);
        }
        out.push('Z');
    };
    match marker % SHAPES {
        0 => {
            out.push('M');
            push_point(out, x - r, y);
            let (r, d) = (coordinate(r), coordinate(2.0 * r));
            // Cannot fail: a write to a string.
            let _ = write!(out, "a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 -{d} 0Z");
        }
        1 => polygon(out, &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
        2 => polygon(out, &[(0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)]),
        3 => polygon(out, &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)]),
        4 => polygon(out, &[(0.0, 1.2), (1.1, -0.8), (-1.1, -0.8)]),
        _ => polygon(
            out,
            &[
                (-0.4, -1.2),
                (0.4, -1.2),
                (0.4, -0.4),
                (1.2, -0.4),
                (1.2, 0.4),
                (0.4, 0.4),
                (0.4, 1.2),
                (-0.4, 1.2),
                (-0.4, 0.4),
                (-1.2, 0.4),
                (-1.2, -0.4),
                (-0.4, -0.4),
            ],
        ),
    }
}

fn push_point(out: &mut String, x: f64, y: f64) {
    out.push_str(&coordinate(x));
    out.push(' ');
    out.push_str(&coordinate(y));
}
