//! Limits on schemas beside llguidance's own. Compiling a reference compiles its target, so a chain
//! of references is as deep a recursion; the members of an object take quadratic time.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::GrammarError;

/// How deep `$ref`s may nest: the target of one contains the next.
pub const REF_DEPTH_MAX: usize = 1_000;

/// Most properties, and most required members, of an object's schema.
pub const MEMBERS_MAX: usize = 2_000;

/// Checks that a schema is within the limits.
///
/// # Errors
/// [`GrammarError::Refs`] or [`GrammarError::Members`] if it is not.
pub(super) fn check(schema: &Value) -> Result<(), GrammarError> {
    check_members(schema)?;
    check_depth(schema)
}

fn check_members(schema: &Value) -> Result<(), GrammarError> {
    match schema {
        Value::Object(members) => {
            let found = merged_members(schema);
            if found > MEMBERS_MAX {
                return Err(GrammarError::Members { found, limit: MEMBERS_MAX });
            }
            members.values().try_for_each(check_members)
        }
        Value::Array(items) => items.iter().try_for_each(check_members),
        _ => Ok(()),
    }
}

/// Number of members of an object's schema together with those that `allOf` merges into it, without
/// those of references.
fn merged_members(schema: &Value) -> usize {
    let properties = schema["properties"].as_object().map_or(0, |properties| properties.len());
    let required = schema["required"].as_array().map_or(0, Vec::len);
    let merged = schema["allOf"].as_array().into_iter().flatten().map(merged_members);
    properties.max(required) + merged.sum::<usize>()
}

/// Checks that references nest at most [`REF_DEPTH_MAX`] deep.
fn check_depth(schema: &Value) -> Result<(), GrammarError> {
    let mut named = BTreeMap::new();
    collect_names(schema, &mut named);
    let target = |reference: &str| match reference.strip_prefix('#') {
        Some(pointer) if pointer.is_empty() || pointer.starts_with('/') => schema.pointer(pointer),
        Some(anchor) => named.get(anchor).copied(),
        None => named.get(reference).copied(),
    };
    // Depth first, in the order of the schema; each target is compiled once, so cycles end.
    let mut seen = BTreeSet::new();
    let mut open = vec![references_of(schema).into_iter()];
    while let Some(references) = open.last_mut() {
        let Some(reference) = references.next() else {
            open.pop();
            continue;
        };
        if !seen.insert(reference) {
            continue;
        }
        // The compiler reports references without a target.
        let Some(target) = target(reference) else { continue };
        // The outermost reference nests in no other one.
        if open.len() > REF_DEPTH_MAX + 1 {
            return Err(GrammarError::Refs { limit: REF_DEPTH_MAX });
        }
        open.push(references_of(target).into_iter());
    }
    Ok(())
}

/// The references in a schema, in order, without those of their targets.
fn references_of(schema: &Value) -> Vec<&str> {
    fn collect<'a>(schema: &'a Value, found: &mut Vec<&'a str>) {
        match schema {
            Value::Object(members) => {
                for (key, value) in members {
                    match value {
                        Value::String(reference) if key == "$ref" => found.push(reference),
                        other => collect(other, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(schema, &mut found);
    found
}

/// Adds the schemas that have a name of their own.
fn collect_names<'a>(schema: &'a Value, named: &mut BTreeMap<&'a str, &'a Value>) {
    match schema {
        Value::Object(members) => {
            for key in ["$id", "$anchor", "$dynamicAnchor"] {
                if let Some(Value::String(name)) = members.get(key) {
                    named.insert(name, schema);
                }
            }
            members.values().for_each(|value| collect_names(value, named));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_names(item, named)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{MEMBERS_MAX, REF_DEPTH_MAX, check, check_depth};
    use serde_json::{Map, Value, json};

    /// A schema whose root refers to `d0`, whose property refers to `d1`, and so on to `d<links>`.
    fn chain(links: usize, reference: impl Fn(usize) -> String) -> Value {
        let mut definitions = Map::new();
        for i in 0..links {
            let next = json!({"properties": {"a": {"$ref": reference(i + 1)}}, "$anchor": format!("d{i}")});
            definitions.insert(format!("d{i}"), next);
        }
        definitions.insert(
            format!("d{links}"),
            json!({"type": "integer", "$anchor": format!("d{links}")}),
        );
        json!({"$ref": reference(0), "$defs": definitions})
    }

    #[test]
    fn chains_of_references_are_limited() {
        for reference in [|i| format!("#/$defs/d{i}"), |i| format!("#d{i}")] {
            assert!(check_depth(&chain(REF_DEPTH_MAX, reference)).is_ok());
            assert!(check_depth(&chain(REF_DEPTH_MAX + 1, reference)).is_err());
        }
    }

    #[test]
    fn cycles_and_wide_schemas_are_not_deep() {
        let cycle = json!({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#"}, {"$ref": "#/$defs/a"}]}}});
        assert!(check_depth(&cycle).is_ok());
        let wide: Map<String, Value> = (0..5_000)
            .map(|i| (format!("p{i}"), json!({"$ref": format!("#/$defs/p{i}")})))
            .collect();
        assert!(check_depth(&json!({"properties": wide, "$defs": wide})).is_ok());
    }

    #[test]
    fn members_of_an_object_are_limited() {
        let object = |count: usize| {
            let names: Vec<String> = (0..count).map(|i| format!("p{i}")).collect();
            let properties: Map<String, Value> =
                names.iter().map(|name| (name.clone(), json!({}))).collect();
            let (one, rest) = names.split_at(1);
            let merged = json!({"allOf": [{"required": one}, {"allOf": [{"required": rest}]}]});
            [
                json!({"properties": properties}),
                json!({"anyOf": [{"required": names}]}),
                json!({"items": merged}),
            ]
        };
        assert!(object(MEMBERS_MAX).iter().all(|schema| check(schema).is_ok()));
        assert!(object(MEMBERS_MAX + 1).iter().all(|schema| check(schema).is_err()));
    }
}
