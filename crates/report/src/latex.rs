//! A table as LaTeX.

use crate::number;
use analysis::document::{Format, Table, Value};
use std::fmt::Write;

/// A table of more rows is set with `longtable`, which continues on the next page.
const ROWS_OF_A_PAGE: usize = 40;

/// The table in LaTeX with the rules of the package `booktabs`, its caption, the label
/// `tab:<id>` and its notes. Numbers are as the report shows them; no value is an en dash.
pub fn latex(table: &Table) -> String {
    let long = table.rows.len() > ROWS_OF_A_PAGE;
    let mut out = String::new();
    let packages = if long { "booktabs, longtable" } else { "booktabs" };
    line(&mut out, &format!("% Needs \\usepackage{{{packages}}}"));
    let align: String = table.columns.iter().map(|column| alignment(column.format)).collect();
    let caption = format!("\\caption{{{}}}", escape(&table.caption));
    let label = format!("\\label{{tab:{}}}", crate::anchor::file_name(&table.id));
    if long {
        line(&mut out, &format!("\\begin{{longtable}}{{{align}}}"));
        line(&mut out, &format!("{caption}{label}\\\\"));
    } else {
        line(&mut out, "\\begin{table}[htbp]\n\\centering");
        line(&mut out, &format!("{caption}\n{label}\n\\begin{{tabular}}{{{align}}}"));
    }
    line(&mut out, "\\toprule");
    let heads: Vec<String> = table.columns.iter().map(|column| escape(&column.label)).collect();
    line(&mut out, &row(&heads));
    line(
        &mut out,
        if long { "\\midrule\n\\endhead\n\\bottomrule\n\\endfoot" } else { "\\midrule" },
    );
    for values in &table.rows {
        let cells = table.columns.iter().zip(values);
        let cells: Vec<String> = cells.map(|(column, value)| cell(value, column.format)).collect();
        line(&mut out, &row(&cells));
    }
    if long {
        line(&mut out, "\\end{longtable}");
        push_notes(&mut out, &table.notes);
    } else {
        line(&mut out, "\\bottomrule\n\\end{tabular}");
        push_notes(&mut out, &table.notes);
        line(&mut out, "\\end{table}");
    }
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn alignment(format: Format) -> char {
    if format == Format::Text { 'l' } else { 'r' }
}

fn push_notes(out: &mut String, notes: &[String]) {
    if notes.is_empty() {
        return;
    }
    let notes: Vec<String> = notes.iter().map(|note| escape(note)).collect();
    line(out, &format!("\n\\smallskip\n{{\\footnotesize {}\\par}}", notes.join("\\\\\n")));
}

/// A row; a bracket at its begin would be read as the option of the `\\` before.
fn row(cells: &[String]) -> String {
    let cells = cells.join(" & ");
    let guard = if cells.starts_with(['[', '*']) { "{}" } else { "" };
    format!("{guard}{cells} \\\\")
}

fn cell(value: &Value, format: Format) -> String {
    match value {
        Value::Number(number) => number::shown(*number, format).map_or("--".into(), |s| escape(&s)),
        Value::Text(text) => escape(text),
        Value::None => "--".to_string(),
    }
}

/// Escapes text for LaTeX. Signs that the report itself writes become commands, other characters
/// beyond ASCII are left to the engine.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut before = ' ';
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\textbackslash{}"),
            '{' | '}' | '$' | '&' | '#' | '_' | '%' => {
                out.push('\\');
                out.push(c);
            }
            '^' => out.push_str("\\textasciicircum{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            '|' => out.push_str("\\textbar{}"),
            '"' => out.push_str("''"),
            // `--` and "?`" are ligatures.
            '-' if before == '-' => out.push_str("{}-"),
            '`' => out.push_str("{}`"),
            '\u{2212}' => out.push_str("$-$"),
            '–' => out.push_str("--"),
            '×' => out.push_str("$\\times$"),
            '∞' => out.push_str("$\\infty$"),
            '≤' => out.push_str("$\\leq$"),
            '≥' => out.push_str("$\\geq$"),
            '±' => out.push_str("$\\pm$"),
            '⁻' => out.push_str("\\textsuperscript{$-$}"),
            c if raised(c).is_some() => {
                // Cannot fail: a write to a string.
                let _ = write!(out, "\\textsuperscript{{{}}}", raised(c).unwrap_or(c));
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
        before = c;
    }
    out
}

/// The digit of a raised digit.
fn raised(c: char) -> Option<char> {
    let digit = match c {
        '⁰' => 0,
        '¹' => 1,
        '²' => 2,
        '³' => 3,
        '⁴'..='⁹' => u32::from(c) - u32::from('⁴') + 4,
        _ => return None,
    };
    char::from_digit(digit, 10)
}
