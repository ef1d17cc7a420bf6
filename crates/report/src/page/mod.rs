//! The report as one HTML page: nothing is loaded from elsewhere.

mod figure;
mod figure_data;
mod section;
mod summary;
mod table;

use crate::anchor::Anchors;
use crate::escape;
use analysis::document::Document;
use figure_data::DataBudget;

const LIGHT: &str = include_str!("../assets/light.css");
const DARK: &str = include_str!("../assets/dark.css");
const PAGE_STYLE: &str = include_str!("../assets/page.css");
const CHART_STYLE: &str = include_str!("../assets/chart.css");
const THEME_SCRIPT: &str = include_str!("../assets/theme.js");
const PAGE_SCRIPT: &str = include_str!("../assets/page.js");

/// No page of this form asks anything of a network.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'";

/// How the report was made, at the foot of the page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Colophon {
    /// Facts in their order: `Version`, `Study`, `Configuration digest`.
    pub facts: Vec<(String, String)>,
    /// The command that made the page; empty for none.
    pub command: String,
}

/// Numbers and identifiers given while a page is written.
struct PageState {
    anchors: Anchors,
    figures: usize,
    tables: usize,
    budget: DataBudget,
}

/// The document as one HTML page. The page holds the data of its figures to six significant digits,
/// up to a limit of size; the data of a figure beyond it are left out, and the page says so.
pub fn html(document: &Document, colophon: &Colophon) -> String {
    let mut state = PageState {
        anchors: Anchors::default(),
        figures: 0,
        tables: 0,
        budget: DataBudget::default(),
    };
    let ids: Vec<String> =
        document.sections.iter().map(|section| state.anchors.give("s", &section.id)).collect();
    let title = escape::xml(&document.title);
    let mut out = head(&title);
    out.push_str("<body>\n<a class=\"skip\" href=\"#main\">Skip to the report</a>\n");
    out.push_str("<div class=\"page\">\n<header>\n");
    out.push_str(&format!("<h1>{title}</h1>\n"));
    if !document.subtitle.is_empty() {
        out.push_str(&format!("<p class=\"subtitle\">{}</p>\n", escape::xml(&document.subtitle)));
    }
    out.push_str("<button type=\"button\" class=\"theme\" hidden>Theme</button>\n</header>\n");
    out.push_str("<main id=\"main\" tabindex=\"-1\">\n");
    summary::push(&mut out, document);
    section::push_contents(&mut out, document, &ids);
    for (section, id) in document.sections.iter().zip(&ids) {
        section::push(&mut out, &mut state, section, id);
    }
    out.push_str("</main>\n");
    push_foot(&mut out, colophon);
    out.push_str("</div>\n<script>\n");
    out.push_str(PAGE_SCRIPT);
    out.push_str("</script>\n</body>\n</html>\n");
    out
}

fn head(title: &str) -> String {
    let (light, dark) = (LIGHT.replace('\n', ""), DARK.replace('\n', ""));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n\
         <style>\n:root{{color-scheme:light;{light}}}\n\
         @media screen and (prefers-color-scheme:dark){{\
         :root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n\
         @media screen{{:root[data-theme=dark]{{color-scheme:dark;{dark}}}}}\n\
         {PAGE_STYLE}{CHART_STYLE}</style>\n<script>\n{THEME_SCRIPT}</script>\n</head>\n"
    )
}

fn push_foot(out: &mut String, colophon: &Colophon) {
    if colophon.facts.is_empty() && colophon.command.is_empty() {
        return;
    }
    out.push_str("<footer>\n<dl>\n");
    for (name, value) in &colophon.facts {
        let (name, value) = (escape::xml(name), escape::xml(value));
        out.push_str(&format!("<dt>{name}</dt><dd>{value}</dd>\n"));
    }
    if !colophon.command.is_empty() {
        let command = escape::xml(&colophon.command);
        out.push_str(&format!("<dt>Command</dt><dd><code>{command}</code></dd>\n"));
    }
    out.push_str("</dl>\n</footer>\n");
}

/// `<p>` of escaped text.
fn push_paragraph(out: &mut String, class: &str, text: &str) {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    out.push_str(&format!("<p{class}>{}</p>\n", escape::xml(text)));
}
