//! A table of the document in the page.

use super::PageState;
use crate::anchor::file_name;
use crate::csv::csv;
use crate::{escape, number};
use analysis::document::{Format, Table, Value};

/// A table with more rows scrolls inside of its own region.
const ROWS_SHOWN_AT_ONCE: usize = 24;
/// Bytes of text from which a column breaks lines, and from which it is wide.
const MEDIUM_TEXT: usize = 24;
const LONG_TEXT: usize = 40;

pub fn push(out: &mut String, state: &mut PageState, table: &Table) {
    state.tables += 1;
    let number = state.tables;
    let id = state.anchors.give("t", &table.id);
    let long = if table.rows.len() > ROWS_SHOWN_AT_ONCE { " long" } else { "" };
    out.push_str(&format!(
        "<div class=\"table\" id=\"{id}\">\n\
         <div class=\"region{long}\" role=\"region\" tabindex=\"0\" \
         aria-label=\"Table {number}\">\n\
         <table>\n<caption><span><span class=\"title\">\
         <span class=\"number\">Table {number}.</span> {}</span></span></caption>\n",
        escape::xml(&table.caption)
    ));
    push_head(out, table);
    out.push_str("<tbody>\n");
    let classes: Vec<&str> = (0..table.columns.len()).map(|at| class(table, at)).collect();
    for row in &table.rows {
        out.push_str("<tr>");
        for (at, column) in table.columns.iter().enumerate() {
            let value = row.get(at).unwrap_or(&Value::None);
            push_cell(out, value, column.format, at == 0, classes[at]);
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
    push_notes(out, table);
    out.push_str(&format!(
        "<div class=\"actions\"><button type=\"button\" data-source=\"{id}-data\" \
         data-file=\"{}.csv\" hidden>CSV<span class=\"hidden\"> of table {number}</span></button>\
         </div>\n<script type=\"application/json\" id=\"{id}-data\">{}</script>\n</div>\n",
        file_name(&table.id),
        escape::script_json(&serde_json::Value::from(csv(table)).to_string())
    ));
}

fn push_head(out: &mut String, table: &Table) {
    out.push_str("<thead><tr>");
    for column in &table.columns {
        let class = if column.format == Format::Text { "" } else { " class=\"n\"" };
        out.push_str(&format!("<th scope=\"col\"{class}>{}</th>", escape::xml(&column.label)));
    }
    out.push_str("</tr></thead>\n");
}

/// The class of a column's cells: numbers, or texts by the length of the longest.
fn class(table: &Table, at: usize) -> &'static str {
    if table.columns[at].format != Format::Text {
        return " class=\"n\"";
    }
    let length = |row: &Vec<Value>| match row.get(at) {
        Some(Value::Text(text)) => text.len(),
        _ => 0,
    };
    match table.rows.iter().map(length).max().unwrap_or(0) {
        LONG_TEXT.. => " class=\"w\"",
        MEDIUM_TEXT.. => " class=\"m\"",
        _ => " class=\"s\"",
    }
}

/// A cell; a text in the first column is the head of its row.
fn push_cell(out: &mut String, value: &Value, format: Format, first: bool, class: &str) {
    let text = match value {
        Value::Number(number) => number::shown(*number, format),
        Value::Text(text) => Some(text.clone()),
        Value::None => None,
    };
    let content = match text {
        Some(text) => escape::xml(&text),
        None => NO_VALUE.to_string(),
    };
    if first && format == Format::Text {
        out.push_str(&format!("<th scope=\"row\"{class}>{content}</th>"));
    } else {
        out.push_str(&format!("<td{class}>{content}</td>"));
    }
}

/// What stands for no value: a dash for the eye, words for the ear.
pub const NO_VALUE: &str =
    "<span aria-hidden=\"true\">–</span><span class=\"hidden\">not available</span>";

fn push_notes(out: &mut String, table: &Table) {
    if table.notes.is_empty() {
        return;
    }
    out.push_str("<ul class=\"notes\">\n");
    for note in &table.notes {
        out.push_str(&format!("<li>{}</li>\n", escape::xml(note)));
    }
    out.push_str("</ul>\n");
}
