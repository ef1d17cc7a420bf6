//! The points in which callers want replies read differently.

/// How calls are found and read.
///
/// [`marked`](CallSyntax::marked) is for servers that offer a client's tools and stream the
/// content; [`LENIENT`](CallSyntax::LENIENT) for an agent that makes one call in each reply. They
/// differ in:
///
/// - **Place of a call.** Marked: behind `<tool_call>` or `<function=`, or the whole reply where it
///   is nothing but calls of known tools. Lenient: any outermost JSON object that names a tool,
///   also in prose.
/// - **Names in front of the arguments** (`to=functions.NAME json{`, `function NAME` and a fence).
///   Marked: text. Lenient: calls.
/// - **JSON lists.** Marked: several calls, all or none. Lenient: each object by itself.
/// - **`<think>` without `</think>`.** Marked: part of the answer. Lenient: reasoning to the end.
/// - **Keys of the name.** Marked: `name`. Lenient: `tool`, `name`.
/// - **Keys of the arguments.** Marked: `arguments`, `parameters`. Lenient: also `args`.
/// - **Members beside a `function` object.** Marked: ignored. Lenient: read before those within.
/// - **`"function": "NAME"`.** Marked: ignored. Lenient: the name.
/// - **Characters of NAME in `<function=NAME>`.** Marked: all but `>`. Lenient: letters, digits and
///   `_`.
/// - **An object that names a tool but is no call.** Marked: text. Lenient: a
///   [`CallDefect`](super::CallDefect).
///
/// Both take arguments as an object, as JSON in a string, as null, or leave them out.
#[derive(Clone, Copy)]
pub struct CallSyntax<'a> {
    pub search: CallSearch<'a>,
    /// `<think>` without `</think>` starts reasoning that runs to the end of the reply.
    pub unclosed_reasoning: bool,
    /// Keys of the tool's name, by precedence.
    pub name_keys: &'static [&'static str],
    /// Keys of the arguments, by precedence.
    pub argument_keys: &'static [&'static str],
    /// Members beside a `function` object count, and take precedence over those within.
    pub outer_members: bool,
    /// `"function": "NAME"` names the tool where no name key does.
    pub function_is_name: bool,
}

/// Where a call may stand in an answer.
#[derive(Clone, Copy)]
pub enum CallSearch<'a> {
    /// Behind a mark, or as the whole answer where every name passes `is_tool`.
    Marked { is_tool: &'a dyn Fn(&str) -> bool },
    /// At any outermost JSON object that names a tool, or that has a tool's name in front of it.
    AnyObject,
}

impl<'a> CallSyntax<'a> {
    /// Marked calls; unmarked ones only of the tools that pass `is_tool`.
    pub fn marked(is_tool: &'a dyn Fn(&str) -> bool) -> Self {
        CallSyntax {
            search: CallSearch::Marked { is_tool },
            unclosed_reasoning: false,
            name_keys: &["name"],
            argument_keys: &["arguments", "parameters"],
            outer_members: false,
            function_is_name: false,
        }
    }
}

impl CallSyntax<'static> {
    /// Any JSON object that names a tool.
    pub const LENIENT: Self = CallSyntax {
        search: CallSearch::AnyObject,
        unclosed_reasoning: true,
        name_keys: &["tool", "name"],
        argument_keys: &["arguments", "parameters", "args"],
        outer_members: true,
        function_is_name: true,
    };
}
