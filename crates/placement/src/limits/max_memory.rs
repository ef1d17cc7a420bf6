//! `--max-memory`: the bytes of weights that each tier may hold, in the form that accelerate uses.
use crate::{ByteSize, PlanError, Tier, TypedLimit, bytes_text};
use std::collections::BTreeMap;

/// The bytes of weights that each tier may hold. A tier without an entry has its default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MaxMemory(BTreeMap<Tier, ByteSize>);

impl MaxMemory {
    /// Parses accelerate's form, such as `0=71GiB,1=71GB,cpu=64GiB,disk=1TB`.
    ///
    /// # Errors
    /// [`PlanError::MaxMemory`] with the invalid part and the accepted forms.
    pub fn parse(text: &str) -> Result<MaxMemory, PlanError> {
        let mut pairs = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let no_pair = || PlanError::MaxMemory {
                part: part.to_owned(),
                why: "expected TIER=SIZE".to_owned(),
            };
            pairs.push(part.split_once(['=', ':']).ok_or_else(no_pair)?);
        }
        MaxMemory::from_pairs(pairs)
    }

    /// Creates limits from pairs of tier and size, as in a configuration file.
    ///
    /// # Errors
    /// As for [`MaxMemory::parse`].
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<MaxMemory, PlanError> {
        let mut budgets = BTreeMap::new();
        for (tier, size) in pairs {
            let wrong = |why| PlanError::MaxMemory { part: format!("{tier}={size}"), why };
            let known = Tier::parse(tier).ok_or_else(|| wrong(format!("{tier:?} is no tier")))?;
            let size = ByteSize::parse(size).map_err(wrong)?;
            if budgets.insert(known, size).is_some() {
                return Err(wrong(format!("{tier} is there twice")));
            }
        }
        Ok(MaxMemory(budgets))
    }

    #[must_use]
    pub fn with(mut self, tier: Tier, size: ByteSize) -> MaxMemory {
        self.0.insert(tier, size);
        self
    }

    /// The typed budget of a tier, in bytes; `None` if none was typed.
    pub fn get(&self, tier: Tier) -> Option<u64> {
        self.0.get(&tier).map(|size| size.bytes)
    }

    /// The typed budgets, in the order of the tiers.
    pub fn iter(&self) -> impl Iterator<Item = (Tier, &ByteSize)> {
        self.0.iter().map(|(tier, size)| (*tier, size))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same numbers in binary units; `None` if no limit of a GPU was typed in a decimal unit.
    pub(crate) fn binary_twin(&self) -> Option<MaxMemory> {
        let twin =
            |size: &ByteSize| size.binary_twin().and_then(|(typed, _)| ByteSize::parse(typed).ok());
        let any = self.0.iter().any(|(tier, size)| tier.is_gpu() && twin(size).is_some());
        let all =
            self.0.iter().map(|(tier, size)| (*tier, twin(size).unwrap_or_else(|| size.clone())));
        any.then(|| MaxMemory(all.collect()))
    }

    /// Each limit as typed, with its bytes in both units.
    pub(crate) fn echo(&self) -> Vec<TypedLimit> {
        let limit = |(tier, size): (&Tier, &ByteSize)| TypedLimit {
            tier: *tier,
            typed: size.typed.clone(),
            bytes: size.bytes,
            text: format!("{tier}={} is {}", size.typed, bytes_text(size.bytes)),
        };
        self.0.iter().map(limit).collect()
    }
}

impl std::fmt::Display for MaxMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<String> =
            self.0.iter().map(|(tier, size)| format!("{tier}={}", size.typed)).collect();
        f.write_str(&parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use error_kind::{ErrorKind, HasKind};

    #[test]
    fn accelerates_strings() {
        let limits = MaxMemory::parse("0=71GiB, 1=71GB,cpu=64GiB,disk=1TB").unwrap();
        assert_eq!(limits.get(Tier::Gpu(0)), Some(76_235_669_504));
        assert_eq!(limits.get(Tier::Gpu(1)), Some(71_000_000_000));
        assert_eq!(limits.get(Tier::Cpu), Some(64 << 30));
        assert_eq!(limits.get(Tier::Disk), Some(1_000_000_000_000));
        assert_eq!(limits.get(Tier::Gpu(2)), None);
        assert_eq!(limits.to_string(), "0=71GiB,1=71GB,cpu=64GiB,disk=1TB");
        assert_eq!(limits.echo()[1].text, "1=71GB is 71000000000 bytes (71.00 GB, 66.12 GiB)");
    }

    #[test]
    fn mistakes_name_the_part_and_the_forms() {
        for (text, words) in [
            ("0", "TIER=SIZE"),
            ("gpu0=1GB", "\"gpu0\" is no tier"),
            ("0=1GB,0=2GB", "twice"),
            ("0=71Gb", "bits"),
        ] {
            let error = MaxMemory::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage);
            let message = error.to_string();
            assert!(
                message.contains(words) && message.contains("0=71GiB,1=71GB,cpu=64GiB,disk=1TB"),
                "{message}"
            );
        }
    }
}
