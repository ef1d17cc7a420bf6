//! Reads the JSON object of one call: the tool's name and the arguments, under the keys that models
//! use.
use super::syntax::CallSyntax;
use serde_json::{Map, Value};

/// A tool call.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedCall {
    /// The tool's name as the model wrote it, without surrounding whitespace.
    pub name: String,
    pub arguments: Map<String, Value>,
    /// The JSON fields of the call's object other than name and arguments.
    pub others: Map<String, Value>,
}

/// The reason why a JSON object is not a call.
#[derive(Debug, Clone, PartialEq)]
pub enum CallDefect {
    NameMissing,
    /// The name has this value, which is not a string.
    NameType(Value),
    /// The arguments are this string, which is not a JSON object.
    ArgumentsText(String),
    /// The arguments have this value, which is neither an object, nor a string, nor null.
    ArgumentsType(Value),
}

/// Reads the JSON object of a call.
///
/// # Errors
/// The first defect: the name is missing, or the name or the arguments have a wrong type.
pub fn read_call(
    mut object: Map<String, Value>,
    syntax: &CallSyntax,
) -> Result<ParsedCall, CallDefect> {
    let (mut inner, function) = match object.shift_remove("function") {
        Some(Value::Object(inner)) if syntax.outer_members => (inner, None),
        Some(Value::Object(inner)) => {
            object = inner;
            (Map::new(), None)
        }
        other => (Map::new(), other.filter(|_| syntax.function_is_name)),
    };
    let mut take = |keys: &[&str]| {
        keys.iter().find_map(|key| object.shift_remove(*key).or_else(|| inner.shift_remove(*key)))
    };
    let name = match take(syntax.name_keys).or(function) {
        Some(Value::String(name)) => name.trim().to_owned(),
        Some(other) => return Err(CallDefect::NameType(other)),
        None => return Err(CallDefect::NameMissing),
    };
    let arguments = match take(syntax.argument_keys) {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(arguments)) => arguments,
        // Arguments as JSON in a string, as in the OpenAI protocol.
        Some(Value::String(text)) => {
            serde_json::from_str(&text).map_err(|_| CallDefect::ArgumentsText(text))?
        }
        Some(other) => return Err(CallDefect::ArgumentsType(other)),
    };
    // A field of the outer object takes precedence over the same field of the inner object.
    inner.extend(object);
    Ok(ParsedCall { name, arguments, others: inner })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(object: Value, syntax: &CallSyntax) -> Result<(String, Value), CallDefect> {
        let Value::Object(object) = object else { panic!("{object} is no object") };
        read_call(object, syntax).map(|call| (call.name, Value::Object(call.arguments)))
    }

    #[test]
    fn name_and_arguments_are_read_under_the_keys_of_the_syntax() {
        let any = |_: &str| true;
        let marked = CallSyntax::marked(&any);
        let lenient = CallSyntax::LENIENT;
        let ship = Ok(("ship".to_owned(), json!({"id": 1})));
        for (object, by_marked, by_lenient) in [
            (json!({"name": " ship ", "arguments": {"id": 1}}), true, true),
            (json!({"name": "ship", "parameters": {"id": 1}}), true, true),
            (json!({"name": "ship", "arguments": "{\"id\": 1}"}), true, true),
            (json!({"function": {"name": "ship", "arguments": {"id": 1}}}), true, true),
            (json!({"tool": "ship", "arguments": {"id": 1}}), false, true),
            (json!({"name": "ship", "args": {"id": 1}}), false, true),
            (json!({"function": "ship", "arguments": {"id": 1}}), false, true),
            (json!({"function": {"name": "ship"}, "arguments": {"id": 1}}), false, true),
        ] {
            assert_eq!(read(object.clone(), &marked) == ship, by_marked, "marked: {object}");
            assert_eq!(read(object.clone(), &lenient) == ship, by_lenient, "lenient: {object}");
        }
        let both = json!({"function": {"name": "inner"}, "name": "outer"});
        assert_eq!(read(both.clone(), &marked), Ok(("inner".to_owned(), json!({}))));
        assert_eq!(read(both, &lenient), Ok(("outer".to_owned(), json!({}))));
    }

    #[test]
    fn a_defect_names_the_member_and_what_it_is() {
        let lenient = CallSyntax::LENIENT;
        for (object, defect) in [
            (json!({"arguments": {}}), CallDefect::NameMissing),
            (json!({"tool": 7}), CallDefect::NameType(json!(7))),
            (json!({"function": [1]}), CallDefect::NameType(json!([1]))),
            (json!({"tool": "a", "args": "x"}), CallDefect::ArgumentsText("x".to_owned())),
            (json!({"tool": "a", "args": [1]}), CallDefect::ArgumentsType(json!([1]))),
        ] {
            assert_eq!(read(object.clone(), &lenient), Err(defect), "{object}");
        }
    }

    #[test]
    fn other_members_are_kept_and_outer_ones_win() {
        let Value::Object(object) =
            json!({"function": {"name": "a", "memo": 1, "note": 2}, "memo": 3})
        else {
            unreachable!()
        };
        let call = read_call(object, &CallSyntax::LENIENT).unwrap();
        assert_eq!(Value::Object(call.others), json!({"memo": 3, "note": 2}));
    }
}
