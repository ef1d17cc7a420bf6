//! Finds the known word that is closest to a misspelled one.

/// The word in `known` that is most similar to `word`; `None` if none is similar enough to be
/// meant.
pub fn closest_word<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let part = |known: &str| word.len() >= 3 && (known.contains(&word) || word.contains(known));
    // Rank: at most one typo first, then one word contained in the other, then several typos.
    let scored = known.into_iter().map(|k| {
        let changes = distance(&word, &k.to_ascii_lowercase());
        let rank = if changes <= 1 { 0 } else { 2 - u8::from(part(k)) };
        (rank, changes, k)
    });
    let (rank, changes, best) = scored.min()?;
    (rank < 2 || changes <= 1 + word.len() / 3).then_some(best)
}

/// Levenshtein distance: the number of insertions, deletions and replacements that turn one word
/// into the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::closest_word;

    #[test]
    fn slips_are_recognized_and_strangers_are_not() {
        let known = ["memory", "free", "bandwidth", "name"];
        assert_eq!(closest_word("memroy", known), Some("memory"));
        assert_eq!(closest_word("band", known), Some("bandwidth"));
        assert_eq!(closest_word("low_1", ["low", "low_0"]), Some("low_0"));
        assert_eq!(closest_word("zebra", known), None);
    }
}
