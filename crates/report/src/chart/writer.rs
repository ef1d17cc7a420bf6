//! Writes elements of SVG.

use super::path::coordinate;
use crate::escape;

/// Where a text begins, relative to its place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// Elements of SVG, one after the other.
#[derive(Default)]
pub struct SvgWriter {
    pub out: String,
}

impl SvgWriter {
    /// An element without content; attribute values are escaped.
    pub fn element(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.begin(name, attributes);
        self.out.push_str("/>");
    }

    /// An element with a title, which browsers show to the pointer.
    pub fn titled(&mut self, name: &str, attributes: &[(&str, &str)], title: &str) {
        self.begin(name, attributes);
        self.out.push_str("><title>");
        self.out.push_str(&escape::xml(title));
        self.out.push_str("</title></");
        self.out.push_str(name);
        self.out.push('>');
    }

    pub fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.begin(name, attributes);
        self.out.push('>');
    }

    pub fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    fn begin(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.out.push('<');
        self.out.push_str(name);
        for (key, value) in attributes.iter().filter(|(_, value)| !value.is_empty()) {
            self.out.push(' ');
            self.out.push_str(key);
            self.out.push_str("=\"");
            self.out.push_str(&escape::xml(value));
            self.out.push('"');
        }
    }

    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let d = if from.1 == to.1 {
            format!("M{} {}H{}", coordinate(from.0), coordinate(from.1), coordinate(to.0))
        } else if from.0 == to.0 {
            format!("M{} {}V{}", coordinate(from.0), coordinate(from.1), coordinate(to.1))
        } else {
            let [a, b, c, d] = [from.0, from.1, to.0, to.1].map(coordinate);
            format!("M{a} {b}L{c} {d}")
        };
        self.element("path", &[("class", class), ("d", &d)]);
    }

    pub fn text(&mut self, class: &str, anchor: Anchor, at: (f64, f64), text: &str) {
        self.turned_text(class, anchor, at, "", text);
    }

    /// A text, transformed.
    pub fn turned_text(
        &mut self,
        class: &str,
        anchor: Anchor,
        (x, y): (f64, f64),
        transform: &str,
        text: &str,
    ) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (x, y) = (coordinate(x), coordinate(y));
        let attributes = [
            ("class", class),
            ("x", &x),
            ("y", &y),
            ("text-anchor", anchor),
            ("transform", transform),
        ];
        self.open("text", &attributes);
        self.out.push_str(&escape::xml(text));
        self.close("text");
    }
}
