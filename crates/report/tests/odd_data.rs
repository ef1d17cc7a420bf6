//! Figures of data that no study should have: they are drawn, or left out, without nonsense.

mod common;

use analysis::document::{AtRisk, Axis, Figure, Layer, Scale};
use base::SplitMix64;
use common::{axis, categories, document, figure, line, page, svgs};

const VALUES: [f64; 22] = [
    0.0,
    1.0,
    -1.0,
    2.0,
    3.0,
    0.5,
    1e-9,
    -0.0,
    1e300,
    -1e300,
    f64::MAX,
    f64::MIN,
    f64::MIN_POSITIVE,
    5e-324,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    1e16,
    1e16 + 2.0,
    1.0 + 2e-16,
    100.0,
    7.25,
];

const NAMES: [&str; 6] =
    ["", "a", "b", "a very long name that does not fit on any line at all", "<&>", "c"];

struct Odd(SplitMix64);

impl Odd {
    fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n as u64) as usize
    }

    fn value(&mut self) -> f64 {
        VALUES[self.below(VALUES.len())]
    }

    fn name(&mut self) -> String {
        NAMES[self.below(NAMES.len())].into()
    }

    fn list<T>(&mut self, item: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.below(6)).map(|_| item(self)).collect()
    }

    fn layer(&mut self) -> Layer {
        let series = self.name();
        let two = |odd: &mut Self| (odd.value(), odd.value());
        let three = |odd: &mut Self| (odd.value(), odd.value(), odd.value());
        let four = |odd: &mut Self| (odd.value(), odd.value(), odd.value(), odd.value());
        match self.below(8) {
            0 => Layer::Steps { series, points: self.list(two) },
            1 => Layer::Line { series, points: self.list(two), dashed: self.below(2) == 0 },
            2 => Layer::Band { series, points: self.list(three), stepped: self.below(2) == 0 },
            3 => Layer::Points { series, points: self.list(two) },
            4 => Layer::Intervals { series, points: self.list(four) },
            5 => Layer::Bars { series, points: self.list(three) },
            6 => Layer::Cells { series, points: self.list(three) },
            _ => Layer::Rule { at: self.value(), vertical: self.below(2) == 0, label: series },
        }
    }

    fn axis(&mut self) -> Axis {
        let names = self.below(4) == 0;
        Axis {
            label: self.name(),
            scale: if self.below(3) == 0 { Scale::Log } else { Scale::Linear },
            range: (self.below(3) == 0).then(|| (self.value(), self.value())),
            categories: if names { self.list(Self::name) } else { Vec::new() },
        }
    }

    fn figure(&mut self) -> Figure {
        let mut shown = figure(self.list(Self::layer));
        (shown.x, shown.y) = (self.axis(), self.axis());
        if self.below(3) == 0 {
            let times = self.list(Self::value);
            let rows = self.list(|odd| (odd.name(), odd.list(|odd| odd.0.next_u64())));
            shown.at_risk = Some(AtRisk { times, rows });
        }
        shown
    }
}

#[test]
fn any_figure_is_well_formed_and_has_finite_coordinates() {
    let mut odd = Odd(SplitMix64(42));
    for _ in 0..1500 {
        let shown = odd.figure();
        let page = page(&document(vec![shown.clone()], Vec::new()));
        for svg in svgs(&page) {
            let tree = roxmltree::Document::parse(svg).expect("well-formed SVG");
            for node in tree.descendants() {
                for attribute in node.attributes() {
                    let value = attribute.value();
                    let bad = value.contains("NaN") || value.contains("inf");
                    assert!(!bad, "{}={value}: {shown:?}", attribute.name());
                }
            }
        }
    }
}

#[test]
fn many_rows_and_many_series_are_all_drawn() {
    let names: Vec<String> = (0..500).map(|i| format!("run {i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bars = (0..500).map(|i| (0.0, f64::from(i), f64::from(i))).collect();
    let mut rows = figure(vec![Layer::Bars { series: "b".into(), points: bars }]);
    rows.y = categories(&names);
    assert_eq!(report::svg(&rows).matches("<rect class=\"ar s0\"").count(), 500 + 1);
    let lines = (0..30).map(|i| line(&format!("series {i}"), &[(0.0, 0.0), (1.0, f64::from(i))]));
    let svg = report::svg(&figure(lines.collect()));
    assert_eq!(svg.matches("class=\"ln s").count(), 30 + 30);
}

#[test]
fn bars_stand_on_an_x_axis_of_categories() {
    let points = vec![(0.0, 2.0, 0.0), (0.0, 4.0, 1.0)];
    let mut bars = figure(vec![Layer::Bars { series: String::new(), points }]);
    (bars.x, bars.y) = (categories(&["a", "b"]), axis("count"));
    let svg = report::svg(&bars);
    let tree = roxmltree::Document::parse(&svg).expect("SVG");
    let heights: Vec<f64> = tree
        .descendants()
        .filter(|node| node.attribute("class") == Some("ar sx"))
        .filter_map(|node| node.attribute("height")?.parse().ok())
        .collect();
    assert_eq!(heights.len(), 2);
    assert!((heights[1] - 2.0 * heights[0]).abs() < 0.05, "{heights:?}");
}

#[test]
fn rows_beyond_the_categories_are_counted() {
    let points = vec![(0.0, 2.0, 0.0), (0.0, 4.0, 7.0)];
    let mut bars = figure(vec![Layer::Bars { series: "a".into(), points }]);
    bars.y = categories(&["only"]);
    let page = page(&document(vec![bars], Vec::new()));
    assert!(page.contains("1 point is not drawn: beyond the categories of an axis."));
}
