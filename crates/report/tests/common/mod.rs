//! Small documents for the tests.
#![allow(dead_code)]

use analysis::document::{
    Axis, Document, Figure, Format, Layer, Scale, Section, Table, TableColumn, Value,
};

pub fn axis(label: &str) -> Axis {
    Axis { label: label.into(), scale: Scale::Linear, range: None, categories: Vec::new() }
}

pub fn categories(names: &[&str]) -> Axis {
    Axis { categories: names.iter().map(|name| name.to_string()).collect(), ..axis("") }
}

pub fn figure(layers: Vec<Layer>) -> Figure {
    Figure {
        id: "f".into(),
        title: "Title".into(),
        caption: "Caption".into(),
        alt: "Alt".into(),
        x: axis("x"),
        y: axis("y"),
        layers,
        at_risk: None,
        command: "vendomini report".into(),
    }
}

pub fn line(series: &str, points: &[(f64, f64)]) -> Layer {
    Layer::Line { series: series.into(), points: points.to_vec(), dashed: false }
}

pub fn column(name: &str, format: Format) -> TableColumn {
    TableColumn { name: name.into(), label: format!("Label of {name}"), format }
}

/// A table of one row and one column a value.
pub fn row(values: &[(Value, Format)]) -> Table {
    Table {
        id: "t1".into(),
        caption: "Caption".into(),
        columns: values.iter().map(|(_, format)| column("c", *format)).collect(),
        rows: vec![values.iter().map(|(value, _)| value.clone()).collect()],
        notes: Vec::new(),
    }
}

pub fn document(figures: Vec<Figure>, tables: Vec<Table>) -> Document {
    Document {
        title: "Title".into(),
        sections: vec![Section {
            id: "s".into(),
            title: "Section".into(),
            figures,
            tables,
            ..Section::default()
        }],
        ..Document::default()
    }
}

/// The page of a document, with nothing about its making.
pub fn page(document: &Document) -> String {
    report::html(document, &report::Colophon::default())
}

/// The SVG elements of a page.
pub fn svgs(page: &str) -> Vec<&str> {
    let end = |part: &str| part.find("</svg>").map(|at| at + 6);
    page.match_indices("<svg ")
        .filter_map(|(at, _)| Some(&page[at..at + end(&page[at..])?]))
        .collect()
}
