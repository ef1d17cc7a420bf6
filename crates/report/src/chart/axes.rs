//! Grid, ticks and names of the axes.

use super::layout::Layout;
use super::writer::{Anchor, SvgWriter};

/// The light grid behind the data: at each tick.
pub fn draw_grid(svg: &mut SvgWriter, layout: &Layout<'_>) {
    let canvas = &layout.canvas;
    let plot = canvas.plot;
    for tick in &layout.y_ticks {
        let y = canvas.y.place(tick.at);
        svg.line("gr", (plot.left, y), (plot.right, y));
    }
    for tick in &layout.x_ticks {
        let x = canvas.x.place(tick.at);
        svg.line("gr", (x, plot.top), (x, plot.bottom));
    }
}

/// The x axis, and the names of ticks and axes.
pub fn draw(svg: &mut SvgWriter, layout: &Layout<'_>) {
    let canvas = &layout.canvas;
    let (plot, medium) = (canvas.plot, canvas.medium);
    let font = medium.font();
    if !layout.x_ticks.is_empty() {
        svg.line("ax", (plot.left, plot.bottom), (plot.right, plot.bottom));
    }
    for tick in &layout.x_ticks {
        let x = canvas.x.place(tick.at);
        svg.line("ax", (x, plot.bottom), (x, plot.bottom + 5.0));
        svg.text("tk", Anchor::Middle, (x, plot.bottom + 8.0 + font), &tick.label);
    }
    for tick in &layout.y_ticks {
        let y = canvas.y.place(tick.at) + font * 0.35;
        svg.text("tk", Anchor::End, (plot.left - 8.0, y), &tick.label);
    }
    layout.rows.draw(svg, canvas);
    layout.columns.draw(svg, canvas);
    layout.head.draw(svg, canvas);
    let lines = layout.x_label.len() as f64 * medium.line();
    let first = layout.height - layout.at_risk.height() - lines - 2.0 + font;
    let middle = (plot.left + plot.right) / 2.0;
    for (at, line) in layout.x_label.iter().enumerate() {
        let half = super::text_width::width(line, font) / 2.0;
        let x = middle.max(half).min(medium.width() - half);
        svg.text("lb", Anchor::Middle, (x, first + at as f64 * medium.line()), line);
    }
}
