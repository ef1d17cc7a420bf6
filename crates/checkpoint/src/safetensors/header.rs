//! The header of a safetensors file: JSON with the byte range of each tensor. The ranges must cover
//! the data section exactly.
use crate::Dtype;
use crate::error::{CheckpointError, Defect, DefectKind};
use crate::json::{self, DUPLICATE};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::path::Path;

/// Maximum size of a header, in bytes. Some real headers exceed the 100 MB limit of the reference
/// implementation.
pub const HEADER_BYTES_MAX: u64 = 512 << 20;
const TENSORS_MAX: usize = 4 << 20;
const DIMENSIONS_MAX: usize = 16;
const NAME_BYTES_MAX: usize = 4096;

/// One tensor of a header, checked against the size of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderTensor {
    pub name: String,
    pub dtype: Dtype,
    /// Row-major shape.
    pub shape: Vec<usize>,
    /// Offset of the tensor's data from the start of the file, in bytes.
    pub offset: u64,
    pub bytes: u64,
}

/// Parses the JSON of a header. `data_start` is the offset of the data section, `file_bytes` the
/// size of the file. The returned tensors are sorted by offset and cover the data section exactly.
///
/// # Errors
/// A [`Defect`]: not JSON, duplicate names, unknown dtype, overflow, inconsistent sizes, overlaps,
/// holes, truncation, or trailing bytes.
pub fn parse_header(
    file: &Path,
    json: &[u8],
    data_start: u64,
    file_bytes: u64,
) -> Result<Vec<HeaderTensor>, CheckpointError> {
    let raw: RawHeader = serde_json::from_slice(json).map_err(|error| {
        let message = error.to_string();
        if message.contains("duplicate field") {
            return Defect::new(
                DefectKind::DuplicateKey,
                file,
                "each key of a tensor once",
                message,
            )
            .into();
        }
        json::refusal(file, DefectKind::HeaderNotJson, &error)
    })?;
    let mut tensors = Vec::with_capacity(raw.0.len());
    for (name, info) in raw.0 {
        tensors.push(check_tensor(file, name, &info, data_start)?);
    }
    refuse_duplicates(file, &mut tensors)?;
    check_coverage(file, &mut tensors, data_start, file_bytes)?;
    Ok(tensors)
}

fn check_tensor(
    file: &Path,
    name: String,
    info: &RawTensor,
    data_start: u64,
) -> Result<HeaderTensor, CheckpointError> {
    let defect = |kind, expected: String, found: String| -> CheckpointError {
        Defect::new(kind, file, expected, found).tensor(&name).into()
    };
    let Some(dtype) = Dtype::from_safetensors(&info.dtype) else {
        return Err(defect(
            DefectKind::UnknownDtype,
            "a dtype of the safetensors format".into(),
            info.dtype.clone(),
        ));
    };
    let elements = info.shape.0.iter().try_fold(1u64, |product, d| product.checked_mul(*d));
    let Some(bytes) = elements.and_then(|n| dtype.bytes_for(n)) else {
        let expected = format!("a size below 2^64 bytes and whole bytes of {dtype}");
        return Err(defect(
            DefectKind::ShapeOverflow,
            expected,
            format!("shape {:?}", info.shape.0),
        ));
    };
    let [begin, end] = info.data_offsets;
    if end < begin {
        return Err(defect(
            DefectKind::OffsetsInvalid,
            "an end behind the beginning".into(),
            format!("{begin}..{end}"),
        ));
    }
    if end - begin != bytes {
        let expected = format!("{bytes} bytes for {dtype} {:?}", info.shape.0);
        return Err(defect(
            DefectKind::SizeMismatch,
            expected,
            format!("{} bytes ({begin}..{end})", end - begin),
        ));
    }
    let (Some(offset), Some(_)) = (data_start.checked_add(begin), data_start.checked_add(end))
    else {
        return Err(defect(
            DefectKind::OffsetsInvalid,
            "offsets below 2^64".into(),
            format!("{begin}..{end}"),
        ));
    };
    let shape = info.shape.0.iter().map(|d| usize::try_from(*d)).collect::<Result<Vec<_>, _>>();
    let shape = shape.map_err(|_| {
        defect(
            DefectKind::ShapeOverflow,
            "dimensions of this machine".into(),
            format!("{:?}", info.shape.0),
        )
    })?;
    Ok(HeaderTensor { name, dtype, shape, offset, bytes })
}

/// Returns an error for two entries with one name. The reference implementation keeps the last one,
/// but either may be the right one.
fn refuse_duplicates(file: &Path, tensors: &mut [HeaderTensor]) -> Result<(), CheckpointError> {
    tensors.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    match tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => {
            let found = format!("entries at offsets {} and {}", pair[0].offset, pair[1].offset);
            Err(Defect::new(DefectKind::DuplicateKey, file, "each tensor once", found)
                .tensor(&pair[0].name)
                .into())
        }
        None => Ok(()),
    }
}

fn check_coverage(
    file: &Path,
    tensors: &mut [HeaderTensor],
    data_start: u64,
    file_bytes: u64,
) -> Result<(), CheckpointError> {
    tensors.sort_by_key(|t| (t.offset, t.bytes));
    let mut at = data_start;
    let mut before = "the header";
    for tensor in tensors.iter() {
        let kind = match tensor.offset {
            begin if begin < at => DefectKind::Overlap,
            begin if begin > at => DefectKind::Hole,
            _ => {
                at += tensor.bytes;
                before = &tensor.name;
                continue;
            }
        };
        let expected = format!("its first byte at {at}, where {before} ends");
        return Err(Defect::new(kind, file, expected, format!("byte {}", tensor.offset))
            .tensor(&tensor.name)
            .into());
    }
    if at > file_bytes {
        let last = tensors
            .iter()
            .find(|t| t.offset + t.bytes > file_bytes)
            .map_or("", |t| t.name.as_str());
        let found = format!("{file_bytes} bytes, {} short", at - file_bytes);
        return Err(Defect::new(DefectKind::Truncated, file, format!("{at} bytes"), found)
            .tensor(last)
            .into());
    }
    if at < file_bytes {
        let found = format!("{file_bytes} bytes, {} too many", file_bytes - at);
        return Err(Defect::new(DefectKind::TrailingBytes, file, format!("{at} bytes"), found)
            .part("data")
            .into());
    }
    Ok(())
}

struct RawHeader(Vec<(String, RawTensor)>);

#[derive(Deserialize)]
struct RawTensor {
    dtype: String,
    shape: RawShape,
    data_offsets: [u64; 2],
}

struct RawShape(Vec<u64>);

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = RawHeader;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawHeader, A::Error> {
        let mut tensors = Vec::new();
        let mut has_metadata = false;
        while let Some(name) = access.next_key::<String>()? {
            if name == "__metadata__" {
                if std::mem::replace(&mut has_metadata, true) {
                    return Err(A::Error::custom(format!("{DUPLICATE}__metadata__")));
                }
                access.next_value::<Option<BTreeMap<String, String>>>()?;
                continue;
            }
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                return Err(A::Error::custom(format!(
                    "a tensor's name has {} bytes, not 1 to {NAME_BYTES_MAX}",
                    name.len()
                )));
            }
            if tensors.len() == TENSORS_MAX {
                return Err(A::Error::custom(format!("more than {TENSORS_MAX} tensors")));
            }
            tensors.push((name, access.next_value::<RawTensor>()?));
        }
        Ok(RawHeader(tensors))
    }
}

impl<'de> Deserialize<'de> for RawShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = RawShape;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("a list of dimensions")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawShape, A::Error> {
        let mut shape = Vec::new();
        while let Some(dimension) = seq.next_element::<u64>()? {
            if shape.len() == DIMENSIONS_MAX {
                return Err(A::Error::custom(format!("more than {DIMENSIONS_MAX} dimensions")));
            }
            shape.push(dimension);
        }
        Ok(RawShape(shape))
    }
}
