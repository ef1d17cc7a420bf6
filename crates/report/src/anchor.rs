//! Anchors of a page: identifiers of letters, digits, `-` and `_`, each used once.

use std::collections::BTreeSet;

/// The identifiers given so far.
#[derive(Default)]
pub struct Anchors {
    given: BTreeSet<String>,
}

impl Anchors {
    /// An identifier from the stable name of a part of the document: `f-km_by_dose`. A second part
    /// of that name gets a number.
    pub fn give(&mut self, prefix: &str, name: &str) -> String {
        let base = format!("{prefix}-{}", file_name(name));
        let mut anchor = base.clone();
        let mut copy = 2;
        while !self.given.insert(anchor.clone()) {
            anchor = format!("{base}-{copy}");
            copy += 1;
        }
        anchor
    }
}

/// A name for a file or an identifier: other characters than letters and digits of ASCII, `-` and
/// `_` become `_`.
pub fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    name.chars().map(plain).collect()
}
