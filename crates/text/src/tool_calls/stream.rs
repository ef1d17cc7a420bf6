//! [`ContentStream`]: the part of a growing reply that no later text can turn into a call.
use super::marks::{MARK_BYTES_MAX, first_mark, partial_mark};
use super::parse::{FoundCall, parse};
use super::reasoning::REASONING_END;
use super::syntax::CallSyntax;

/// Returns a reply's content as the reply grows, and holds back text that may be a call under
/// [`CallSearch::Marked`](super::CallSearch::Marked).
#[derive(Debug, Default)]
pub struct ContentStream {
    reply: String,
    /// Number of bytes of the reply that were returned.
    sent: usize,
    /// Byte offset of the answer: the end of the last `</think>`.
    answer_at: usize,
    /// Byte offset of the first mark in the answer.
    mark: Option<usize>,
    /// Byte offset before which no mark begins in the answer.
    searched: usize,
}

impl ContentStream {
    /// Appends text; returns the content that can no longer become part of a call, if any.
    pub fn push(&mut self, more: &str) -> Option<&str> {
        let before = self.reply.len();
        self.reply.push_str(more);
        let from = self.boundary_before(before, REASONING_END.len());
        if let Some(at) = self.reply[from..].rfind(REASONING_END) {
            self.answer_at = from + at + REASONING_END.len();
            (self.mark, self.searched) = (None, self.answer_at);
        }
        if self.mark.is_none() {
            self.mark = first_mark(&self.reply, self.searched);
            let next = self.boundary_before(self.reply.len(), MARK_BYTES_MAX);
            self.searched = self.searched.max(next);
        }
        let certain = self.certain();
        if certain <= self.sent {
            return None;
        }
        let from = std::mem::replace(&mut self.sent, certain);
        Some(&self.reply[from..certain])
    }

    /// At the end of the reply: returns the content that was not returned yet, and the calls.
    pub fn finish(&self, syntax: &CallSyntax) -> (&str, Vec<FoundCall>) {
        let parsed = parse(&self.reply, syntax);
        (parsed.content.get(self.sent..).unwrap_or_default(), parsed.calls)
    }

    /// The earliest character boundary at which a text of `bytes` bytes can begin that ends after
    /// `at`.
    fn boundary_before(&self, at: usize, bytes: usize) -> usize {
        let mut from = at.saturating_sub(bytes - 1);
        while !self.reply.is_char_boundary(from) {
            from -= 1;
        }
        from
    }

    /// Number of bytes of the reply that are content, whatever text follows.
    fn certain(&self) -> usize {
        let answer = &self.reply[self.answer_at..];
        let blank = answer.len() - answer.trim_start().len();
        // If the whole answer may be calls, whitespace before them is not content yet.
        if blank == answer.len() || answer[blank..].starts_with(['{', '[', '`']) {
            return self.answer_at;
        }
        let mark = self.mark.map(|mark| mark - self.answer_at).or_else(|| partial_mark(answer));
        // Whitespace at the end is held back: it is dropped if a call follows.
        self.answer_at + answer[..mark.unwrap_or(answer.len())].trim_end().len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::marks::{first_mark, partial_mark};
    use super::*;

    /// As [`ContentStream::certain`], but searches the whole reply again.
    fn certain_by_rescan(reply: &str) -> usize {
        let at = reply.rfind(REASONING_END).map_or(0, |at| at + REASONING_END.len());
        let answer = &reply[at..];
        let text = answer.trim_start();
        if text.is_empty() || text.starts_with(['{', '[', '`']) {
            return at;
        }
        let end = first_mark(answer, 0).or_else(|| partial_mark(answer)).unwrap_or(answer.len());
        at + answer[..end].trim_end().len()
    }

    #[test]
    fn content_is_certain_up_to_where_a_call_may_begin() {
        for (reply, content) in [
            ("Hello there", "Hello there"),
            ("Hello\n<tool_c", "Hello"),
            ("Hello <b>", "Hello <b>"),
            ("  {\"name\"", ""),
            ("<think>a</think> [", "<think>a</think>"),
            ("a <tool_call>{} b", "a"),
        ] {
            assert_eq!(
                ContentStream::default().push(reply).unwrap_or_default(),
                content,
                "{reply}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn the_content_does_not_depend_on_how_a_reply_is_cut(
            parts in proptest::collection::vec("<tool_call>|<function=|</think>|<think>|\\{\"name\": \"a\"\\}|[ \n<>{é😀a-f/]{0,4}", 0..12),
            size in 1_usize..12,
        ) {
            let reply = parts.concat();
            let (mut stream, mut sent, mut from) = (ContentStream::default(), String::new(), 0);
            let mut longest = 0;
            while from < reply.len() {
                let mut to = (from + size).min(reply.len());
                while !reply.is_char_boundary(to) { to += 1; }
                sent.push_str(stream.push(&reply[from..to]).unwrap_or_default());
                longest = longest.max(certain_by_rescan(&reply[..to]));
                proptest::prop_assert_eq!(&sent, &reply[..longest]);
                from = to;
            }
        }
    }
}
