//! The marks that precede a call, and names in front of a call's arguments.
use super::json::first_value;
use serde_json::{Map, Value};

pub(super) const TOOL_CALL: &str = "<tool_call>";
const FUNCTION: &str = "<function=";
pub(super) const FENCE: &str = "```json";
const MARKS: [&str; 2] = [TOOL_CALL, FUNCTION];
pub(super) const MARK_BYTES_MAX: usize = TOOL_CALL.len();

/// The objects behind one mark.
pub(super) struct MarkedObjects {
    /// Offset of the mark.
    pub begin: usize,
    /// Offset behind the JSON value.
    pub end: usize,
    pub objects: Vec<Map<String, Value>>,
}

/// Offset of the first whole mark from `from` on.
pub(super) fn first_mark(text: &str, from: usize) -> Option<usize> {
    MARKS.iter().filter_map(|mark| text[from..].find(mark)).min().map(|offset| from + offset)
}

/// Offset where the end of a text may grow into a mark.
pub(super) fn partial_mark(text: &str) -> Option<usize> {
    let partial = |mark: &&str| {
        let length = (1..mark.len()).rev().find(|length| text.ends_with(&mark[..*length]))?;
        Some(text.len() - length)
    };
    MARKS.iter().filter_map(partial).min()
}

/// Walks through the marks of a text. It remembers the next place of each mark and of `>`, so that
/// a text of nothing but marks takes linear time.
pub(super) struct MarkScanner<'a> {
    text: &'a str,
    at: usize,
    marks: [NextPlace; 2],
    close: NextPlace,
    /// The last `>` with no object behind it: several `<function=` may share one.
    dead_close: Option<usize>,
}

impl<'a> MarkScanner<'a> {
    pub fn new(text: &'a str) -> Self {
        let (marks, close) = (MARKS.map(NextPlace::of), NextPlace::of(">"));
        MarkScanner { text, at: 0, marks, close, dead_close: None }
    }

    /// The next mark with JSON objects behind it. The search goes on behind the mark, unless
    /// [`skip_to`](MarkScanner::skip_to) moves it.
    pub fn next(&mut self) -> Option<MarkedObjects> {
        loop {
            let (begin, mark) = self.next_mark()?;
            self.at = begin + mark.len();
            if let Some((objects, end)) = self.objects_behind(mark) {
                return Some(MarkedObjects { begin, end, objects });
            }
        }
    }

    /// Goes on at an offset behind the last mark.
    pub fn skip_to(&mut self, at: usize) {
        self.at = at;
    }

    fn next_mark(&mut self) -> Option<(usize, &'static str)> {
        let (text, at) = (self.text, self.at);
        self.marks.iter_mut().filter_map(|mark| Some((mark.find_from(text, at)?, mark.of))).min()
    }

    /// The objects behind a mark that ends at `self.at`, and the offset behind their JSON.
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

/// The next occurrence of a text, remembered until the search has passed it.
struct NextPlace {
    of: &'static str,
    found: Option<usize>,
    searched: bool,
}

impl NextPlace {
    fn of(of: &'static str) -> Self {
        NextPlace { of, found: None, searched: false }
    }

    /// The first occurrence at `at` or later; `at` never decreases.
    fn find_from(&mut self, text: &str, at: usize) -> Option<usize> {
        if !self.searched || self.found.is_some_and(|found| found < at) {
            self.found = text[at..].find(self.of).map(|offset| at + offset);
            self.searched = true;
        }
        self.found
    }
}

/// The objects of a value: itself, or those of a list, however nested. `None` where it holds
/// anything else.
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

/// A text without the code fence around it.
pub(super) fn without_fence(text: &str) -> &str {
    let Some(inner) = text.strip_prefix("```").and_then(|text| text.strip_suffix("```")) else {
        return text;
    };
    inner.strip_prefix("json").unwrap_or(inner).trim()
}

/// The name of a tool at the end of `before`, where some templates put it before the arguments:
/// `<function=NAME>{...}` (Llama), `to=functions.NAME json{...}` (gpt-oss), `function NAME` and a
/// fence (DeepSeek, whose special tokens are no text).
pub(super) fn name_before(before: &str) -> Option<&str> {
    let line = before.trim_end().trim_end_matches(FENCE).trim_end();
    // No name and nothing behind it has a brace, so an earlier object ends the search: a line of
    // many objects takes linear time.
    let line = line.rsplit(['\n', '}']).next().unwrap_or(line);
    [FUNCTION, "functions.", "function"].iter().find_map(|mark| {
        let after = line[line.rfind(mark)? + mark.len()..].trim_start();
        let length = after.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(after.len());
        let (name, rest) = after.split_at(length);
        let ends = ["", ">", "json", "<|constrain|>json", ">json"].contains(&rest.trim());
        (!name.is_empty() && ends).then_some(name)
    })
}

/// The call's object for a name and arguments that stood apart.
pub(super) fn named_call(name: &str, arguments: Map<String, Value>) -> Map<String, Value> {
    Map::from_iter([
        ("name".to_owned(), Value::from(name)),
        ("arguments".to_owned(), Value::Object(arguments)),
    ])
}
