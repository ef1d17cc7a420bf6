//! The first screen: the answer, and what cannot be concluded.

use super::push_paragraph;
use crate::escape;
use analysis::document::{Document, Severity};

pub fn push(out: &mut String, document: &Document) {
    out.push_str("<section class=\"answer\" aria-labelledby=\"answer\">\n");
    out.push_str("<h2 id=\"answer\" class=\"hidden\">Answer</h2>\n");
    for sentence in &document.answer {
        push_paragraph(out, "", sentence);
    }
    let errors = document.refusals.iter().filter(|r| r.severity == Severity::Error).count();
    if errors > 0 {
        let reasons = if errors == 1 { "1 reason" } else { &*format!("{errors} reasons") };
        out.push_str(&format!(
            "<p class=\"status error\">This answer cannot be relied on: \
             <a href=\"#refusals\">{reasons}</a>.</p>\n"
        ));
    }
    out.push_str("</section>\n");
    push_refusals(out, document);
}

fn push_refusals(out: &mut String, document: &Document) {
    out.push_str("<section class=\"refusals\" aria-labelledby=\"refusals\">\n");
    out.push_str("<h2 id=\"refusals\">What cannot be concluded</h2>\n");
    if document.refusals.is_empty() {
        push_paragraph(out, "why", "No check of this report refuses a conclusion.");
        out.push_str("</section>\n");
        return;
    }
    out.push_str("<ul>\n");
    for refusal in &document.refusals {
        let (class, tag) = match refusal.severity {
            Severity::Error => ("error", "Error"),
            Severity::Warning => ("warning", "Caution"),
        };
        out.push_str(&format!(
            "<li class=\"{class}\"><p class=\"what\"><span class=\"tag\">{tag}.</span> {}</p>\n\
             <p class=\"why\">{}</p></li>\n",
            escape::xml(&refusal.what),
            escape::xml(&refusal.why)
        ));
    }
    out.push_str("</ul>\n</section>\n");
}
