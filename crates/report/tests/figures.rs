//! What figures draw, and what they say that they do not draw.

mod common;

use analysis::document::{AtRisk, Axis, Figure, Layer, Scale};
use common::{axis, categories, document, figure, line, page};

fn shown(figure: Figure) -> String {
    report::svg(&figure)
}

/// The path of the only element of a class.
fn path(svg: &str, class: &str) -> String {
    let tree = roxmltree::Document::parse(svg).expect("SVG");
    let of_class = |node: &roxmltree::Node<'_, '_>| node.attribute("class") == Some(class);
    let mut found = tree.descendants().filter(of_class);
    let d = found.next().and_then(|node| node.attribute("d")).expect(class).to_string();
    assert!(found.next().is_none(), "several {class}");
    d
}

/// Texts of a class, in their order.
fn texts(svg: &str, class: &str) -> Vec<String> {
    let tree = roxmltree::Document::parse(svg).expect("SVG");
    let of_class = |node: &roxmltree::Node<'_, '_>| {
        node.has_tag_name("text") && node.attribute("class") == Some(class)
    };
    tree.descendants().filter(of_class).filter_map(|node| node.text()).map(String::from).collect()
}

#[test]
fn axes_have_round_ticks_with_equal_decimals() {
    let svg = shown(figure(vec![line("", &[(0.0, 0.013), (47.0, 0.087)])]));
    let ticks = texts(&svg, "tk");
    assert_eq!(ticks[..5], ["0", "10", "20", "30", "40"]);
    assert_eq!(ticks[5..], ["0.00", "0.02", "0.04", "0.06", "0.08", "0.10"]);
}

#[test]
fn logarithmic_axes_have_ticks_at_1_2_and_5_or_at_powers() {
    let ticks = |low: f64, high: f64| {
        let mut shown_figure = figure(vec![line("", &[(low, 0.0), (high, 1.0)])]);
        shown_figure.x.scale = Scale::Log;
        shown_figure.y.range = Some((0.0, 1.0));
        let ticks = texts(&shown(shown_figure), "tk");
        ticks.into_iter().take_while(|tick| tick != "0.0").collect::<Vec<_>>()
    };
    assert_eq!(ticks(0.4, 6.0), ["0.5", "1", "2", "5"]);
    assert_eq!(ticks(1.0, 500.0), ["1", "2", "5", "10", "20", "50", "100", "200", "500"]);
    assert_eq!(
        ticks(1e-12, 1e12),
        ["10⁻¹²", "10⁻⁹", "10⁻⁶", "0.001", "1", "1,000", "10⁶", "10⁹", "10¹²"]
    );
}

#[test]
fn a_step_function_is_constant_to_the_right_of_each_point() {
    let points = vec![(0.0, 1.0), (5.0, 0.5), (10.0, 0.0)];
    let mut steps = figure(vec![Layer::Steps { series: String::new(), points }]);
    (steps.x.range, steps.y.range) = (Some((0.0, 10.0)), Some((0.0, 1.0)));
    let d = path(&shown(steps), "ln sx");
    let commands: String = d.chars().filter(char::is_ascii_alphabetic).collect();
    assert_eq!(commands, "Mhvhv", "{d}");
}

#[test]
fn points_on_a_straight_line_and_repeated_points_are_drawn_once() {
    let straight: Vec<(f64, f64)> = (0..1000).map(|i| (f64::from(i / 2), 3.0)).collect();
    let d = path(&shown(figure(vec![line("", &straight)])), "ln sx");
    assert_eq!(d.matches(|c: char| c.is_ascii_alphabetic()).count(), 2, "{d}");
}

#[test]
fn a_line_breaks_at_a_missing_value() {
    let points = [(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, 5.0)];
    let d = path(&shown(figure(vec![line("", &points)])), "ln sx");
    assert_eq!(d.matches('M').count(), 2, "{d}");
}

#[test]
fn a_stepped_band_closes_and_an_infinite_bound_reaches_beyond_the_plot() {
    let points = vec![(0.0, 1.0, 2.0), (1.0, 1.0, f64::INFINITY), (2.0, 0.0, 2.0)];
    let band = Layer::Band { series: String::new(), points, stepped: true };
    let d = path(&shown(figure(vec![band])), "bd sx");
    assert_eq!(d.matches('M').count(), 1, "{d}");
    assert!(d.ends_with('Z') && !d.contains("NaN") && !d.contains("inf"), "{d}");
}

#[test]
fn what_has_no_place_on_a_logarithmic_axis_is_counted() {
    let points = vec![(1.0, 0.0), (2.0, -1.0), (3.0, 4.0), (4.0, 0.5)];
    let mut log = figure(vec![Layer::Points { series: "p".into(), points }]);
    log.y.scale = Scale::Log;
    let page = page(&document(vec![log], Vec::new()));
    assert!(page.contains("2 points are not drawn: zero and negative values have no place"));
}

#[test]
fn points_outside_of_a_given_range_are_counted() {
    let points = vec![(1.0, 0.0), (2.0, 30.0)];
    let mut given = figure(vec![Layer::Points { series: "p".into(), points }]);
    given.y.range = Some((0.0, 10.0));
    let page = page(&document(vec![given], Vec::new()));
    assert!(page.contains("1 point is not drawn: outside of the axes."));
}

#[test]
fn an_interval_beyond_the_axis_ends_in_an_arrow() {
    let points = vec![(0.5, 1.0, 99.0, 0.0), (0.5, 1.0, 1.5, 1.0)];
    let mut forest = figure(vec![Layer::Intervals { series: String::new(), points }]);
    forest.x = Axis { range: Some((0.0, 2.0)), ..axis("ratio") };
    forest.y = categories(&["far", "near"]);
    let svg = shown(forest);
    let tree = roxmltree::Document::parse(&svg).expect("SVG");
    let paths: Vec<&str> = tree
        .descendants()
        .filter(|node| node.attribute("class") == Some("iv sx"))
        .filter_map(|node| node.attribute("d"))
        .collect();
    // A segment and two caps; the arrow has two segments.
    assert_eq!(paths[0].matches('M').count(), 4, "{}", paths[0]);
    assert_eq!(paths[1].matches('M').count(), 3, "{}", paths[1]);
    assert!(texts(&svg, "tk").contains(&"1.00 (0.50 to 99.00)".to_string()));
}

#[test]
fn series_differ_by_dashes_or_texture_beside_color() {
    let lines = ["a", "b", "c"].map(|name| line(name, &[(0.0, 0.0), (1.0, 2.0), (2.0, 0.0)]));
    let svg = shown(figure(lines.to_vec()));
    assert!(svg.contains("stroke-dasharray=\"7 3\"") && svg.contains("stroke-dasharray=\"2 2.5\""));
    let bar =
        |name: &str, row: f64| Layer::Bars { series: name.into(), points: vec![(0.0, 1.0, row)] };
    let mut bars = figure(vec![bar("a", 0.0), bar("b", 1.0)]);
    bars.y = categories(&["r", "s"]);
    assert!(shown(bars).contains("fill=\"url(#figure-w-p1)\""));
}

#[test]
fn numbers_at_risk_stand_below_their_times() {
    let mut km = figure(vec![line("a", &[(0.0, 1.0), (100.0, 0.5)])]);
    km.x.range = Some((0.0, 100.0));
    km.at_risk =
        Some(AtRisk { times: vec![0.0, 40.0, 100.0], rows: vec![("a".into(), vec![9, 8, 7])] });
    let svg = shown(km);
    let tree = roxmltree::Document::parse(&svg).expect("SVG");
    let x_of = |text: &str| {
        let found =
            tree.descendants().find(|node| node.text() == Some(text) && node.has_tag_name("text"));
        found.and_then(|node| node.attribute("x")).map(String::from).expect(text)
    };
    assert_eq!([x_of("9"), x_of("8"), x_of("7")], [x_of("0"), x_of("40"), x_of("100")]);
}

#[test]
fn a_figure_without_data_says_so() {
    assert_eq!(texts(&shown(figure(Vec::new())), "tk").last().map(String::as_str), Some("No data"));
}

#[test]
fn cells_are_darker_the_more_and_a_missing_value_is_a_dash() {
    let points = vec![(0.0, 0.0, 0.0), (1.0, 0.0, 9.0), (0.0, 1.0, f64::NAN), (1.0, 1.0, 5.0)];
    let mut matrix = figure(vec![Layer::Cells { series: "n".into(), points }]);
    (matrix.x, matrix.y) = (categories(&["a", "b"]), categories(&["c", "d"]));
    let svg = shown(matrix);
    assert_eq!(texts(&svg, "ct g0"), ["0"]);
    assert_eq!(texts(&svg, "ct g8"), ["9"]);
    assert_eq!(texts(&svg, "ct g5"), ["5"]);
    assert_eq!(texts(&svg, "ct"), ["–"]);
}

/// Markers on lines: two solid series need them where a dashed one has a meaning of its own.
#[test]
fn lines_get_markers_where_dashes_have_a_meaning() {
    let points = [(0.0, 0.0), (1.0, 2.0), (2.0, 1.0)];
    let dashed = Layer::Line { series: "model".into(), points: points.to_vec(), dashed: true };
    let one = shown(figure(vec![line("a", &points), dashed.clone()]));
    assert!(!one.contains("class=\"mk"));
    let two = shown(figure(vec![line("a", &points), line("b", &points), dashed]));
    assert!(two.contains("class=\"mk s0\"") && two.contains("class=\"mk s1\""));
    assert!(!two.contains("class=\"mk s2\"") && two.contains("stroke-dasharray=\"5 4\""));
}

#[test]
fn marks_are_styled_without_regard_to_ancestors() {
    let css = include_str!("../src/assets/chart.css");
    for class in ["ln", "tn", "tn1", "bd", "ar", "ed", "mk"] {
        assert!(!css.contains(&format!(".chart .{class}")), "{class}");
        assert!(
            css.contains(&format!(".{class}{{")) || css.contains(&format!(".{class},")),
            "{class}"
        );
    }
}
