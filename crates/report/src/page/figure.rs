//! A figure of the document in the page, with its data and its command.

use super::figure_data::{LayerData, json, layer_data, named_axis, used_columns};
use super::table::NO_VALUE;
use super::{PageState, push_paragraph};
use crate::anchor::file_name;
use crate::chart::{category, drawn};
use crate::{escape, number};
use analysis::document::{AtRisk, Figure};

/// Rows of data that the page shows; the file has all.
const ROWS_SHOWN: usize = 60;

pub fn push(out: &mut String, state: &mut PageState, figure: &Figure) {
    state.figures += 1;
    let number = state.figures;
    let id = state.anchors.give("f", &figure.id);
    let drawn = drawn(figure, &id);
    out.push_str(&format!(
        "<div class=\"figure\" id=\"{id}\">\n<figure aria-labelledby=\"{id}-title\">\n\
         <h3 id=\"{id}-title\"><span class=\"number\">Figure {number}.</span> {}</h3>\n",
        escape::xml(&figure.title)
    ));
    out.push_str(&drawn.wide);
    out.push('\n');
    out.push_str(&drawn.narrow);
    out.push_str(&format!(
        "\n<figcaption>{}</figcaption>\n</figure>\n",
        escape::xml(&figure.caption)
    ));
    for note in &drawn.notes {
        push_paragraph(out, "omitted", note);
    }
    out.push_str(&format!(
        "<details>\n<summary>Data and command<span class=\"hidden\"> of figure {number}</span>\
         </summary>\n"
    ));
    push_command(out, figure, &id, number);
    push_data(out, state, figure, &id);
    out.push_str("</details>\n</div>\n");
}

fn push_command(out: &mut String, figure: &Figure, id: &str, number: usize) {
    if figure.command.is_empty() {
        return;
    }
    out.push_str(&format!(
        "<div class=\"command\"><pre tabindex=\"0\" aria-label=\"Command of figure {number}\">\
         <code id=\"{id}-command\">{}</code></pre>\
         <button type=\"button\" data-copy=\"{id}-command\" hidden>Copy</button></div>\n",
        escape::xml(&figure.command)
    ));
}

fn push_data(out: &mut String, state: &mut PageState, figure: &Figure, id: &str) {
    let layers: Vec<LayerData<'_>> = figure.layers.iter().map(layer_data).collect();
    let rows: usize = layers.iter().map(LayerData::len).sum();
    let number = state.figures;
    out.push_str("<div class=\"data\">\n");
    push_rows(out, figure, &layers, number);
    if let Some(at_risk) = &figure.at_risk {
        push_at_risk(out, at_risk, number);
    }
    let shown = if rows > ROWS_SHOWN {
        format!("The first {ROWS_SHOWN} of {} rows. ", number::fixed(rows as f64, 0))
    } else {
        String::new()
    };
    let digits = "Six significant digits; analysis.json has all digits.";
    match state.budget.take(json(figure, &layers)) {
        Some(data) => {
            push_paragraph(out, "notes", &format!("{shown}{digits}"));
            out.push_str(&format!(
                "<div class=\"actions\"><button type=\"button\" data-source=\"{id}-data\" \
                 data-file=\"{}.csv\" hidden>CSV<span class=\"hidden\"> of figure {number}</span>\
                 </button></div>\n\
                 <script type=\"application/json\" id=\"{id}-data\">{data}</script>\n",
                file_name(&figure.id)
            ));
        }
        None => {
            let left_out = "All rows are in analysis.json: too many for this page.";
            push_paragraph(out, "notes", &format!("{shown}{left_out}"));
        }
    }
    out.push_str("</div>\n");
}

/// The first rows of the data as a table.
fn push_rows(out: &mut String, figure: &Figure, layers: &[LayerData<'_>], number: usize) {
    let columns = used_columns(layers);
    out.push_str(&format!(
        "<div class=\"region long\" role=\"region\" tabindex=\"0\" \
         aria-label=\"Data of figure {number}\">\n<table>\n<thead><tr><th scope=\"col\">kind</th>\
         <th scope=\"col\">series</th>"
    ));
    for column in &columns {
        let class = if named_axis(figure, column).is_some() { "" } else { " class=\"n\"" };
        out.push_str(&format!("<th scope=\"col\"{class}>{}</th>", column.replace('_', " ")));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    let all = layers.iter().flat_map(|layer| (0..layer.len()).map(move |at| (layer, at)));
    for (layer, at) in all.take(ROWS_SHOWN) {
        let series = escape::xml(layer.series);
        out.push_str(&format!("<tr><td>{}</td><td>{series}</td>", layer.kind));
        for name in &columns {
            let values = layer.columns.iter().find(|(column, _)| column == name);
            push_value(out, figure, name, values.map(|(_, values)| values[at]));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
}

fn push_value(out: &mut String, figure: &Figure, column: &str, value: Option<f64>) {
    let Some(value) = value else {
        return out.push_str("<td></td>");
    };
    if let Some(axis) = named_axis(figure, column) {
        return out.push_str(&format!("<td>{}</td>", escape::xml(&category(axis, value))));
    }
    let shown = if value.is_nan() { NO_VALUE.to_string() } else { number::plain(value, 6) };
    out.push_str(&format!("<td class=\"n\">{shown}</td>"));
}

fn push_at_risk(out: &mut String, at_risk: &AtRisk, number: usize) {
    out.push_str(&format!(
        "<div class=\"region\" role=\"region\" tabindex=\"0\" \
         aria-label=\"Numbers at risk of figure {number}\">\n<table>\n<caption><span>At risk</span>\
         </caption>\n<thead><tr><th scope=\"col\">series</th>"
    ));
    for time in &at_risk.times {
        let time = number::plain(*time, 6);
        out.push_str(&format!("<th scope=\"col\" class=\"n\">{time}</th>"));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (name, numbers) in &at_risk.rows {
        out.push_str(&format!("<tr><th scope=\"row\">{}</th>", escape::xml(name)));
        for count in numbers {
            out.push_str(&format!("<td class=\"n\">{}</td>", number::fixed(*count as f64, 0)));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
}
