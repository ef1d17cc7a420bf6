//! The header of a GGUF file, versions 2 and 3: metadata, tensor table, and start of the data.
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>
use super::source::GgufSource;
use super::tensor_types::{dtype, type_name};
use crate::Dtype;
use crate::error::{CheckpointError, Defect, DefectKind};
use crate::gguf_metadata::{GgufMetadata, GgufValue};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

type Result<T> = std::result::Result<T, CheckpointError>;

const KEY_BYTES_MAX: usize = 1 << 16;
const DIMENSIONS_MAX: u32 = 4;
const ALIGNMENT_DEFAULT: u64 = 32;
const ALIGNMENT_MAX: u64 = 1 << 20;

/// The header of a GGUF file. Tensors have their GGUF names and are in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct GgufFile {
    pub metadata: GgufMetadata,
    /// The tensor table. Byte ranges are within the file and do not overlap.
    pub tensors: Vec<GgufTensor>,
    /// Offset of the tensor data in the file, in bytes.
    pub data_start: u64,
}

/// One tensor of a GGUF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufTensor {
    pub name: String,
    pub dtype: Dtype,
    /// Row-major shape: the dimensions of the file in reverse order.
    pub shape: Vec<usize>,
    /// Offset of the tensor's data from the start of the file, in bytes.
    pub offset: u64,
    /// Size in bytes.
    pub bytes: u64,
}

/// Reads the header of a GGUF file that is `file_bytes` long.
///
/// # Errors
/// A [`Defect`] if the header violates the format or has an unsupported tensor type, `Io` if
/// reading fails.
pub fn read_gguf(file: &Path, reader: impl Read, file_bytes: u64) -> Result<GgufFile> {
    let mut source = GgufSource::new(file, reader, file_bytes);
    let version = version(&mut source)?;
    let tensor_count = source.count("tensors", 24)?;
    let value_count = source.count("values", 13)?;
    let metadata = GgufMetadata { version, values: values(&mut source, value_count)? };
    let alignment = alignment(file, &metadata)?;
    let mut tensors = Vec::new();
    for _ in 0..tensor_count {
        tensors.push(tensor(&mut source, alignment)?);
    }
    let data_start = source.at().next_multiple_of(alignment);
    resolve_offsets(file, &mut tensors, DataExtent { data_start, alignment, file_bytes })?;
    Ok(GgufFile { metadata, tensors, data_start })
}

fn version(source: &mut GgufSource<impl Read>) -> Result<u32> {
    let magic = if source.left() < 4 { [0; 4] } else { source.array::<4>()? };
    if &magic != b"GGUF" {
        let found = match &magic {
            b"vers" => return Err(lfs(source.file)),
            b"ggml" | b"ggjt" | b"ggla" | b"lmgg" | b"tjgg" => "an older format of ggml".to_owned(),
            other => format!("{:?}", String::from_utf8_lossy(other)),
        };
        return Err(source.defect(DefectKind::GgufMagic, "the letters GGUF", found).into());
    }
    match source.u32()? {
        version @ 2..=3 => Ok(version),
        swapped if matches!(swapped.swap_bytes(), 1..=3) => Err(source
            .defect(DefectKind::GgufVersion, "a little-endian file", "a big-endian one")
            .into()),
        other => Err(source.defect(DefectKind::GgufVersion, "version 2 or 3", other).into()),
    }
}

fn lfs(file: &Path) -> CheckpointError {
    Defect::new(DefectKind::LfsPointer, file, "a GGUF file", "a text that begins with \"vers\"")
        .into()
}

fn values(source: &mut GgufSource<impl Read>, count: usize) -> Result<BTreeMap<String, GgufValue>> {
    let mut values = BTreeMap::new();
    for _ in 0..count {
        let key = source.string()?;
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(source
                .defect(DefectKind::GgufValue, "a key of 1 to 65536 bytes", key.len())
                .into());
        }
        let kind = source.u32()?;
        let value = value(source, &key, kind)?;
        if values.contains_key(&key) {
            return Err(source
                .defect(DefectKind::DuplicateKey, "each key once", format!("{key} again"))
                .into());
        }
        values.insert(key, value);
    }
    Ok(values)
}

fn value(source: &mut GgufSource<impl Read>, key: &str, kind: u32) -> Result<GgufValue> {
    Ok(match kind {
        0 | 2 | 4 | 10 => GgufValue::Unsigned(unsigned(source, kind)?),
        1 | 3 | 5 | 11 => GgufValue::Signed(signed(source, kind)?),
        6 => GgufValue::Float(f64::from(f32::from_le_bytes(source.array()?))),
        7 => GgufValue::Bool(boolean(source)?),
        8 => GgufValue::String(source.string()?),
        9 => list(source, key)?,
        12 => GgufValue::Float(f64::from_le_bytes(source.array()?)),
        other => {
            return Err(source
                .defect(DefectKind::GgufValue, "a value type from 0 to 12", other)
                .key(key)
                .into());
        }
    })
}

fn unsigned(source: &mut GgufSource<impl Read>, kind: u32) -> Result<u64> {
    Ok(match kind {
        0 => source.array::<1>()?[0].into(),
        2 => u16::from_le_bytes(source.array()?).into(),
        4 => source.u32()?.into(),
        _ => source.u64()?,
    })
}

fn signed(source: &mut GgufSource<impl Read>, kind: u32) -> Result<i64> {
    Ok(match kind {
        1 => i8::from_le_bytes(source.array()?).into(),
        3 => i16::from_le_bytes(source.array()?).into(),
        5 => i32::from_le_bytes(source.array()?).into(),
        _ => i64::from_le_bytes(source.array()?),
    })
}

fn boolean(source: &mut GgufSource<impl Read>) -> Result<bool> {
    match source.array::<1>()?[0] {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(source.defect(DefectKind::GgufValue, "a bool of 0 or 1", other).into()),
    }
}

fn list(source: &mut GgufSource<impl Read>, key: &str) -> Result<GgufValue> {
    let kind = source.u32()?;
    let bytes_each = match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        9 => {
            return Err(source
                .defect(DefectKind::GgufValue, "a list of plain values", "a list of lists")
                .key(key)
                .into());
        }
        other => {
            return Err(source
                .defect(DefectKind::GgufValue, "a value type from 0 to 12", other)
                .key(key)
                .into());
        }
    };
    let count = source.count("list entries", bytes_each)?;
    Ok(match kind {
        0 | 2 | 4 | 10 => GgufValue::UnsignedArray(repeat(count, || unsigned(source, kind))?),
        1 | 3 | 5 | 11 => GgufValue::SignedArray(repeat(count, || signed(source, kind))?),
        6 => GgufValue::FloatArray(repeat(count, || source.array().map(f32::from_le_bytes))?),
        7 => GgufValue::BoolArray(repeat(count, || boolean(source))?),
        8 => GgufValue::StringArray(repeat(count, || source.string())?),
        _ => {
            GgufValue::FloatArray(repeat(count, || Ok(f64::from_le_bytes(source.array()?) as f32))?)
        }
    })
}

/// Reads `count` items. The list grows with the items that are read, so that a hostile count cannot
/// cause a large allocation.
fn repeat<T>(count: usize, mut read: impl FnMut() -> Result<T>) -> Result<Vec<T>> {
    let mut list = Vec::with_capacity(count.min(1 << 16));
    for _ in 0..count {
        list.push(read()?);
    }
    Ok(list)
}

fn alignment(file: &Path, metadata: &GgufMetadata) -> Result<u64> {
    const KEY: &str = "general.alignment";
    let Some(value) = metadata.get(KEY) else { return Ok(ALIGNMENT_DEFAULT) };
    match metadata.get_u64(KEY) {
        Some(n) if n.is_power_of_two() && (8..=ALIGNMENT_MAX).contains(&n) => Ok(n),
        _ => {
            let expected = format!("a power of two from 8 to {ALIGNMENT_MAX}");
            Err(Defect::new(DefectKind::GgufAlignment, file, expected, format!("{value:?}"))
                .key(KEY)
                .into())
        }
    }
}

/// Reads one entry of the tensor table. The offset is still relative to the start of the tensor
/// data.
fn tensor(source: &mut GgufSource<impl Read>, alignment: u64) -> Result<GgufTensor> {
    let name = source.string()?;
    let dimensions = source.u32()?;
    if !(1..=DIMENSIONS_MAX).contains(&dimensions) {
        return Err(source
            .defect(DefectKind::GgufValue, "1 to 4 dimensions", dimensions)
            .tensor(&name)
            .into());
    }
    let mut reversed = Vec::new();
    for _ in 0..dimensions {
        reversed.push(source.u64()?);
    }
    let kind = source.u32()?;
    let offset = source.u64()?;
    let Some(dtype) = dtype(kind) else {
        let expected = "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K or MXFP4";
        return Err(source
            .defect(DefectKind::GgufTensorType, expected, type_name(kind))
            .tensor(&name)
            .into());
    };
    if !offset.is_multiple_of(alignment) {
        return Err(source
            .defect(
                DefectKind::GgufAlignment,
                format!("an offset that {alignment} divides"),
                offset,
            )
            .tensor(&name)
            .into());
    }
    // Quantization blocks are within rows: the innermost dimension must be a multiple of the block
    // size.
    let whole = reversed[0].is_multiple_of(dtype.block_elements() as u64);
    let elements = reversed.iter().try_fold(1u64, |product, d| product.checked_mul(*d));
    let shape = reversed.iter().rev().map(|d| usize::try_from(*d).ok()).collect::<Option<Vec<_>>>();
    match (elements.and_then(|n| dtype.bytes_for(n)), shape) {
        (Some(bytes), Some(shape)) if whole => Ok(GgufTensor { name, dtype, shape, offset, bytes }),
        _ => {
            let expected = format!("rows of whole {dtype} blocks and a size below 2^64 bytes");
            Err(source
                .defect(DefectKind::ShapeOverflow, expected, format!("{reversed:?}"))
                .tensor(&name)
                .into())
        }
    }
}

struct DataExtent {
    data_start: u64,
    alignment: u64,
    file_bytes: u64,
}

/// Makes tensor offsets relative to the start of the file, and checks that the tensors are
/// contiguous except for padding.
fn resolve_offsets(file: &Path, tensors: &mut [GgufTensor], extent: DataExtent) -> Result<()> {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by(|a, b| tensors[*a].name.cmp(&tensors[*b].name));
    if let Some(pair) = order.windows(2).find(|pair| tensors[pair[0]].name == tensors[pair[1]].name)
    {
        let name = &tensors[pair[0]].name;
        return Err(Defect::new(DefectKind::DuplicateKey, file, "each tensor once", "two of them")
            .tensor(name)
            .into());
    }
    order.sort_by_key(|at| (tensors[*at].offset, tensors[*at].bytes));
    let mut end = 0u64;
    for at in order {
        let tensor = &mut tensors[at];
        let next = end.checked_next_multiple_of(extent.alignment).unwrap_or(u64::MAX);
        if tensor.offset != next {
            let kind = if tensor.offset < next { DefectKind::Overlap } else { DefectKind::Hole };
            let expected = format!("its data at {next}, where the previous tensor ends");
            return Err(Defect::new(kind, file, expected, tensor.offset)
                .tensor(&tensor.name)
                .into());
        }
        let last = tensor
            .offset
            .checked_add(tensor.bytes)
            .and_then(|last| Some((last, last.checked_add(extent.data_start)?)));
        match last {
            Some((last, absolute)) if absolute <= extent.file_bytes => end = last,
            _ => {
                let expected = format!(
                    "{} bytes from {}",
                    tensor.bytes,
                    extent.data_start.saturating_add(tensor.offset)
                );
                let found = format!("a file of {} bytes", extent.file_bytes);
                return Err(Defect::new(DefectKind::Truncated, file, expected, found)
                    .tensor(&tensor.name)
                    .into());
            }
        }
        tensor.offset += extent.data_start;
    }
    let padded = (extent.data_start + end).next_multiple_of(extent.alignment);
    if extent.file_bytes > padded {
        let found = format!("{} bytes", extent.file_bytes);
        return Err(Defect::new(DefectKind::TrailingBytes, file, format!("{padded} bytes"), found)
            .part("data")
            .into());
    }
    Ok(())
}
