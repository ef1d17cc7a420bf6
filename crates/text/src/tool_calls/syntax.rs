//! [`CallSyntax`]: options for finding and reading the calls of a reply.

/// Options for finding and reading the calls of a reply.
///
/// [`marked`](CallSyntax::marked) is for servers that offer a client's tools and stream the
/// content; [`LENIENT`](CallSyntax::LENIENT) for an agent that makes one call in each reply. They
/// differ in:
///
/// - **Position of a call.** Marked: after `<tool_call>` or `<function=`, or the whole reply if it
///   has nothing but calls of known tools. Lenient: any outermost JSON object that names a tool,
///   also in prose.
/// - **Tool name before the arguments** (`to=functions.NAME json{`, or `function NAME` and a code
///   fence). Marked: text. Lenient: a call.
/// - **JSON lists.** Marked: several calls if every object is a call, else text. Lenient: each
///   object is read separately.
/// - **`<think>` without `</think>`.** Marked: part of the answer. Lenient: reasoning to the end.
/// - **Keys of the tool's name.** Marked: `name`. Lenient: `tool`, `name`.
/// - **Keys of the arguments.** Marked: `arguments`, `parameters`. Lenient: also `args`.
/// - **JSON fields next to a `function` object.** Marked: ignored. Lenient: take precedence over
///   the fields within it.
/// - **`"function": "NAME"`.** Marked: ignored. Lenient: NAME is the tool's name.
/// - **Characters of NAME in `<function=NAME>`.** Marked: all but `>`. Lenient: letters, digits and
///   `_`.
/// - **An object that names a tool but is not a valid call.** Marked: text. Lenient: a
///   [`CallDefect`](super::CallDefect).
///
/// Both accept arguments as an object, as JSON in a string, as null, and no arguments.
#[derive(Clone, Copy)]
pub struct CallSyntax<'a> {
    pub search: CallSearch<'a>,
    /// Whether a `<think>` without `</think>` starts reasoning that lasts to the end of the reply.
    pub unclosed_reasoning: bool,
    /// Keys of the tool's name, highest precedence first.
    pub name_keys: &'static [&'static str],
    /// Keys of the arguments, highest precedence first.
    pub argument_keys: &'static [&'static str],
    /// Whether JSON fields next to a `function` object are read. They take precedence over the
    /// fields within it.
    pub outer_members: bool,
    /// Whether `"function": "NAME"` names the tool if none of `name_keys` is present.
    pub function_is_name: bool,
}

/// The positions in an answer at which calls are recognized.
#[derive(Clone, Copy)]
pub enum CallSearch<'a> {
    /// After a mark (`<tool_call>`, `<function=`), or as the whole answer if `is_tool` accepts
    /// every name.
    Marked { is_tool: &'a dyn Fn(&str) -> bool },
    /// Any outermost JSON object that names a tool or follows a tool's name.
    AnyObject,
}

impl<'a> CallSyntax<'a> {
    /// Recognizes marked calls, and unmarked calls only of tools that `is_tool` accepts.
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
    /// Recognizes any JSON object that names a tool.
    pub const LENIENT: Self = CallSyntax {
        search: CallSearch::AnyObject,
        unclosed_reasoning: true,
        name_keys: &["tool", "name"],
        argument_keys: &["arguments", "parameters", "args"],
        outer_members: true,
        function_is_name: true,
    };
}
