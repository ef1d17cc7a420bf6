//! Numbers as the page shows them, and tables as LaTeX and CSV.

mod common;

use analysis::document::{Format, Table, Value};
use common::{column, document, page, row};

/// The text of the only cell of a table in the page.
fn cell(value: f64, format: Format) -> String {
    let page = page(&document(Vec::new(), vec![row(&[(Value::Number(value), format)])]));
    let body = page.split("<tbody>").nth(1).expect("a table");
    let cell = body.split("<tr>").nth(1).and_then(|row| row.split("</t").next()).expect("a cell");
    cell.split_once('>').expect("an element").1.to_string()
}

#[test]
fn numbers_are_shown_in_the_format_of_their_column() {
    let cases = [
        (12_345.0, Format::Whole, "12,345"),
        (-3.0, Format::Whole, "−3"),
        (2.5, Format::Whole, "2.50000"),
        (0.123456, Format::Digits(3), "0.123"),
        (1234.5, Format::Digits(2), "1,234"),
        (9.996, Format::Digits(3), "10.0"),
        (1.234e-5, Format::Digits(3), "1.23 × 10⁻⁵"),
        (-6.02214e23, Format::Digits(3), "−6.02 × 10²³"),
        (0.0, Format::Digits(3), "0"),
        (-0.001, Format::Decimals(2), "0.00"),
        (1.005e3, Format::Decimals(1), "1,005.0"),
        (0.1234, Format::Percent, "12.3%"),
        (0.0312, Format::P, ".031"),
        (0.00099, Format::P, "&lt; .001"),
        (0.001, Format::P, ".001"),
        (0.9994, Format::P, ".999"),
        (0.9996, Format::P, "&gt; .999"),
        (1.0, Format::P, "&gt; .999"),
        (f64::INFINITY, Format::Decimals(2), "∞"),
        (f64::NEG_INFINITY, Format::Digits(2), "−∞"),
    ];
    for (value, format, expected) in cases {
        assert_eq!(cell(value, format), expected, "{value} as {format:?}");
    }
}

#[test]
fn a_p_value_outside_of_0_to_1_is_not_made_one() {
    assert_eq!(cell(1.5, Format::P), "1.50");
    assert_eq!(cell(-0.2, Format::P), "−0.200");
}

#[test]
fn no_value_is_a_dash_with_words_for_those_who_listen() {
    let values = [(Value::None, Format::P), (Value::Number(f64::NAN), Format::Whole)];
    let page = page(&document(Vec::new(), vec![row(&values)]));
    let dash = "<td class=\"n\"><span aria-hidden=\"true\">–</span>\
                <span class=\"hidden\">not available</span></td>";
    assert_eq!(page.matches(dash).count(), 2);
}

#[test]
fn a_text_in_the_first_column_heads_its_row() {
    let values =
        [(Value::Text("a".into()), Format::Text), (Value::Text("ref".into()), Format::Whole)];
    let page = page(&document(Vec::new(), vec![row(&values)]));
    assert!(page.contains("<tr><th scope=\"row\" class=\"s\">a</th><td class=\"n\">ref</td></tr>"));
    assert!(page.contains("<th scope=\"col\" class=\"n\">Label of c</th>"));
}

#[test]
fn latex_is_escaped_and_has_the_rules_of_booktabs() {
    let table = Table {
        id: "t4 cox".into(),
        caption: "50% of $x_1$ & {y}".into(),
        columns: vec![column("a", Format::Text), column("p", Format::P)],
        rows: vec![
            vec![Value::Text("[a] \\ b^2 ~ <c>|#--".into()), Value::Number(0.0002)],
            vec![Value::Text("−1 × 10⁻⁵".into()), Value::None],
        ],
        notes: vec!["One.".into(), "Two.".into()],
    };
    let expected = "\
% Needs \\usepackage{booktabs}
\\begin{table}[htbp]
\\centering
\\caption{50\\% of \\$x\\_1\\$ \\& \\{y\\}}
\\label{tab:t4_cox}
\\begin{tabular}{lr}
\\toprule
Label of a & Label of p \\\\
\\midrule
{}[a] \\textbackslash{} b\\textasciicircum{}2 \\textasciitilde{} \\textless{}c\\textgreater{}\
\\textbar{}\\#-{}- & \\textless{} .001 \\\\
$-$1 $\\times$ 10\\textsuperscript{$-$}\\textsuperscript{5} & -- \\\\
\\bottomrule
\\end{tabular}

\\smallskip
{\\footnotesize One.\\\\
Two.\\par}
\\end{table}
";
    assert_eq!(report::latex(&table), expected);
}

#[test]
fn a_long_table_continues_on_the_next_page_of_latex() {
    let mut table = row(&[(Value::Number(1.0), Format::Whole)]);
    table.rows = vec![vec![Value::Number(1.0)]; 41];
    let latex = report::latex(&table);
    assert!(
        latex.starts_with("% Needs \\usepackage{booktabs, longtable}\n\\begin{longtable}{r}\n")
    );
    assert_eq!(latex.matches("1 \\\\\n").count(), 41);
    assert!(latex.ends_with("\\end{longtable}\n"));
}

#[test]
fn csv_has_all_digits_and_quotes_what_needs_quotes() {
    let mut table = row(&[
        (Value::Number(0.1 + 0.2), Format::Decimals(1)),
        (Value::Text("a,\"b\"\nc".into()), Format::Text),
        (Value::Text(String::new()), Format::Text),
        (Value::None, Format::Text),
        (Value::Number(f64::NAN), Format::Text),
        (Value::Number(f64::NEG_INFINITY), Format::Text),
        (Value::Number(3.0), Format::Text),
        (Value::Number(1e-300), Format::Text),
    ]);
    for (at, column) in table.columns.iter_mut().enumerate() {
        column.name = format!("c{at}");
    }
    table.columns[1].name = "c,1".into();
    let expected = "c0,\"c,1\",c2,c3,c4,c5,c6,c7\r\n\
                    0.30000000000000004,\"a,\"\"b\"\"\nc\",\"\",,,-inf,3,1e-300\r\n";
    assert_eq!(report::csv(&table), expected);
}

#[test]
fn json_is_the_document_with_its_schema() {
    let document = document(Vec::new(), vec![row(&[(Value::Number(0.1), Format::P)])]);
    let json: serde_json::Value = serde_json::from_str(&report::json(&document)).expect("JSON");
    assert_eq!(json["schema"], "vendomini.analysis/1");
    assert_eq!(json["title"], "Title");
    assert_eq!(json["sections"][0]["tables"][0]["rows"][0][0], 0.1);
    assert_eq!(json["sections"][0]["tables"][0]["columns"][0]["format"], "p");
}
