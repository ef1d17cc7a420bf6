//! The page: escaping, identifiers, self-containment, size.

mod common;
#[path = "../examples/specimen/figures.rs"]
mod figures;
#[path = "../examples/specimen/long_figures.rs"]
mod long_figures;
#[path = "../examples/specimen/simulated.rs"]
mod simulated;
#[path = "../examples/specimen/study.rs"]
mod study;
#[path = "../examples/specimen/tables.rs"]
mod tables;

use analysis::document::{Document, Format, Refusal, Severity, Value};
use common::{categories, document, figure, line, page, row, svgs};
use std::collections::BTreeSet;

const EVIL: &str = "</script><script>alert(1)</script><!--]]>\"' onload=alert(2) \u{1}&amp;";

/// A document whose every text is hostile.
fn evil() -> Document {
    let text = EVIL.to_string();
    let mut shown = figure(vec![
        line(EVIL, &[(0.0, 0.0), (1.0, 1.0)]),
        analysis::document::Layer::Rule { at: 0.5, vertical: true, label: text.clone() },
        analysis::document::Layer::Points { series: "p".into(), points: vec![(0.5, 0.5)] },
    ]);
    (shown.id, shown.title, shown.caption) = (text.clone(), text.clone(), text.clone());
    (shown.alt, shown.command, shown.x.label) = (text.clone(), text.clone(), text.clone());
    shown.y.label = text.clone();
    let mut bars = figure(vec![analysis::document::Layer::Bars {
        series: text.clone(),
        points: vec![(0.0, 1.0, 0.0)],
    }]);
    bars.y = categories(&[EVIL]);
    let at_risk =
        analysis::document::AtRisk { times: vec![0.5], rows: vec![(text.clone(), vec![1])] };
    bars.at_risk = Some(at_risk);
    let mut table = row(&[(Value::Text(text.clone()), Format::Text)]);
    (table.id, table.caption, table.notes) = (text.clone(), text.clone(), vec![text.clone()]);
    (table.columns[0].name, table.columns[0].label) = (text.clone(), text.clone());
    let mut document = document(vec![shown, bars], vec![table]);
    (document.title, document.subtitle) = (text.clone(), text.clone());
    document.answer = vec![text.clone()];
    document.refusals = vec![Refusal {
        code: "x",
        severity: Severity::Error,
        what: text.clone(),
        why: text.clone(),
    }];
    let section = &mut document.sections[0];
    (section.id, section.title, section.text) = (text.clone(), text.clone(), vec![text.clone()]);
    document
}

#[test]
fn hostile_texts_are_harmless() {
    let fact = (EVIL.to_string(), EVIL.to_string());
    let colophon = report::Colophon { facts: vec![fact], command: EVIL.into() };
    let page = report::html(&evil(), &colophon);
    // Two scripts of the page, and one of JSON for each of two figures and a table.
    assert_eq!(page.matches("<script").count(), 5);
    assert_eq!(page.matches("</script").count(), 5);
    assert!(!page.contains("<!--") && !page.contains('\u{1}'));
    let mut markup = page.clone();
    for json in page.split("application/json\"").skip(1) {
        let json =
            json.split_once('>').and_then(|(_, rest)| rest.split_once("</script")).expect("JSON");
        serde_json::from_str::<serde_json::Value>(json.0).expect("valid JSON");
        markup = markup.replace(json.0, "");
    }
    for part in ["\" onload", "' onload", "alert(1)<"] {
        assert!(!markup.contains(part), "{part}");
    }
    for svg in svgs(&page) {
        roxmltree::Document::parse(svg).expect("well-formed SVG");
    }
}

#[test]
fn identifiers_are_unique_and_references_lead_to_them() {
    let mut specimen = study::specimen();
    let twin = specimen.sections[1].clone();
    specimen.sections.push(twin);
    let page = page(&specimen);
    let mut ids = BTreeSet::new();
    for id in values(&page, " id=\"") {
        assert!(ids.insert(id), "{id} occurs twice");
    }
    let references = values(&page, "href=\"#")
        .chain(values(&page, "url(#").map(|s| s.split_once(')').map_or(s, |(id, _)| id)));
    for reference in
        references.chain(values(&page, "aria-labelledby=\"").flat_map(str::split_whitespace))
    {
        assert!(ids.contains(reference), "{reference} leads nowhere");
    }
}

/// The texts between a prefix and the next quotation mark.
fn values<'a>(page: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    page.split(prefix).skip(1).filter_map(|rest| rest.split('"').next())
}

#[test]
fn the_page_names_no_address() {
    let page = page(&study::specimen()).replace("http://www.w3.org/2000/svg", "");
    for name in ["http:", "https:", "//", "@import", "url(data", "src="] {
        let code = page.lines().filter(|line| !line.trim_start().starts_with("//"));
        assert!(code.clone().all(|line| !line.contains(name)), "{name}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn every_svg_of_the_specimen_is_well_formed_and_described() {
    let specimen = study::specimen();
    let page = page(&specimen);
    let figures: usize = specimen.sections.iter().map(|section| section.figures.len()).sum();
    let svgs = svgs(&page);
    assert_eq!(svgs.len(), 2 * figures);
    for svg in svgs {
        let tree = roxmltree::Document::parse(svg).expect("well-formed SVG");
        let root = tree.root_element();
        assert_eq!(root.attribute("role"), Some("img"));
        let named = root.attribute("aria-labelledby").expect("a name");
        for id in named.split(' ') {
            let named = tree.descendants().find(|node| node.attribute("id") == Some(id));
            assert!(
                named.and_then(|node| node.text()).is_some_and(|text| !text.is_empty()),
                "{id}"
            );
        }
        for node in tree.descendants().filter(|node| node.is_element()) {
            for attribute in node.attributes() {
                let value = attribute.value();
                assert!(!value.contains("NaN") && !value.contains("inf"), "{value}");
            }
        }
    }
}

#[test]
fn standalone_figures_are_well_formed() {
    for section in study::specimen().sections {
        for figure in section.figures {
            roxmltree::Document::parse(&report::svg(&figure)).expect("well-formed SVG");
        }
    }
}

#[test]
fn headings_descend_by_one_level() {
    for document in [study::specimen(), study::empty()] {
        let page = page(&document);
        let levels: Vec<u32> = page
            .match_indices("<h")
            .filter_map(|(at, _)| page[at + 2..].chars().next()?.to_digit(10))
            .collect();
        assert_eq!(levels[0], 1);
        assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1 && pair[1] > 1), "{levels:?}");
    }
}

#[test]
fn the_same_document_gives_the_same_bytes() {
    let colophon = study::colophon();
    let pages = [(); 2].map(|()| report::html(&study::specimen(), &colophon));
    assert!(pages[0] == pages[1]);
}

#[test]
fn a_page_of_a_large_study_is_below_5_mb_and_says_what_is_left_out() {
    let document = study::large();
    let page = page(&document);
    assert!(page.len() < 5_000_000, "{} bytes", page.len());
    assert!(page.len() > 1_000_000, "{} bytes: not large", page.len());
    assert!(page.contains("All rows are in analysis.json: too many for this page."));
    // Curves are drawn once, and used for the telephone.
    assert!(page.contains("<use href=\"#f-exposure_at_onset-w-lines\""));
}
