//! Patterns of model names.

/// Whether a name matches a pattern, in which `*` stands for any characters, also none, and `?` for
/// one. Letters match in either case, as hub names do.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.to_lowercase().chars().collect(), name.to_lowercase().chars().collect());
    let (mut at, mut of) = (0, 0);
    // Where to continue if the pattern after the last `*` does not match: that `*` takes one more
    // character.
    let mut retry: Option<(usize, usize)> = None;
    while of < name.len() {
        match pattern.get(at) {
            Some('*') => {
                retry = Some((at, of));
                at += 1;
            }
            Some(c) if *c == '?' || *c == name[of] => (at, of) = (at + 1, of + 1),
            _ => {
                let Some((star, taken)) = retry else { return false };
                retry = Some((star, taken + 1));
                (at, of) = (star + 1, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name, expected) in [
            ("Qwen/Qwen3-32B", "qwen/qwen3-32b", true),
            ("*70b*", "meta-llama/Llama-3.3-70B-Instruct", true),
            ("*70b", "meta-llama/Llama-3.3-70B-Instruct", false),
            ("*", "", true),
            ("", "a", false),
            ("a?c*", "abcd", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxab", true),
            ("*ab", "aab", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
