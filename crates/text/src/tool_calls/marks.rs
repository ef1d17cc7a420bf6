//! The marks that precede a call (`<tool_call>`, `<function=`), and tool names that precede the
//! arguments.
use super::json::first_value;
use serde_json::{Map, Value};

pub(super) const TOOL_CALL: &str = "<tool_call>";
const FUNCTION: &str = "<function=";
pub(super) const FENCE: &str = "```json";
const MARKS: [&str; 2] = [TOOL_CALL, FUNCTION];
pub(super) const MARK_BYTES_MAX: usize = TOOL_CALL.len();

/// The JSON objects that follow one mark.
pub(super) struct MarkedObjects {
    /// Byte offset of the mark.
    pub begin: usize,
    /// Byte offset of the end of the JSON value.
    pub end: usize,
    pub objects: Vec<Map<String, Value>>,
}

/// Byte offset of the first complete mark at or after `from`.
pub(super) fn first_mark(text: &str, from: usize) -> Option<usize> {
    MARKS.iter().filter_map(|mark| text[from..].find(mark)).min().map(|offset| from + offset)
}

/// Byte offset of an incomplete mark at the end of a text, which more text may complete.
pub(super) fn partial_mark(text: &str) -> Option<usize> {
    let partial = |mark: &&str| {
        let length = (1..mark.len()).rev().find(|length| text.ends_with(&mark[..*length]))?;
        Some(text.len() - length)
    };
    MARKS.iter().filter_map(partial).min()
}

/// Iterates over the marks of a text. The next position of each mark and of `>` is cached, so that
/// a text of nothing but marks takes linear time.
pub(super) struct MarkScanner<'a> {
    text: &'a str,
    at: usize,
    marks: [NextPlace; 2],
    close: NextPlace,
    /// Position of the last `>` that no JSON object follows. Several `<function=` may share this
    /// `>`, so it is not tried again.
    dead_close: Option<usize>,
}

impl<'a> MarkScanner<'a> {
    pub fn new(text: &'a str) -> Self {
        let (marks, close) = (MARKS.map(NextPlace::of), NextPlace::of(">"));
        MarkScanner { text, at: 0, marks, close, dead_close: None }
    }

    /// The next mark that JSON objects follow. The next search starts after the mark, unless
    /// [`skip_to`](MarkScanner::skip_to) moves its start.
    pub fn next(&mut self) -> Option<MarkedObjects> {
        loop {
            let (begin, mark) = self.next_mark()?;
            self.at = begin + mark.len();
            if let Some((objects, end)) = self.objects_behind(mark) {
                return Some(MarkedObjects { begin, end, objects });
            }
        }
    }

    /// Starts the next search at `at`, an offset after the last mark.
    pub fn skip_to(&mut self, at: usize) {
        self.at = at;
    }

    fn next_mark(&mut self) -> Option<(usize, &'static str)> {
        let (text, at) = (self.text, self.at);
        self.marks.iter_mut().filter_map(|mark| Some((mark.find_from(text, at)?, mark.of))).min()
    }

    /// The JSON objects that follow a mark that ends at `self.at`, and the byte offset of their
    /// end.
    fn objects_behind(&mut self, mark: &str) -> Option<(Vec<Map<String, Value>>, usize)> {
        if mark != FUNCTION {
            let (value, length) = first_value(&self.text[self.at..])?;
            return Some((objects_of(value)?, self.at + length));
        }
        let close = self.close.find_from(self.text, self.at)?;
        if self.dead_close == Some(close) {
            return None;
        }
        let name = self.text[self.at..close].trim();
        match first_value(&self.text[close + 1..]) {
            Some((Value::Object(arguments), length)) => {
                Some((vec![named_call(name, arguments)], close + 1 + length))
            }
            _ => {
                self.dead_close = Some(close);
                None
            }
        }
    }
}

/// The next occurrence of the text `of`, cached until the search has passed it.
struct NextPlace {
    of: &'static str,
    found: Option<usize>,
    searched: bool,
}

impl NextPlace {
    fn of(of: &'static str) -> Self {
        NextPlace { of, found: None, searched: false }
    }

    /// Offset of the first occurrence at or after `at`, which must not decrease between calls.
    fn find_from(&mut self, text: &str, at: usize) -> Option<usize> {
        if !self.searched || self.found.is_some_and(|found| found < at) {
            self.found = text[at..].find(self.of).map(|offset| at + offset);
            self.searched = true;
        }
        self.found
    }
}

/// The objects in a value: the value itself, or the objects of a list, nested lists included.
/// `None` if the value contains anything else.
pub(super) fn objects_of(value: Value) -> Option<Vec<Map<String, Value>>> {
    match value {
        Value::Array(items) => {
            let lists: Option<Vec<_>> = items.into_iter().map(objects_of).collect();
            lists.map(|lists| lists.into_iter().flatten().collect())
        }
        Value::Object(object) => Some(vec![object]),
        _ => None,
    }
}

/// A text without its surrounding code fence.
pub(super) fn without_fence(text: &str) -> &str {
    let Some(inner) = text.strip_prefix("```").and_then(|text| text.strip_suffix("```")) else {
        return text;
    };
    inner.strip_prefix("json").unwrap_or(inner).trim()
}

/// The name of a tool at the end of `before`, the text before the arguments. Some templates teach
/// this order: `<function=NAME>{...}` (Llama), `to=functions.NAME json{...}` (gpt-oss), and
/// `function NAME` with a code fence (DeepSeek, whose special tokens are not part of the text).
pub(super) fn name_before(before: &str) -> Option<&str> {
    let line = before.trim_end().trim_end_matches(FENCE).trim_end();
    // Neither a name nor the text between name and arguments has a brace, so an earlier object ends
    // the search: a line of many objects takes linear time.
    let line = line.rsplit(['\n', '}']).next().unwrap_or(line);
    [FUNCTION, "functions.", "function"].iter().find_map(|mark| {
        let after = line[line.rfind(mark)? + mark.len()..].trim_start();
        let length = after.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(after.len());
        let (name, rest) = after.split_at(length);
        let ends = ["", ">", "json", "<|constrain|>json", ">json"].contains(&rest.trim());
        (!name.is_empty() && ends).then_some(name)
    })
}

/// Combines a tool's name and its arguments, which were separate in the text, into a call's object.
pub(super) fn named_call(name: &str, arguments: Map<String, Value>) -> Map<String, Value> {
    Map::from_iter([
        ("name".to_owned(), Value::from(name)),
        ("arguments".to_owned(), Value::Object(arguments)),
    ])
}
