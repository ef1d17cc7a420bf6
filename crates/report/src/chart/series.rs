//! The series of a figure and how each is told from the others: by color, and by dashes, markers or
//! texture.

use analysis::document::{Figure, Layer};

/// Colors that the style sheet defines: `--s0` to `--s7`.
pub const COLORS: usize = 8;

/// A series with more lines than this is drawn with thin, translucent lines.
const LINES_DRAWN_FULLY: usize = 12;

const DASHES: [&str; 6] = ["", "7 3", "2 2.5", "9 3 2 3", "13 4", "5 2 1.5 2 1.5 2"];
/// Dashes of lines that are dashed for their meaning.
pub const DASHED: &str = "5 4";
const TEXTURES: usize = 5;

/// The named series of a figure, in the order of their first layers.
pub struct SeriesTable {
    pub names: Vec<String>,
    /// For each series, the numbers of its lines and of those that are dashed.
    lines: Vec<(usize, usize)>,
    /// Whether the figure has dashed lines, so that dashes do not tell series apart.
    dashes_have_a_meaning: bool,
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
                table.lines.push((0, 0));
                table.names.len() - 1
            });
            let dashed = matches!(layer, Layer::Line { dashed: true, .. });
            let (lines, of_them_dashed) = table.lines[at];
            table.lines[at] =
                (lines + usize::from(is_line(layer)), of_them_dashed + usize::from(dashed));
        }
        table
    }

    pub fn index(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// Lines of a series; 0 if it has no name.
    pub fn lines(&self, name: &str) -> usize {
        self.index(name).map_or(0, |at| self.lines[at].0)
    }

    /// Whether the lines of a series are drawn thin.
    pub fn is_thin(&self, name: &str) -> bool {
        self.lines(name) > LINES_DRAWN_FULLY
    }

    /// Whether the figure has thin lines.
    pub fn has_thin_lines(&self) -> bool {
        self.names.iter().any(|name| self.is_thin(name))
    }

    /// Whether all lines of a series are dashed.
    pub fn is_dashed(&self, name: &str) -> bool {
        let dashed = |at: usize| self.lines[at].0 > 0 && self.lines[at].0 == self.lines[at].1;
        self.index(name).is_some_and(dashed)
    }

    /// Whether markers tell solid lines apart, as dashes cannot.
    pub fn lines_have_markers(&self) -> bool {
        let solid = self.lines.iter().filter(|(lines, dashed)| lines > dashed).count();
        self.dashes_have_a_meaning && solid > 1
    }

    /// Class that sets the color.
    pub fn class(&self, name: &str) -> String {
        self.index(name).map_or("sx".to_string(), |at| format!("s{}", at % COLORS))
    }

    /// Dashes of the lines of a series; empty for a solid line.
    pub fn dash(&self, name: &str) -> &'static str {
        // Thin lines and others differ by their widths already.
        let of_its_width = |at: &usize| self.is_thin(&self.names[*at]) == self.is_thin(name);
        match self.index(name) {
            _ if self.is_dashed(name) => DASHED,
            Some(at) if !self.dashes_have_a_meaning => {
                DASHES[(0..at).filter(of_its_width).count() % DASHES.len()]
            }
            _ => "",
        }
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

/// Whether a band belongs to no line: it is then an area of its own, not an interval of a curve.
pub fn is_area(figure: &Figure, layer: &Layer) -> bool {
    let Layer::Band { series, .. } = layer else { return false };
    let line_of_it = |other: &Layer| is_line(other) && series_name(other).unwrap_or("") == series;
    !figure.layers.iter().any(line_of_it)
}
