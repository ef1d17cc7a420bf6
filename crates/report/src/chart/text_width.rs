//! Widths of text without a font: upper bounds for the usual sans-serif fonts, of which DejaVu Sans
//! and Verdana are the widest.

/// Width of a text at a font size.
pub fn width(text: &str, size: f64) -> f64 {
    text.chars().map(em).sum::<f64>() * size
}

/// Width of a character in ems.
fn em(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | '\'' | '|' => 0.3,
        ' ' | '.' | ',' | ':' | ';' | '!' | '/' | '\\' | 'I' => 0.34,
        'f' | 'r' | 't' | '(' | ')' | '[' | ']' | '-' | '⁻' => 0.42,
        '⁰'..='⁹' | '¹' | '²' | '³' => 0.42,
        's' | 'c' | 'z' | 'J' | '–' | '"' | '*' => 0.56,
        'm' | 'M' | 'W' | '%' | '—' | '@' => 1.0,
        'w' | '+' | '=' | '<' | '>' | '~' | '×' | '\u{2212}' | '#' => 0.84,
        'G' | 'O' | 'Q' | 'D' | 'H' | 'N' | 'U' => 0.79,
        'A'..='Z' => 0.7,
        '0'..='9' | 'a'..='z' => 0.635,
        c if c.is_ascii() => 0.65,
        // Ideographs and signs are a whole em wide, other letters at most about that of A to Z.
        c if u32::from(c) >= 0x1100 => 1.0,
        _ => 0.7,
    }
}

/// The text, or its begin with `…` so that it fits.
pub fn shortened(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.to_string();
    }
    let mut kept = String::new();
    let mut used = width("…", size);
    for c in text.chars() {
        used += em(c) * size;
        if used > room {
            break;
        }
        kept.push(c);
    }
    format!("{}…", kept.trim_end())
}

/// The text in lines that fit, broken at spaces; the last of at most `most` lines is shortened.
pub fn wrapped(text: &str, size: f64, room: f64, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if fits(line, word, size, room) => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    if lines.len() > most.max(1) {
        let rest = lines.split_off(most.max(1) - 1).join(" ");
        lines.push(rest);
    }
    lines.into_iter().map(|line| shortened(&line, size, room)).collect()
}

/// Whether the word fits on the line.
fn fits(line: &str, word: &str, size: f64, room: f64) -> bool {
    width(line, size) + width(" ", size) + width(word, size) <= room
}
