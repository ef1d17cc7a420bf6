//! Values as read, and the columns that they make.

use super::ReadColumn;
use analysis::frame::Column;

/// A value of a typed format.
#[derive(Debug, Clone, PartialEq)]
pub enum TypedValue {
    Missing,
    Number(f64),
    Flag(bool),
    Text(String),
}

/// Whole numbers from ±2^53 on are not all distinct as 64-bit floats.
const WHOLE_END: u64 = 1 << 53;

impl TypedValue {
    /// A whole number. One that a 64-bit float does not hold, such as an id of 64 bits, is a text:
    /// else two ids could be equal.
    pub fn whole(number: i64) -> TypedValue {
        match number.unsigned_abs() < WHOLE_END {
            true => TypedValue::Number(number as f64),
            false => TypedValue::Text(number.to_string()),
        }
    }

    /// As [`TypedValue::whole`].
    pub fn whole_unsigned(number: u64) -> TypedValue {
        match i64::try_from(number) {
            Ok(number) => TypedValue::whole(number),
            Err(_) => TypedValue::Text(number.to_string()),
        }
    }
}

/// The column of typed values: numbers, unless one of them is a text.
pub fn typed_column(values: Vec<TypedValue>) -> ReadColumn {
    let has_text = values.iter().any(|value| matches!(value, TypedValue::Text(_)));
    let column = match has_text {
        true => Column::Texts(values.into_iter().map(as_text).collect()),
        false => Column::Numbers(values.iter().map(as_number).collect()),
    };
    ReadColumn { column, missing_word: None }
}

fn as_text(value: TypedValue) -> Option<String> {
    match value {
        TypedValue::Missing => None,
        TypedValue::Number(number) if number.is_nan() => None,
        TypedValue::Number(number) => Some(number.to_string()),
        TypedValue::Flag(flag) => Some(flag.to_string()),
        TypedValue::Text(text) => Some(text),
    }
}

fn as_number(value: &TypedValue) -> f64 {
    match value {
        TypedValue::Number(number) => *number,
        TypedValue::Flag(flag) => f64::from(u8::from(*flag)),
        TypedValue::Missing | TypedValue::Text(_) => f64::NAN,
    }
}

/// Words for a missing value, in any case.
const MISSING_WORDS: [&str; 7] = ["na", "n/a", "<na>", "#n/a", "nan", "null", "none"];

/// The column of fields of a text format, without spaces around them: numbers or booleans if all
/// that are not missing are, else texts.
pub fn text_column(fields: Vec<String>) -> ReadColumn {
    let mut missing_word = None;
    let mut texts = Vec::with_capacity(fields.len());
    for field in fields {
        let is_word = MISSING_WORDS.iter().any(|word| field.eq_ignore_ascii_case(word));
        if is_word && missing_word.is_none() {
            missing_word = Some(field.clone());
        }
        texts.push(Some(field).filter(|field| !is_word && !field.is_empty()));
    }
    let numbers = all(&texts, number).or_else(|| all(&texts, flag));
    ReadColumn { column: numbers.map_or(Column::Texts(texts), Column::Numbers), missing_word }
}

/// The numbers that fields stand for, NaN for a missing one; `None` if one stands for no number.
fn all(texts: &[Option<String>], parse: impl Fn(&str) -> Option<f64>) -> Option<Vec<f64>> {
    texts.iter().map(|text| text.as_deref().map_or(Some(f64::NAN), &parse)).collect()
}

fn number(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    let is_whole = text.trim_start_matches(['-', '+']).bytes().all(|byte| byte.is_ascii_digit());
    (!is_whole || number.abs() < WHOLE_END as f64).then_some(number)
}

fn flag(text: &str) -> Option<f64> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(1.0),
        "false" => Some(0.0),
        _ => None,
    }
}
