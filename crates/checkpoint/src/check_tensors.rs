//! Checks the tensors against the configuration: every expected tensor must exist with the right
//! shape, and there must be no other tensors.
use crate::error::{CheckpointError, Defect, DefectKind};
use crate::expected_tensors::{ExpectedTensor, Requirement, TensorContent};
use crate::{Dtype, Inventory, ModelConfig, TensorEntry, expected_tensors};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, CheckpointError>;

/// Checks the inventory and removes tensors that the model does not use (buffers that old versions
/// of transformers stored).
pub(crate) fn reconcile(
    root: &Path,
    config: &ModelConfig,
    inventory: &mut Inventory,
    notes: &mut Vec<String>,
) -> Result<()> {
    let expected = expected_tensors(config);
    let scaled: HashSet<&str> = expected.iter().filter_map(|t| t.scaled_matrix()).collect();
    for tensor in &expected {
        let is_fp8 = |name| inventory.get(name).is_some_and(|of| of.dtype == Dtype::F8E4M3);
        match inventory.get(&tensor.name) {
            Some(entry) if tensor.scaled_matrix().is_some_and(|matrix| !is_fp8(matrix)) => {
                return Err(needless_scales(inventory, tensor, entry));
            }
            Some(entry) => check_entry(config, inventory, tensor, entry, &scaled)?,
            None if tensor.requirement == Requirement::Tied => {}
            None if tensor.scaled_matrix().is_some_and(|matrix| !is_fp8(matrix)) => {}
            None => return Err(missing(root, config, inventory, &expected, tensor)),
        }
    }
    refuse_unexpected(inventory, &expected)?;
    note_dtypes(config, inventory, notes);
    let known: HashSet<&str> = expected.iter().map(|t| t.name.as_str()).collect();
    inventory.tensors.retain(|t| known.contains(t.name.as_str()));
    Ok(())
}

fn file_of<'a>(inventory: &'a Inventory, entry: &TensorEntry) -> &'a Path {
    inventory.shards.get(entry.shard).map_or(Path::new(""), |shard| &shard.path)
}

fn check_entry(
    config: &ModelConfig,
    inventory: &Inventory,
    tensor: &ExpectedTensor,
    entry: &TensorEntry,
    scaled: &HashSet<&str>,
) -> Result<()> {
    let file = file_of(inventory, entry);
    if entry.shape != tensor.shape {
        let tied = tensor.requirement == Requirement::Tied;
        let kind = if tied { DefectKind::TiedContradiction } else { DefectKind::ShapeMismatch };
        let expected = format!("{:?}, from the {:?} configuration", tensor.shape, config.family);
        return Err(Defect::new(kind, file, expected, format!("{:?}", entry.shape))
            .tensor(&tensor.name)
            .into());
    }
    let usable = match tensor.content {
        TensorContent::Fp4Blocks | TensorContent::Fp4Scales => entry.dtype == Dtype::U8,
        TensorContent::NormWeight | TensorContent::Bias | TensorContent::BlockScales => {
            matches!(entry.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
        }
        TensorContent::Weight => {
            let fp8 = entry.dtype == Dtype::F8E4M3 && scaled.contains(tensor.name.as_str());
            fp8 || entry.dtype.is_weight()
        }
    };
    if !usable {
        let expected = match tensor.content {
            TensorContent::Fp4Blocks | TensorContent::Fp4Scales => "U8",
            TensorContent::NormWeight | TensorContent::Bias | TensorContent::BlockScales => {
                "F32, F16 or BF16"
            }
            TensorContent::Weight if scaled.contains(tensor.name.as_str()) => {
                "F8_E4M3, F32, F16 or BF16"
            }
            TensorContent::Weight => "F32, F16, BF16, or a block type of GGUF",
        };
        return Err(Defect::new(DefectKind::DtypeUnusable, file, expected, entry.dtype)
            .tensor(&tensor.name)
            .into());
    }
    Ok(())
}

fn needless_scales(
    inventory: &Inventory,
    tensor: &ExpectedTensor,
    entry: &TensorEntry,
) -> CheckpointError {
    let matrix = tensor.scaled_matrix().and_then(|name| inventory.get(name));
    let stored = matrix.map_or_else(|| "missing".to_owned(), |matrix| matrix.dtype.to_string());
    let expected = format!("a matrix in F8_E4M3 for these scales, which is {stored}");
    let found = format!("{} {:?}", entry.dtype, entry.shape);
    let file = file_of(inventory, entry);
    Defect::new(DefectKind::TensorUnexpected, file, expected, found).tensor(&tensor.name).into()
}

fn missing(
    root: &Path,
    config: &ModelConfig,
    inventory: &Inventory,
    expected: &[ExpectedTensor],
    tensor: &ExpectedTensor,
) -> CheckpointError {
    let marks = |t: &&TensorEntry| {
        let scales = config.block_fp8 && t.name.ends_with(".weight_scale_inv");
        !scales && quantized_by(&t.name).is_some()
    };
    if let Some(marker) = inventory.tensors.iter().find(marks) {
        return unexpected(inventory, marker);
    }
    let required = expected.iter().filter(|t| t.requirement == Requirement::Required);
    let absent = required.filter(|t| inventory.get(&t.name).is_none()).count();
    let expected_here = format!(
        "a {:?} model's {:?} in one of {} shards",
        config.family,
        tensor.shape,
        inventory.shards.len()
    );
    let mut found = format!("{} tensors without it", inventory.tensors.len());
    // Scales are not among the required tensors.
    if absent > 0 {
        found += &format!("; {absent} are missing in all");
    }
    let defect =
        Defect::new(DefectKind::TensorMissing, root, expected_here, found).tensor(&tensor.name);
    let tied_head = tensor.name == "lm_head.weight" && absent == 1;
    CheckpointError::from(match tied_head {
        true => defect
            .remedy("Set tie_word_embeddings to true if the model's head is its embedding, or fetch the weights again"),
        false => defect,
    })
}

fn refuse_unexpected(inventory: &Inventory, expected: &[ExpectedTensor]) -> Result<()> {
    let known: HashSet<&str> = expected.iter().map(|t| t.name.as_str()).collect();
    let is_unexpected = |t: &&TensorEntry| !known.contains(t.name.as_str()) && !is_buffer(&t.name);
    match inventory.tensors.iter().find(is_unexpected) {
        Some(entry) => Err(unexpected(inventory, entry)),
        None => Ok(()),
    }
}

fn unexpected(inventory: &Inventory, entry: &TensorEntry) -> CheckpointError {
    let file = file_of(inventory, entry);
    let found = format!("{} {:?}", entry.dtype, entry.shape);
    match quantized_by(&entry.name) {
        Some(method) => {
            let expected = "weights in bf16, f16 or f32";
            Defect::new(DefectKind::Quantized, file, expected, format!("{method}: {found}"))
                .tensor(&entry.name)
                .into()
        }
        None => Defect::new(
            DefectKind::TensorUnexpected,
            file,
            "only the tensors of the configuration",
            found,
        )
        .tensor(&entry.name)
        .into(),
    }
}

/// Whether a tensor is a buffer that older versions of transformers stored, although its values
/// follow from the configuration.
fn is_buffer(name: &str) -> bool {
    const BUFFERS: [&str; 4] =
        ["rotary_emb.inv_freq", ".masked_bias", ".attn.bias", ".position_ids"];
    BUFFERS.iter().any(|buffer| name.ends_with(buffer))
}

/// The quantization method that a tensor's name indicates, for checkpoints whose configuration does
/// not state one.
fn quantized_by(name: &str) -> Option<&'static str> {
    const MARKERS: [(&str, &str); 11] = [
        (".SCB", "bitsandbytes int8"),
        (".weight_format", "bitsandbytes int8"),
        (".weight.absmax", "bitsandbytes 4-bit"),
        (".weight.quant_map", "bitsandbytes 4-bit"),
        (".weight_scale_inv", "block FP8"),
        (".weight_packed", "compressed-tensors"),
        (".weight_scale", "compressed-tensors or FP8"),
        (".qweight", "GPTQ or AWQ"),
        (".qzeros", "GPTQ or AWQ"),
        (".g_idx", "GPTQ"),
        (".scales", "GPTQ or AWQ"),
    ];
    MARKERS.iter().find(|(suffix, _)| name.ends_with(suffix)).map(|(_, method)| *method)
}

fn note_dtypes(config: &ModelConfig, inventory: &Inventory, notes: &mut Vec<String>) {
    let Some(declared) = config.dtype else { return };
    let plain = |t: &&TensorEntry| {
        matches!(t.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) && t.shape.len() == 2
    };
    let others: Vec<&TensorEntry> =
        inventory.tensors.iter().filter(plain).filter(|t| t.dtype != declared).collect();
    if let Some(first) = others.first() {
        let count = others.len();
        notes.push(format!(
            "the configuration says {declared}, but {count} matrices have another dtype ({} is {})",
            first.name, first.dtype
        ));
    }
}

/// Decides what a stored head means in a model with tied embeddings, as transformers does: a head
/// that equals the embedding is tied, a different head is not tied, and a head without an embedding
/// is used as both.
pub(crate) fn settle_tied_head(
    config: &mut ModelConfig,
    inventory: &mut Inventory,
    notes: &mut Vec<String>,
) -> Result<()> {
    const EMBEDDING: &str = "model.embed_tokens.weight";
    const HEAD: &str = "lm_head.weight";
    if !config.tie_word_embeddings {
        return Ok(());
    }
    let Some(head) = inventory.get(HEAD).cloned() else { return Ok(()) };
    let Some(embedding) = inventory.get(EMBEDDING).cloned() else {
        let (shards, mut tensors) =
            (std::mem::take(&mut inventory.shards), std::mem::take(&mut inventory.tensors));
        for tensor in tensors.iter_mut().filter(|t| t.name == HEAD) {
            tensor.name = EMBEDDING.to_owned();
        }
        *inventory = Inventory::new(shards, tensors);
        notes.push(format!("{HEAD} is stored for the tied embedding; it serves as both"));
        return Ok(());
    };
    if head.shape != embedding.shape {
        return Ok(()); // `reconcile` reports the shape mismatch.
    }
    if head.dtype == embedding.dtype && samples_agree(inventory, &head, &embedding)? {
        notes
            .push(format!("{HEAD} is stored beside the tied embedding and equals it in all samples; it is not loaded"));
    } else {
        config.tie_word_embeddings = false;
        notes.push(format!(
            "tie_word_embeddings is true, but {HEAD} differs from the embedding; they are not tied"
        ));
    }
    Ok(())
}

/// Compares 64 samples of 4 KiB at equal distances in both tensors. A separately trained head
/// differs from the embedding in all of them.
fn samples_agree(inventory: &Inventory, a: &TensorEntry, b: &TensorEntry) -> Result<bool> {
    const SAMPLES: u64 = 64;
    const SAMPLE_BYTES: u64 = 4096;
    let open = |entry: &TensorEntry| -> Result<(PathBuf, crate::files::RegularFile)> {
        let path = file_of(inventory, entry).to_owned();
        let opened = crate::files::open_regular(&path)?;
        Ok((path, opened))
    };
    let ((path_a, file_a), (path_b, file_b)) = (open(a)?, open(b)?);
    let size = SAMPLE_BYTES.min(a.bytes);
    let (mut page_a, mut page_b) = (vec![0; size as usize], vec![0; size as usize]);
    for i in 0..SAMPLES {
        let at = ((a.bytes - size) as u128 * u128::from(i) / u128::from(SAMPLES - 1)) as u64;
        crate::files::read_at(&path_a, &file_a.file, &mut page_a, a.offset + at)?;
        crate::files::read_at(&path_b, &file_b.file, &mut page_b, b.offset + at)?;
        if page_a != page_b {
            return Ok(false);
        }
    }
    Ok(true)
}
