//! The two layouts of a figure: for a page, and for a telephone. Each is drawn at its own size, so
//! that text keeps its size on both.

/// Lengths are in units of the SVG: CSS pixels at full size.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    Wide,
    Narrow,
}

impl Medium {
    pub fn width(self) -> f64 {
        match self {
            Medium::Wide => 760.0,
            Medium::Narrow => 340.0,
        }
    }

    /// Height of the plot of a figure whose axes are both numeric.
    pub fn plot_height(self) -> f64 {
        match self {
            Medium::Wide => 340.0,
            Medium::Narrow => 240.0,
        }
    }

    /// Size of the text of ticks, legends and labels.
    pub fn font(self) -> f64 {
        match self {
            Medium::Wide => 13.0,
            Medium::Narrow => 12.0,
        }
    }

    /// Height of a line of that text.
    pub fn line(self) -> f64 {
        self.font() + 5.0
    }

    /// Suffix of identifiers.
    pub fn suffix(self) -> &'static str {
        match self {
            Medium::Wide => "w",
            Medium::Narrow => "n",
        }
    }
}
