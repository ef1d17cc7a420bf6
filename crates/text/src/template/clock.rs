//! The function `strftime_now` of templates, with a fixed date, since prompts, and with them
//! results, must not change from day to day. The date is Friday, 26 July 2024, 00:00:00, the
//! default of Llama 3's template.

/// Python's `strftime` of the fixed date.
///
/// # Errors
/// A message if `format` has a letter that is not supported.
pub(super) fn strftime(format: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let (plain, letter) = match letters.next() {
            Some('-') => (true, letters.next()),
            other => (false, other),
        };
        let text = letter
            .and_then(field)
            .ok_or_else(|| format!("strftime_now: {format:?} has an unknown letter"))?;
        out.push_str(match text.trim_start_matches('0') {
            _ if !plain => text,
            "" => "0",
            number => number,
        });
    }
    Ok(out)
}

fn field(letter: char) -> Option<&'static str> {
    Some(match letter {
        'Y' => "2024",
        'y' => "24",
        'm' => "07",
        'B' => "July",
        'b' | 'h' => "Jul",
        'd' => "26",
        'e' => "26",
        'j' => "208",
        'A' => "Friday",
        'a' => "Fri",
        'u' | 'w' => "5",
        'H' | 'M' | 'S' => "00",
        'I' => "12",
        'p' => "AM",
        'F' => "2024-07-26",
        'T' => "00:00:00",
        'D' | 'x' => "07/26/24",
        '%' => "%",
        _ => return None,
    })
}
