//! Ranges of consecutive layers in texts: `model.layers.0-39`.

/// A range of consecutive layers, the routed experts of a range of layers, or one other module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModuleRange {
    stem: String,
    /// Indices of the first and the last layer; `None` for a module that is not a layer.
    numbers: Option<(usize, usize)>,
    /// What follows the index of a layer: `.mlp.experts`, or nothing.
    part: String,
}

impl std::fmt::Display for ModuleRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ModuleRange { stem, numbers, part } = self;
        match numbers {
            Some((first, last)) if first == last => write!(f, "{stem}.{first}{part}"),
            Some((first, last)) => write!(f, "{stem}.{first}-{last}{part}"),
            None => f.write_str(stem),
        }
    }
}

impl ModuleRange {
    /// Whether the modules are parts of layers: routed experts with a tier of their own.
    pub fn is_part(&self) -> bool {
        !self.part.is_empty()
    }
}

/// The range of one module.
pub(crate) fn range_of(name: &str) -> ModuleRange {
    let parts: Vec<&str> = name.split('.').collect();
    let number = parts.iter().position(|part| part.parse::<usize>().is_ok());
    let numbered = number.and_then(|at| Some((at, parts[at].parse::<usize>().ok()?)));
    match numbered {
        Some((at, number)) => {
            let part = parts[at + 1..].iter().map(|part| format!(".{part}")).collect();
            ModuleRange { stem: parts[..at].join("."), numbers: Some((number, number)), part }
        }
        None => ModuleRange { stem: name.to_owned(), numbers: None, part: String::new() },
    }
}

/// Whether the module `name` follows a range of layers, or of the routed experts of layers.
pub(crate) fn continues(range: &ModuleRange, name: &str) -> bool {
    let next = range_of(name);
    let same = range.stem == next.stem && range.part == next.part;
    matches!((range.numbers, next.numbers), (Some((_, last)), Some((first, _))) if same && first == last + 1)
}

/// Adds a module to the last range if it is the next layer; otherwise starts a new range.
pub(crate) fn append(ranges: &mut Vec<ModuleRange>, name: &str) {
    match ranges.last_mut() {
        Some(range) if continues(range, name) => {
            range.numbers = range.numbers.map(|(first, last)| (first, last + 1))
        }
        _ => ranges.push(range_of(name)),
    }
}

/// Ranges as a list.
pub(crate) fn ranges_text(ranges: &[ModuleRange]) -> String {
    ranges.iter().map(ModuleRange::to_string).collect::<Vec<_>>().join(", ")
}
