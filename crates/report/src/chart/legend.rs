//! Which color, dashes, marker and texture belongs to which series: above the plot.

use super::canvas::Canvas;
use super::cells::Ramp;
use super::marker::push_marker;
use super::medium::Medium;
use super::path::coordinate;
use super::series::{SeriesTable, is_area, is_line, series_name};
use super::text_width::{shortened, width};
use super::texture;
use super::writer::{Anchor, SvgWriter};
use analysis::document::{Figure, Layer};

/// Width of a sample of a series.
pub const SWATCH: f64 = 22.0;
const GAP: f64 = 20.0;

/// What the sample of a series shows.
#[derive(Clone, Copy, Default)]
pub struct Swatch {
    line: bool,
    band: bool,
    area: bool,
    marker: bool,
    thin: bool,
}

impl Swatch {
    pub fn of(figure: &Figure, name: &str) -> Swatch {
        let mut swatch = Swatch::default();
        for layer in figure.layers.iter().filter(|layer| series_name(layer) == Some(name)) {
            swatch.line |= is_line(layer) || matches!(layer, Layer::Intervals { .. });
            swatch.marker |= matches!(layer, Layer::Points { .. } | Layer::Intervals { .. });
            let area = is_area(figure, layer) || matches!(layer, Layer::Bars { .. });
            swatch.area |= area;
            swatch.band |= !area && matches!(layer, Layer::Band { .. });
        }
        let steps = |layer: &Layer| {
            matches!(layer, Layer::Steps { .. }) && series_name(layer) == Some(name)
        };
        swatch.thin = SeriesTable::of(figure).is_thin(name);
        // Points of a step function are drawn as ticks on it.
        swatch.marker &= !figure.layers.iter().any(steps);
        swatch
    }

    /// The sample without the band around the line.
    pub fn without_band(self) -> Swatch {
        Swatch { band: false, ..self }
    }

    /// Draws the sample with its left end, in the middle, at a place.
    pub fn draw(self, svg: &mut SvgWriter, canvas: &Canvas<'_>, name: &str, (x, y): (f64, f64)) {
        let series = &canvas.series;
        let class = series.class(name);
        let rect = |svg: &mut SvgWriter, height: f64, kind: &str, fill: &str| {
            let [x, y] = [x, y - height / 2.0].map(coordinate);
            let (width, height) = (coordinate(SWATCH), coordinate(height));
            svg.element(
                "rect",
                &[
                    ("class", &format!("{kind} {class}")),
                    ("x", &x),
                    ("y", &y),
                    ("width", &width),
                    ("height", &height),
                    ("fill", fill),
                ],
            );
        };
        if self.area {
            let fill = texture::fill(&canvas.id, series, name);
            rect(svg, 12.0, texture::class(&fill), &fill);
        }
        if self.band {
            rect(svg, 12.0, "bd", "");
        }
        if self.line {
            let d = format!("M{} {}h{}", coordinate(x), coordinate(y), coordinate(SWATCH));
            let attributes = [
                ("class", &*format!("{} {class}", if self.thin { "tn" } else { "ln" })),
                ("d", &d),
                ("stroke-dasharray", series.dash(name)),
            ];
            svg.element("path", &attributes);
        }
        let marked_line =
            self.line && series.lines_have_markers() && !series.is_dashed(name) && !self.thin;
        if self.marker || marked_line {
            let mut d = String::new();
            push_marker(&mut d, series.marker(name), x + SWATCH / 2.0, y, 4.0);
            svg.element("path", &[("class", &*format!("mk {class}")), ("d", &d)]);
        }
    }
}

/// The legend: rows of entries, or the scale of a matrix.
pub struct Legend {
    /// Series, its label and its left end, in rows.
    rows: Vec<Vec<(String, String, f64)>>,
    ramp: Option<Ramp>,
    line: f64,
}

impl Legend {
    pub fn of(figure: &Figure, series: &SeriesTable, medium: Medium, direct: bool) -> Legend {
        let font = medium.font();
        let line = medium.line() + 2.0;
        let mut rows: Vec<Vec<(String, String, f64)>> = Vec::new();
        let mut x = 0.0;
        let names: &[String] = if direct { &[] } else { &series.names };
        for name in names {
            let label = shortened(name, font, medium.width() - SWATCH - 8.0);
            let length = SWATCH + 6.0 + width(&label, font);
            if rows.is_empty() || x + length > medium.width() {
                rows.push(Vec::new());
                x = 0.0;
            }
            if let Some(row) = rows.last_mut() {
                row.push((name.clone(), label, x));
            }
            x += length + GAP;
        }
        Legend { rows, ramp: Ramp::of(figure, medium), line }
    }

    /// Height with the distance to what follows.
    pub fn height(&self) -> f64 {
        let rows = self.rows.len() as f64 * self.line;
        let ramp = self.ramp.as_ref().map_or(0.0, Ramp::height);
        if rows + ramp == 0.0 { 0.0 } else { rows + ramp + 8.0 }
    }

    pub fn draw(&self, svg: &mut SvgWriter, canvas: &Canvas<'_>) {
        for (at, row) in self.rows.iter().enumerate() {
            let y = (at as f64 + 0.5) * self.line;
            for (name, label, x) in row {
                Swatch::of(canvas.figure, name).draw(svg, canvas, name, (*x, y));
                let place = (x + SWATCH + 6.0, y + canvas.medium.font() * 0.35);
                svg.text("tk", Anchor::Start, place, label);
            }
        }
        if let Some(ramp) = &self.ramp {
            ramp.draw(svg, canvas, self.rows.len() as f64 * self.line);
        }
    }
}
