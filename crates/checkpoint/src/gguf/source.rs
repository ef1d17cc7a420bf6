//! Reads little-endian values from a stream of known length. A length or count in a hostile file
//! cannot cause a larger allocation than the file's size permits.
use crate::error::{CheckpointError, Defect, DefectKind};
use std::io::Read;
use std::path::Path;

type Result<T> = std::result::Result<T, CheckpointError>;

const STRING_BYTES_MAX: u64 = 64 << 20;

/// A GGUF file and the current position in it.
pub(super) struct GgufSource<'a, R> {
    pub file: &'a Path,
    inner: R,
    at: u64,
    bytes: u64,
}

impl<'a, R: Read> GgufSource<'a, R> {
    pub fn new(file: &'a Path, inner: R, bytes: u64) -> Self {
        GgufSource { file, inner, at: 0, bytes }
    }

    /// The current position: bytes read so far.
    pub fn at(&self) -> u64 {
        self.at
    }

    pub fn left(&self) -> u64 {
        self.bytes - self.at
    }

    pub fn defect(
        &self,
        kind: DefectKind,
        expected: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> Defect {
        Defect::new(kind, self.file, expected, found).part(format!("offset {}", self.at))
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<()> {
        if into.len() as u64 > self.left() {
            let found = format!("{} left", self.left());
            return Err(self
                .defect(DefectKind::Truncated, format!("{} bytes more", into.len()), found)
                .into());
        }
        self.inner.read_exact(into).map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                self.defect(DefectKind::Changed, "more bytes", "the end of the file").into()
            }
            _ => CheckpointError::io(self.file, "read it", self.at, source),
        })?;
        self.at += into.len() as u64;
        Ok(())
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads a count of items, each of which takes at least `bytes_each` bytes of the file. An
    /// error if the remaining file is too short for them.
    pub fn count(&mut self, what: &str, bytes_each: u64) -> Result<usize> {
        let count = self.u64()?;
        let possible = self.left() / bytes_each;
        if count > possible {
            let expected = format!("at most {possible} {what} in what is left of the file");
            return Err(self.defect(DefectKind::GgufValue, expected, count).into());
        }
        Ok(count as usize)
    }

    pub fn bytes(&mut self, count: usize) -> Result<Vec<u8>> {
        if count as u64 > self.left() {
            let found = format!("{} left", self.left());
            return Err(self
                .defect(DefectKind::Truncated, format!("{count} bytes more"), found)
                .into());
        }
        let mut bytes = vec![0; count];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub fn string(&mut self) -> Result<String> {
        let length = self.u64()?;
        if length > STRING_BYTES_MAX || length > self.left() {
            let expected =
                format!("a string of at most {} bytes", STRING_BYTES_MAX.min(self.left()));
            return Err(self
                .defect(DefectKind::GgufValue, expected, format!("length {length}"))
                .into());
        }
        let bytes = self.bytes(length as usize)?;
        String::from_utf8(bytes).map_err(|e| {
            let found = format!("an invalid byte at {} of it", e.utf8_error().valid_up_to());
            self.defect(DefectKind::GgufValue, "a string in UTF-8", found).into()
        })
    }
}
