//! Straight lines across the plot.

use super::canvas::Canvas;
use super::text_width::shortened;
use super::writer::{Anchor, SvgWriter};
use analysis::document::Layer;

pub fn draw(svg: &mut SvgWriter, canvas: &Canvas<'_>) {
    for layer in &canvas.figure.layers {
        let Layer::Rule { at, vertical, .. } = layer else { continue };
        let plot = canvas.plot;
        if *vertical && canvas.x.holds(*at) {
            let x = canvas.x.place(*at);
            svg.line("ru", (x, plot.top), (x, plot.bottom));
        } else if !*vertical && canvas.y.holds(*at) {
            let y = canvas.y.place(*at);
            svg.line("ru", (plot.left, y), (plot.right, y));
        }
    }
}

/// The names of horizontal rules at their right ends, with a border in the color of the page.
pub fn draw_labels(svg: &mut SvgWriter, canvas: &Canvas<'_>) {
    let (plot, font) = (canvas.plot, canvas.medium.font());
    for layer in &canvas.figure.layers {
        let Layer::Rule { at, vertical: false, label } = layer else { continue };
        if label.is_empty() || !canvas.y.holds(*at) {
            continue;
        }
        let label = shortened(label, font, plot.right - plot.left - 8.0);
        let y = canvas.y.place(*at);
        let y = if y - plot.top > font + 6.0 { y - 5.0 } else { y + font + 3.0 };
        svg.text("tk halo", Anchor::End, (plot.right - 2.0, y), &label);
    }
}
