//! The series of a figure and how each is told from the others: by color, and by dashes, markers or
//! texture.

use analysis::document::{Figure, Layer};

/// Colors that the style sheet defines: `--s0` to `--s7`.
pub const COLORS: usize = 8;

/// A series with more lines than this is drawn with thin, translucent lines.
const LINES_DRAWN_FULLY: usize = 12;

const DASHES: [&str; 6] = ["", "7 3", "2 2.5", "9 3 2 3", "13 4", "5 2 1.5 2 1.5 2"];
const TEXTURES: usize = 5;

/// The named series of a figure, in the order of their first layers.
pub struct SeriesTable {
    pub names: Vec<String>,
    lines: Vec<usize>,
    /// Whether the figure has dashed lines, so that dashes do not tell series apart.
    pub dashes_have_a_meaning: bool,
}

/// The name of a layer's series; `None` for rules and for layers in the text's color.
pub fn series_name(layer: &Layer) -> Option<&str> {
    let name = match layer {
        Layer::Steps { series, .. }
        | Layer::Line { series, .. }
        | Layer::Band { series, .. }
        | Layer::Points { series, .. }
        | Layer::Intervals { series, .. }
        | Layer::Bars { series, .. } => series,
        Layer::Cells { .. } | Layer::Rule { .. } => return None,
    };
    (!name.is_empty()).then_some(name.as_str())
}

impl SeriesTable {
    pub fn of(figure: &Figure) -> SeriesTable {
        let mut table =
            SeriesTable { names: Vec::new(), lines: Vec::new(), dashes_have_a_meaning: false };
        for layer in &figure.layers {
            table.dashes_have_a_meaning |= matches!(layer, Layer::Line { dashed: true, .. });
            let Some(name) = series_name(layer) else { continue };
            let at = table.index(name).unwrap_or_else(|| {
                table.names.push(name.to_string());
                table.lines.push(0);
                table.names.len() - 1
            });
            table.lines[at] += usize::from(is_line(layer));
        }
        table
    }

    pub fn index(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// Lines of a series; 0 if it has no name.
    pub fn lines(&self, name: &str) -> usize {
        self.index(name).map_or(0, |at| self.lines[at])
    }

    /// Whether the lines of a series are drawn thin.
    pub fn is_thin(&self, name: &str) -> bool {
        self.lines(name) > LINES_DRAWN_FULLY
    }

    /// Class that sets the color.
    pub fn class(&self, name: &str) -> String {
        self.index(name).map_or("sx".to_string(), |at| format!("s{}", at % COLORS))
    }

    /// Dashes of the lines of a series; empty for a solid line.
    pub fn dash(&self, name: &str) -> &'static str {
        let at = self.index(name).unwrap_or(0);
        if self.dashes_have_a_meaning { "" } else { DASHES[at % DASHES.len()] }
    }

    /// Number of the texture of areas and bars; 0 for none.
    pub fn texture(&self, name: &str) -> usize {
        self.index(name).unwrap_or(0) % TEXTURES
    }

    /// Number of the marker.
    pub fn marker(&self, name: &str) -> usize {
        self.index(name).unwrap_or(0)
    }
}

pub fn is_line(layer: &Layer) -> bool {
    matches!(layer, Layer::Steps { .. } | Layer::Line { .. })
}

/// Whether a band belongs to no line: it is then an area of its own, not an interval around a curve.
pub fn is_area(figure: &Figure, layer: &Layer) -> bool {
    let Layer::Band { series, .. } = layer else { return false };
    let line_of_it = |other: &Layer| is_line(other) && series_name(other).unwrap_or("") == series;
    !figure.layers.iter().any(line_of_it)
}
