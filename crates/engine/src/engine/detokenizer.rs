//! Incremental detokenization with stop strings, as vLLM's `IncrementalDetokenizer`.

use text::{StreamDecoder, TextError, Tokenizer};

/// Turns output tokens into text; holds back text that may be the beginning of a stop string.
pub(super) struct Detokenizer {
    decoder: Option<StreamDecoder>,
    stop_strings: Vec<String>,
    /// The end of the text, held back because it may be the beginning of a stop string, or because
    /// newlines at the end are dropped.
    held: String,
    /// Whether newlines at the beginning are dropped, until other text follows.
    trims_start: bool,
    /// Whether newlines at the end are dropped.
    trims_end: bool,
}

/// The text that became final with a token.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct DetokenizedText {
    /// Final text.
    pub text: String,
    /// Whether a stop string was found; `text` is then the text before it.
    pub stopped: bool,
}

impl Detokenizer {
    pub fn new(tokenizer: Option<&Tokenizer>, stop_strings: Vec<String>) -> Self {
        let decoder = tokenizer.cloned().map(StreamDecoder::new);
        Detokenizer {
            decoder,
            stop_strings,
            held: String::new(),
            trims_start: false,
            trims_end: false,
        }
    }

    /// A detokenizer without stop strings that drops newlines at the beginning and at the end.
    pub fn trimming(tokenizer: Option<&Tokenizer>) -> Self {
        Detokenizer { trims_start: true, trims_end: true, ..Self::new(tokenizer, Vec::new()) }
    }

    /// Drops the newlines at the beginning of the text that follows.
    pub fn trim_start(&mut self) {
        self.trims_start = true;
    }

    pub fn push(&mut self, token: u32) -> Result<DetokenizedText, TextError> {
        let Some(decoder) = &mut self.decoder else { return Ok(DetokenizedText::default()) };
        let text = decoder.push(token)?;
        Ok(self.add(&text))
    }

    /// Ends the text; returns the text that was held back.
    pub fn finish(&mut self) -> DetokenizedText {
        let rest = self.decoder.as_mut().map(StreamDecoder::finish).unwrap_or_default();
        let mut added = self.add(&rest);
        let held = std::mem::take(&mut self.held);
        if !added.stopped && !self.trims_end {
            added.text.push_str(&held);
        }
        added
    }

    fn add(&mut self, text: &str) -> DetokenizedText {
        let text = if self.trims_start { text.trim_start_matches('\n') } else { text };
        self.trims_start &= text.is_empty();
        self.held.push_str(text);
        // Among several stop strings, the one that begins first ends the text.
        let starts = self.stop_strings.iter().filter_map(|stop| self.held.find(stop.as_str()));
        if let Some(start) = starts.min() {
            self.held.truncate(start);
            return DetokenizedText { text: std::mem::take(&mut self.held), stopped: true };
        }
        let newlines = match self.trims_end {
            true => self.held.len() - self.held.trim_end_matches('\n').len(),
            false => 0,
        };
        let rest = self.held.split_off(self.held.len() - self.stop_prefix_bytes().max(newlines));
        DetokenizedText { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }

    /// Length in bytes of the longest suffix of `held` that is a proper prefix of a stop string.
    fn stop_prefix_bytes(&self) -> usize {
        let longest = |stop: &String| {
            let ends = stop.char_indices().map(|(index, _)| index).rev();
            ends.into_iter().find(|&end| self.held.ends_with(&stop[..end])).unwrap_or(0)
        };
        self.stop_strings.iter().map(longest).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detokenize(stops: &[&str], texts: &[&str]) -> (Vec<String>, bool) {
        let mut out = Detokenizer::new(None, stops.iter().map(|&stop| stop.to_owned()).collect());
        let mut added_texts = Vec::new();
        for text in texts {
            let added = out.add(text);
            added_texts.push(added.text);
            if added.stopped {
                return (added_texts, true);
            }
        }
        added_texts.push(out.finish().text);
        (added_texts, false)
    }

    #[test]
    fn newlines_at_the_ends_are_dropped() {
        let mut out = Detokenizer::trimming(None);
        let mut add = |text: &str| out.add(text).text;
        assert_eq!([add("\n"), add("\n a\n"), add("\nb\n"), add("\n")], ["", " a", "\n\nb", ""]);
        assert_eq!(out.finish().text, "");
        let mut out = Detokenizer::new(None, vec!["\n\n".to_owned()]);
        out.trim_start();
        assert!(!out.add("\n\n").stopped, "newlines before the answer are no stop string");
        assert!(out.add("a\n\n").stopped);
    }

    #[test]
    fn text_without_stop_strings_is_not_held_back() {
        assert_eq!(detokenize(&[], &["a", "b"]), (vec!["a".into(), "b".into(), "".into()], false));
    }

    #[test]
    fn a_stop_string_ends_the_text_across_tokens() {
        assert_eq!(
            detokenize(&["END"], &["one E", "N", "D two"]),
            (vec!["one ".into(), "".into(), "".into()], true)
        );
        assert_eq!(
            detokenize(&["\n\n", "b"], &["a\n", "\nb"]),
            (vec!["a".into(), "".into()], true)
        );
    }

    #[test]
    fn text_that_did_not_become_a_stop_string_follows_later() {
        assert_eq!(
            detokenize(&["END"], &["xE", "Ny"]),
            (vec!["x".into(), "ENy".into(), "".into()], false)
        );
        assert_eq!(detokenize(&["END"], &["xEN"]), (vec!["x".into(), "EN".into()], false));
        assert_eq!(detokenize(&["aab"], &["aa", "ab!"]), (vec!["".into(), "a".into()], true));
        assert_eq!(
            detokenize(&["é!"], &["é", "?"]),
            (vec!["".into(), "é?".into(), "".into()], false)
        );
    }
}
