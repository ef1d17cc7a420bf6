//! `--device-map`: how modules are distributed over the tiers, with the modes of accelerate.
use crate::{PlanError, Tier};
use base::closest_word;

/// How modules are distributed over the tiers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DeviceMapMode {
    /// As few bytes off the GPUs as possible, then the least time per token, then the fewest cuts.
    #[default]
    Auto,
    /// About the same bytes of weights on each GPU.
    Balanced,
    /// As `Balanced`, but with as few bytes as possible on the first GPU.
    BalancedLow0,
    /// Fills each GPU before the next.
    Sequential,
    /// Everything in host memory.
    Cpu,
    /// All layers stay in the checkpoint's files, and embedding and head if host memory is small.
    Disk,
    /// A map from module names in accelerate's form to tiers. A name covers all modules below it;
    /// `""` covers all modules.
    Explicit(Vec<(String, Tier)>),
}

impl DeviceMapMode {
    const WORDS: [(&str, DeviceMapMode); 6] = [
        ("auto", DeviceMapMode::Auto),
        ("balanced", DeviceMapMode::Balanced),
        ("balanced_low_0", DeviceMapMode::BalancedLow0),
        ("sequential", DeviceMapMode::Sequential),
        ("cpu", DeviceMapMode::Cpu),
        ("disk", DeviceMapMode::Disk),
    ];

    /// Parses the name of a mode. Maps are parsed by [`DeviceMapMode::explicit`].
    ///
    /// # Errors
    /// [`PlanError::Setting`] with the accepted values.
    pub fn parse(text: &str) -> Result<DeviceMapMode, PlanError> {
        let found = DeviceMapMode::WORDS.into_iter().find(|(word, _)| *word == text);
        found.map(|(_, mode)| mode).ok_or_else(|| {
            let hint = closest_word(text, DeviceMapMode::WORDS.iter().map(|(word, _)| *word));
            let hint = hint.map_or_else(String::new, |word| format!(" (did you mean {word}?)"));
            PlanError::Setting {
                key: "--device-map",
                expected: "auto, balanced, balanced_low_0, sequential, cpu, disk, or a JSON file of module -> tier"
                    .to_owned(),
                found: format!("{text}{hint}"),
            }
        })
    }

    /// Creates an explicit map from accelerate's form: module names and `0`, `cuda:0`, `cpu` or
    /// `disk`.
    ///
    /// # Errors
    /// [`PlanError::DeviceMap`] for an unknown tier.
    pub fn explicit<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<DeviceMapMode, PlanError> {
        let pair = |(module, tier): (&str, &str)| match Tier::parse(tier) {
            Some(tier) => Ok((module.to_owned(), tier)),
            None => Err(PlanError::DeviceMap {
                module: module.to_owned(),
                expected: "0, 1, ..., cuda:0, cpu or disk".to_owned(),
                found: tier.to_owned(),
            }),
        };
        pairs.into_iter().map(pair).collect::<Result<_, _>>().map(DeviceMapMode::Explicit)
    }

    pub fn name(&self) -> &'static str {
        match self {
            DeviceMapMode::Auto => "auto",
            DeviceMapMode::Balanced => "balanced",
            DeviceMapMode::BalancedLow0 => "balanced_low_0",
            DeviceMapMode::Sequential => "sequential",
            DeviceMapMode::Cpu => "cpu",
            DeviceMapMode::Disk => "disk",
            DeviceMapMode::Explicit(_) => "explicit",
        }
    }
}
