//! Sections and their contents list.

use super::{PageState, figure, push_paragraph, table};
use crate::escape;
use analysis::document::{Document, Section};

/// The contents list; `ids` are the anchors of the sections.
pub fn push_contents(out: &mut String, document: &Document, ids: &[String]) {
    if document.sections.is_empty() {
        return;
    }
    out.push_str(
        "<nav aria-labelledby=\"contents\"><div>\n<h2 id=\"contents\">Contents</h2>\n<ol>\n",
    );
    for (section, id) in document.sections.iter().zip(ids) {
        let title = escape::xml(&section.title);
        out.push_str(&format!("<li><a href=\"#{id}\">{title}</a></li>\n"));
    }
    out.push_str("</ol>\n</div></nav>\n");
}

pub fn push(out: &mut String, state: &mut PageState, section: &Section, id: &str) {
    let title = escape::xml(&section.title);
    out.push_str(&format!(
        "<section class=\"part\" id=\"{id}\" aria-labelledby=\"{id}-title\">\n\
         <h2 id=\"{id}-title\">{title}</h2>\n"
    ));
    for paragraph in &section.text {
        push_paragraph(out, "", paragraph);
    }
    for shown in &section.figures {
        figure::push(out, state, shown);
    }
    for shown in &section.tables {
        table::push(out, state, shown);
    }
    out.push_str("</section>\n");
}
