//! Textures of areas and bars: the second mark, beside color, that tells series apart.

use super::path::coordinate;
use super::series::{SeriesTable, is_area, series_name};
use super::writer::SvgWriter;
use analysis::document::{Figure, Layer};

/// The value of `fill`; empty for a series without texture, which its class fills.
pub fn fill(id: &str, series: &SeriesTable, name: &str) -> String {
    match (series.texture(name), series.index(name)) {
        (0, _) | (_, None) => String::new(),
        (_, Some(at)) => format!("url(#{id}-p{at})"),
    }
}

/// The class of an area or bar with that value of `fill`.
pub fn class(fill: &str) -> &'static str {
    if fill.is_empty() { "ar" } else { "at" }
}

/// Defines the textures that a figure needs.
pub fn define(svg: &mut SvgWriter, id: &str, figure: &Figure, series: &SeriesTable) {
    for (at, name) in series.names.iter().enumerate() {
        let filled = |layer: &Layer| {
            series_name(layer) == Some(name)
                && (is_area(figure, layer) || matches!(layer, Layer::Bars { .. }))
        };
        let texture = series.texture(name);
        if texture == 0 || !figure.layers.iter().any(filled) {
            continue;
        }
        let (size, strokes, turn) = match texture {
            1 => (6.0, "M0 3h6", "rotate(45)"),
            2 => (5.0, "M2.5 2.5h.01", ""),
            3 => (6.0, "M0 3h6", "rotate(-45)"),
            _ => (6.0, "M0 3h6", ""),
        };
        let size = coordinate(size);
        let pattern_id = format!("{id}-p{at}");
        svg.open(
            "pattern",
            &[
                ("id", &pattern_id),
                ("class", &series.class(name)),
                ("width", &size),
                ("height", &size),
                ("patternUnits", "userSpaceOnUse"),
                ("patternTransform", turn),
            ],
        );
        svg.element("rect", &[("class", "ar"), ("width", &size), ("height", &size)]);
        let class = if texture == 2 { "dot" } else { "hatch" };
        svg.element("path", &[("class", class), ("d", strokes)]);
        svg.close("pattern");
    }
}
