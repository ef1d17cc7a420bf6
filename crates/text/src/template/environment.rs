//! The Jinja environment as transformers sets it up: options, filters and functions.
use super::{TemplateSource, clock, python};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

/// Name of the default template.
pub(super) const DEFAULT: &str = "chat";
/// Name of the template for conversations with tools.
pub(super) const TOOL_USE: &str = "tool_use";

/// Maximum instructions of one rendering. A conversation of 10,000 messages takes a tenth of them;
/// a template with an endless loop fails within seconds.
const FUEL: u64 = 10_000_000;
/// Depth to which macros can call each other, in any template that nests at most five blocks in
/// each macro. Templates write nested schemas of tools by such macros.
pub(super) const MACRO_DEPTH: usize = 200;
/// minijinja's limit on nested frames: a macro call counts as five, a loop or `with` as one.
const FRAMES_MAX: usize = 10 * MACRO_DEPTH;

/// An environment with the templates of `source`.
pub(super) fn build(source: &TemplateSource) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(FRAMES_MAX);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(|out, _state, value| {
        out.write_str(&python::text(value))
            .map_err(|e| Error::new(ErrorKind::WriteFailure, e.to_string()))
    });
    environment.add_test("iterable", is_iterable);
    environment.add_test("sequence", is_sequence);
    environment.add_filter("tojson", to_json);
    environment.add_filter("string", |value: Value| python::text(&value));
    environment.add_function("raise_exception", |why: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, why))
    });
    environment.add_function("strftime_now", |format: String| {
        clock::strftime(&format).map_err(|why| Error::new(ErrorKind::InvalidOperation, why))
    });
    environment.add_template_owned(DEFAULT, without_generation_tags(&source.default))?;
    if let Some(tool_use) = &source.tool_use {
        environment.add_template_owned(TOOL_USE, without_generation_tags(tool_use))?;
    }
    Ok(environment)
}

/// Python's `iter(value)` succeeds. Unlike in minijinja, `None` is not iterable.
fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// Jinja2's test: the value has a length and items. A string and a dictionary are sequences, too.
fn is_sequence(value: &Value) -> bool {
    use ValueKind::{Map, Seq, String, Undefined};
    matches!(value.kind(), Seq | Map | String | Undefined)
}

/// transformers' `tojson`: Python's `json.dumps` without HTML escapes.
fn to_json(_state: &State, value: Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let ensure_ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    options.assert_all_used()?;
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "tojson of an undefined value"));
    }
    let json = serde_json::to_value(&value)
        .map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))?;
    let default = [if indent.is_some() { "," } else { ", " }, ": "].map(str::to_owned);
    let [item, key] = match separators {
        None => default,
        Some(two) => <[String; 2]>::try_from(two).map_err(|_| {
            Error::new(ErrorKind::InvalidOperation, "tojson: expected two separators")
        })?,
    };
    Ok(python::JsonDumps { indent, item, key, sort_keys, ensure_ascii }.of(&json))
}

/// Replaces `{% generation %}` and `{% endgeneration %}` by a block that is always rendered. The
/// tags mark the assistant's messages for transformers and do not change the text.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        out.push_str(before);
        rest = tag;
        let Some(end) = tag.find("%}") else { break };
        let inner = &tag[..end];
        let replaced = match inner.trim_matches(['-', '+', ' ', '\n', '\t']) {
            "generation" => inner.replace("generation", "if true"),
            "endgeneration" => inner.replace("endgeneration", "endif"),
            _ => continue,
        };
        out.push_str(&replaced);
        rest = &tag[end..];
    }
    out.push_str(rest);
    out
}
