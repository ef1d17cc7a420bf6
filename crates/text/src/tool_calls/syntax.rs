//! The points in which callers want replies read differently.

/// How calls are found and read.
///
/// | | [`marked`](CallSyntax::marked) | [`LENIENT`](CallSyntax::LENIENT) |
/// |---|---|---|
/// | used by | `serve`: clients' tools, content streamed | `experiment`: one call a reply |
/// | a call stands | behind `<tool_call>` or `<function=`, or the whole reply is calls of known tools | at any outermost JSON object with a name |
/// | `to=functions.NAME json{`, `function NAME` and a fence | no | yes |
/// | several calls in a JSON list | yes, all or none | each object of it |
/// | `<think>` without `</think>` | answer | reasoning to the end |
/// | keys of the name | `name` | `tool`, `name` |
/// | keys of the arguments | `arguments`, `parameters` | `arguments`, `parameters`, `args` |
/// | members beside a `function` object | ignored | read too, and before those within |
/// | `"function": "NAME"` | ignored | the name |
/// | an object that names a tool but is no call | text | a [`CallDefect`](super::CallDefect) |
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
