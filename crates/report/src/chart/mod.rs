//! Figures as SVG.

mod at_risk;
mod axes;
mod axis_map;
mod bars;
mod canvas;
mod cells;
mod columns;
mod direct_labels;
mod extent;
mod forest;
mod head;
mod layout;
mod legend;
mod lines;
mod marker;
mod medium;
mod path;
mod points;
mod rows;
mod rules;
mod series;
mod text_width;
mod texture;
mod ticks;
mod writer;

pub use canvas::category;

use crate::escape;
use analysis::document::{Figure, Layer, Scale};
use canvas::Canvas;
use extent::Extent;
use layout::Layout;
use medium::Medium;
use path::coordinate;
use writer::{Anchor, SvgWriter};

const STYLE: &str = include_str!("../assets/chart.css");
const LIGHT: &str = include_str!("../assets/light.css");

/// A figure, drawn.
pub struct DrawnFigure {
    /// For pages and paper, 760 units wide.
    pub wide: String,
    /// For telephones, 340 units wide.
    pub narrow: String,
    /// What the drawing does not show.
    pub notes: Vec<String>,
}

/// Draws a figure for a page. All identifiers in it begin with `id`.
pub fn drawn(figure: &Figure, id: &str) -> DrawnFigure {
    let wide = Layout::of(figure, Medium::Wide, id);
    let narrow = Layout::of(figure, Medium::Narrow, id);
    let shared = lines::is_heavy(figure).then_some(&wide.canvas);
    DrawnFigure {
        notes: notes(&wide.canvas),
        narrow: element(&narrow, shared, ""),
        wide: element(&wide, None, ""),
    }
}

/// The figure as an SVG file, 760 units wide, in the colors for white paper.
pub fn standalone(figure: &Figure) -> String {
    let layout = Layout::of(figure, Medium::Wide, "figure");
    let style = format!(
        "<style>:root{{{LIGHT}}}svg{{font-family:system-ui,'Segoe UI',Roboto,Arial,sans-serif}}\
         {STYLE}</style>"
    );
    element(&layout, None, &style) + "\n"
}

/// What a drawing leaves out, in sentences.
fn notes(canvas: &Canvas<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    let without_place = Extent::of(canvas.figure).without_place;
    let values =
        |n: usize| if n == 1 { "1 point is".to_string() } else { format!("{n} points are") };
    if without_place > 0 {
        let why = match [&canvas.figure.x, &canvas.figure.y].map(|axis| axis.scale) {
            [Scale::Linear, Scale::Linear] => "beyond the categories of an axis",
            _ => "zero and negative values have no place on a logarithmic axis",
        };
        notes.push(format!("{} not drawn: {why}.", values(without_place)));
    }
    let outside = |layer: &Layer| match layer {
        Layer::Points { points, .. } => {
            let hidden = |(x, y): &&(f64, f64)| {
                x.is_finite() && y.is_finite() && !points::is_visible(canvas, (*x, *y))
            };
            let placed =
                |(x, y): &&(f64, f64)| !canvas.x.place(*x).is_nan() && !canvas.y.place(*y).is_nan();
            points.iter().filter(hidden).filter(placed).count()
        }
        _ => 0,
    };
    let outside: usize = canvas.figure.layers.iter().map(outside).sum();
    if outside > 0 {
        notes.push(format!("{} not drawn: outside of the axes.", values(outside)));
    }
    notes
}

/// The element `svg`. With `shared`, the curves are those of that canvas, scaled.
fn element(layout: &Layout<'_>, shared: Option<&Canvas<'_>>, style: &str) -> String {
    let canvas = &layout.canvas;
    let figure = canvas.figure;
    let id = &canvas.id;
    let mut svg = SvgWriter::default();
    let (width, height) = (coordinate(canvas.medium.width()), coordinate(layout.height.ceil()));
    svg.open(
        "svg",
        &[
            ("xmlns", "http://www.w3.org/2000/svg"),
            ("class", &format!("chart {}", class(canvas.medium))),
            ("viewBox", &format!("0 0 {width} {height}")),
            ("width", &width),
            ("height", &height),
            ("role", "img"),
            ("aria-labelledby", &format!("{id}-title {id}-desc")),
        ],
    );
    svg.open("title", &[("id", &format!("{id}-title"))]);
    svg.out.push_str(&escape::xml(&figure.title));
    svg.close("title");
    svg.open("desc", &[("id", &format!("{id}-desc"))]);
    svg.out.push_str(&escape::xml(&figure.alt));
    svg.close("desc");
    svg.out.push_str(style);
    define(&mut svg, layout);

    axes::draw_grid(&mut svg, layout);
    draw_cells(&mut svg, canvas);
    svg.open("g", &[("clip-path", &format!("url(#{id}-clip)"))]);
    match shared {
        Some(wide) => reuse(&mut svg, canvas, wide),
        None => {
            svg.open("g", &[("id", &format!("{id}-lines"))]);
            lines::draw(&mut svg, canvas);
            svg.close("g");
        }
    }
    svg.close("g");
    draw_rows(&mut svg, layout);
    rules::draw(&mut svg, canvas);
    draw_estimates_and_points(&mut svg, layout);
    axes::draw(&mut svg, layout);
    layout.legend.draw(&mut svg, canvas);
    if layout.labels_are_direct {
        direct_labels::draw(&mut svg, canvas);
    }
    rules::draw_labels(&mut svg, canvas);
    let top = layout.height - layout.at_risk.height();
    layout.at_risk.draw(&mut svg, canvas, top);
    if figure.layers.iter().all(is_empty) {
        let plot = canvas.plot;
        let middle = ((plot.left + plot.right) / 2.0, (plot.top + plot.bottom) / 2.0);
        svg.text("tk", Anchor::Middle, middle, "No data");
    }
    svg.close("svg");
    svg.out
}

fn class(medium: Medium) -> &'static str {
    if medium == Medium::Wide { "wide" } else { "narrow" }
}

/// The clip of the curves, a little wider than the plot so that lines on its edge keep their width;
/// and textures.
fn define(svg: &mut SvgWriter, layout: &Layout<'_>) {
    let canvas = &layout.canvas;
    let plot = canvas.plot;
    svg.open("defs", &[]);
    svg.open("clipPath", &[("id", &format!("{}-clip", canvas.id))]);
    let (width, height) = (plot.right - plot.left + 2.0, plot.bottom - plot.top + 2.0);
    let [x, y, width, height] = [plot.left - 1.0, plot.top - 1.0, width, height].map(coordinate);
    svg.element("rect", &[("x", &x), ("y", &y), ("width", &width), ("height", &height)]);
    svg.close("clipPath");
    texture::define(svg, &canvas.id, canvas.figure, &canvas.series);
    svg.close("defs");
}

/// Uses the curves of another canvas of the same figure, scaled to this one's plot.
fn reuse(svg: &mut SvgWriter, canvas: &Canvas<'_>, wide: &Canvas<'_>) {
    let (to, from) = (canvas.plot, wide.plot);
    let scale_x = (to.right - to.left) / (from.right - from.left);
    let scale_y = (to.bottom - to.top) / (from.bottom - from.top);
    let (x, y) = (to.left - from.left * scale_x, to.top - from.top * scale_y);
    let transform = format!("matrix({scale_x:.5} 0 0 {scale_y:.5} {x:.3} {y:.3})");
    let href = format!("#{}-lines", wide.id);
    svg.element("use", &[("href", &href), ("transform", &transform)]);
}

fn draw_cells(svg: &mut SvgWriter, canvas: &Canvas<'_>) {
    for layer in &canvas.figure.layers {
        if let Layer::Cells { points, .. } = layer {
            cells::draw(svg, canvas, points);
        }
    }
}

fn draw_rows(svg: &mut SvgWriter, layout: &Layout<'_>) {
    for layer in &layout.canvas.figure.layers {
        if let Layer::Bars { series, points } = layer {
            bars::draw(svg, &layout.canvas, &layout.rows, (series, points));
        }
    }
}

fn draw_estimates_and_points(svg: &mut SvgWriter, layout: &Layout<'_>) {
    let canvas = &layout.canvas;
    let mut intervals = 0;
    for layer in &canvas.figure.layers {
        match layer {
            Layer::Intervals { series, points } => {
                let drawn = (intervals, series.as_str(), points.as_slice());
                forest::draw(svg, canvas, &layout.rows, &layout.estimates, drawn);
                intervals += 1;
            }
            Layer::Points { series, points } => {
                points::draw(svg, canvas, &layout.rows, (series, points));
            }
            _ => {}
        }
    }
}

fn is_empty(layer: &Layer) -> bool {
    match layer {
        Layer::Steps { points, .. } | Layer::Line { points, .. } | Layer::Points { points, .. } => {
            points.is_empty()
        }
        Layer::Band { points, .. } | Layer::Bars { points, .. } | Layer::Cells { points, .. } => {
            points.is_empty()
        }
        Layer::Intervals { points, .. } => points.is_empty(),
        Layer::Rule { .. } => true,
    }
}
