//! Tests of one question each, corrected within their families.

use super::context::{Findings, StudyContext};
use super::sheet::table;
use crate::document::{Format, Section};
use crate::inference::{FamilyTest, holm_by_family};
use std::collections::BTreeMap;

pub fn section(context: &StudyContext<'_>, findings: &mut Findings) {
    let columns = [
        ("family", "family", Format::Text),
        ("test", "test", Format::Text),
        ("p", "p", Format::P),
        ("p_adjusted", "p, Holm", Format::P),
        ("family_size", "tests", Format::Whole),
    ];
    let declared = declared(context);
    let in_family = |test: &FamilyTest| FamilyTest {
        family: declared.get(test.family.as_str()).map_or(&test.family, |family| family).clone(),
        ..test.clone()
    };
    let tests: Vec<FamilyTest> = findings.tests.iter().map(in_family).collect();
    let mut sheet = table("families", "Corrections for several tests", &columns);
    // Every p-value is one of a test, and so in [0, 1].
    for test in holm_by_family(&tests).unwrap_or_default() {
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
            "Holm's correction holds the chance of any false positive within a family. The two \
             estimates of the answer are no family: they are declared as primary, and stand alone."
                .into(),
            if declared.is_empty() {
                "The configuration declares no families (analysis.families): each group of tests \
                 that asks one question is one."
                    .into()
            } else {
                "Families are those that the configuration declared before the runs \
                 (analysis.families); groups that it does not name are families of their own."
                    .into()
            },
        ],
        tables: vec![sheet],
        figures: Vec::new(),
    });
}

/// The declared family of each group. Studies that declare different ones have none together:
/// which of them holds would be a choice after the data.
fn declared<'a>(context: &StudyContext<'a>) -> BTreeMap<&'a str, String> {
    let Some(first) = context.studies.first() else { return BTreeMap::new() };
    if context.studies.iter().any(|study| study.families != first.families) {
        return BTreeMap::new();
    }
    let groups = first
        .families
        .iter()
        .flat_map(|(family, groups)| groups.iter().map(|group| (group.as_str(), family.clone())));
    groups.collect()
}
