//! Tests of one question each, corrected within their families.

use super::context::Findings;
use super::sheet::table;
use crate::document::{Format, Section};
use crate::inference::holm_by_family;

pub fn section(findings: &mut Findings) {
    let columns = [
        ("family", "family", Format::Text),
        ("test", "test", Format::Text),
        ("p", "p", Format::P),
        ("p_adjusted", "p, Holm", Format::P),
        ("family_size", "tests", Format::Whole),
    ];
    let mut sheet = table("families", "Corrections for several tests", &columns);
    // Every p-value is one of a test, and so in [0, 1].
    for test in holm_by_family(&findings.tests).unwrap_or_default() {
        sheet.rows.push(vec![
            test.family.into(),
            test.name.into(),
            test.p.into(),
            test.p_adjusted.into(),
            test.family_size.into(),
        ]);
    }
    if sheet.rows.is_empty() {
        return;
    }
    findings.sections.push(Section {
        id: "families".into(),
        title: "Several tests".into(),
        text: vec![
            "Each family asks one question several times: Holm's correction holds the chance of any \
             false positive within it. The two estimates of the answer are no family: they are \
             declared as primary, and stand alone."
                .into(),
        ],
        tables: vec![sheet],
        figures: Vec::new(),
    });
}
