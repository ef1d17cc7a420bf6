//! Selects the files of a folder that form the checkpoint, and checks their headers against the
//! index.
use super::index::{INDEX_BYTES_MAX, ShardIndex, parse_index};
use super::shard::{ReadShard, read_shards};
use crate::error::{CheckpointError, Defect, DefectKind};
use crate::{Inventory, TensorEntry, files};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, CheckpointError>;

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// The files of a folder by kind: sorted file names without the folder.
struct FolderListing {
    indexes: Vec<String>,
    weights: Vec<String>,
    pickles: Vec<String>,
}

/// Whether a folder contains safetensors files or their index.
pub(crate) fn has_weights(root: &Path) -> Result<bool> {
    let listing = list(root)?;
    Ok(!listing.indexes.is_empty() || !listing.weights.is_empty())
}

/// Reads the index and the headers of a folder. `original/` and `consolidated*` contain the same
/// model in another format and are ignored.
pub(crate) fn read_folder(root: &Path, notes: &mut Vec<String>) -> Result<Inventory> {
    let listing = list(root)?;
    let index = choose_index(root, &listing)?;
    let (index_file, index) = match index {
        Some(name) => {
            let file = root.join(name);
            let text = files::read_text(&file, INDEX_BYTES_MAX)?
                .ok_or_else(|| CheckpointError::absent(&file))?;
            let index = parse_index(&file, &text)?;
            (Some(file), Some(index))
        }
        None => (None, None),
    };
    let names = match &index {
        Some(index) => {
            check_present(root, index, &listing, notes)?;
            index.shards.clone()
        }
        None => vec![choose_single(root, &listing, notes)?],
    };
    let paths: Vec<PathBuf> = names.iter().map(|name| root.join(name)).collect();
    let shards = read_shards(&paths)?;
    refuse_twice(&shards)?;
    if let (Some(file), Some(index)) = (index_file, index) {
        check_agreement(&file, &index, &shards)?;
        compare_total(&file, &index, &shards, notes);
    }
    Ok(inventory(shards))
}

fn list(root: &Path) -> Result<FolderListing> {
    let io = |source| CheckpointError::io(root, "list the folder", 0, source);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root).map_err(io)? {
        if let Ok(name) = entry.map_err(io)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.retain(|name| {
        !name.starts_with("consolidated") && !name.starts_with("adapter_") && !name.starts_with('.')
    });
    names.sort();
    let with =
        |suffix: &str| names.iter().filter(|n| n.ends_with(suffix)).cloned().collect::<Vec<_>>();
    let pickles = names
        .iter()
        .filter(|n| n.ends_with(".bin") && n.starts_with("pytorch_model") || n.ends_with(".pth"));
    Ok(FolderListing {
        indexes: with(".safetensors.index.json"),
        weights: with(".safetensors"),
        pickles: pickles.cloned().collect(),
    })
}

fn choose_index<'a>(root: &Path, listing: &'a FolderListing) -> Result<Option<&'a str>> {
    match listing.indexes.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => {
            Err(Defect::new(DefectKind::SeveralIndexes, root, "one index", several.join(", "))
                .into())
        }
    }
}

/// Checks that every shard of the index exists. If none exists, but there is a single unsharded
/// file, the index is reported as stale.
fn check_present(
    root: &Path,
    index: &ShardIndex,
    listing: &FolderListing,
    notes: &mut Vec<String>,
) -> Result<()> {
    let absent: Vec<&String> =
        index.shards.iter().filter(|name| !listing.weights.contains(name)).collect();
    let single = listing.weights.iter().any(|name| name == SINGLE)
        && !index.shards.iter().any(|name| name == SINGLE);
    if single && absent.len() == index.shards.len() {
        let found = format!("none of its {} shards, but {SINGLE}", absent.len());
        let defect = Defect::new(
            DefectKind::IndexStale,
            &root.join(INDEX),
            "the shards that it names",
            found,
        );
        return Err(defect
            .remedy(format!("Move the index away to use {SINGLE}, or fetch the shards"))
            .into());
    }
    if let Some(first) = absent.first() {
        return Err(match CheckpointError::absent(&root.join(first)) {
            CheckpointError::NotFound { what, looked_in, remedy } => CheckpointError::NotFound {
                what: format!(
                    "{what} ({} of {} shards that the index names are absent)",
                    absent.len(),
                    index.shards.len()
                ),
                looked_in,
                remedy,
            },
            other => other,
        });
    }
    for extra in listing.weights.iter().filter(|name| !index.shards.contains(name)) {
        notes.push(format!(
            "{}: not used, since the index does not name it",
            root.join(extra).display()
        ));
    }
    Ok(())
}

fn choose_single(root: &Path, listing: &FolderListing, notes: &mut Vec<String>) -> Result<String> {
    if listing.weights.iter().any(|name| name == SINGLE) {
        for extra in listing.weights.iter().filter(|name| *name != SINGLE) {
            notes
                .push(format!("{}: not used, since there is {SINGLE}", root.join(extra).display()));
        }
        return Ok(SINGLE.to_owned());
    }
    match listing.weights.as_slice() {
        [] => Err(no_weights(root, listing)),
        [one] if shards_of(one).is_none_or(|count| count == 1) => {
            notes.push(format!("{}: read as {SINGLE}", root.join(one).display()));
            Ok(one.clone())
        }
        several => {
            let found = format!("no index, but {}", several.join(", "));
            let expected = format!("{INDEX}, or {SINGLE} alone");
            Err(Defect::new(DefectKind::IndexMissing, root, expected, found).into())
        }
    }
}

/// The total number of shards according to a shard's name: 30 for
/// `model-00001-of-00030.safetensors`.
fn shards_of(name: &str) -> Option<usize> {
    let (_, count) = name.strip_suffix(".safetensors")?.rsplit_once("-of-")?;
    count.parse().ok()
}

fn no_weights(root: &Path, listing: &FolderListing) -> CheckpointError {
    let expected = format!("{INDEX} with its shards, or {SINGLE}");
    match listing.pickles.first() {
        Some(pickle) => {
            Defect::new(DefectKind::Pickle, &root.join(pickle), expected, "a pickle").into()
        }
        None => CheckpointError::NotFound {
            what: format!("weights ({expected})"),
            looked_in: vec![root.display().to_string()],
            remedy: "Run `vendomini fetch` for the model, or give the folder that holds its shards"
                .to_owned(),
        },
    }
}

fn refuse_twice(shards: &[ReadShard]) -> Result<()> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (at, read) in shards.iter().enumerate() {
        for tensor in &read.tensors {
            if let Some(first) = seen.insert(&tensor.name, at) {
                let found = format!("it in {} too", shards[first].shard.path.display());
                let defect = Defect::new(
                    DefectKind::TensorInTwoShards,
                    &read.shard.path,
                    "each tensor in one shard",
                    found,
                );
                return Err(defect.tensor(&tensor.name).into());
            }
        }
    }
    Ok(())
}

/// Checks that the index lists exactly the tensors of the headers, each with the right shard.
fn check_agreement(file: &Path, index: &ShardIndex, shards: &[ReadShard]) -> Result<()> {
    let mut held: HashMap<&str, usize> = HashMap::new();
    for (at, read) in shards.iter().enumerate() {
        held.extend(read.tensors.iter().map(|tensor| (tensor.name.as_str(), at)));
    }
    for (name, shard) in &index.weight_map {
        let kind = match held.remove(name.as_str()) {
            Some(at) if at == *shard => continue,
            Some(at) => (DefectKind::IndexContradicted, format!("it in {}", index.shards[at])),
            None => (DefectKind::IndexStale, "it in no shard".to_owned()),
        };
        let expected = format!("it in {}", index.shards[*shard]);
        return Err(Defect::new(kind.0, file, expected, kind.1).tensor(name).into());
    }
    // The remaining tensors are not in the index. Reporting the smallest name makes the message
    // deterministic.
    if let Some((name, at)) = held.into_iter().min() {
        let found = format!("it in {}", index.shards[at]);
        return Err(Defect::new(
            DefectKind::IndexStale,
            file,
            "every tensor of its shards in weight_map",
            found,
        )
        .tensor(name)
        .into());
    }
    Ok(())
}

fn compare_total(file: &Path, index: &ShardIndex, shards: &[ReadShard], notes: &mut Vec<String>) {
    let bytes: u64 = shards.iter().flat_map(|s| &s.tensors).map(|t| t.bytes).sum();
    if let Some(total) = index.total_bytes.filter(|total| *total != bytes) {
        notes.push(format!(
            "{}: total_size says {total} bytes, the headers {bytes}; the headers count",
            file.display()
        ));
    }
}

fn inventory(shards: Vec<ReadShard>) -> Inventory {
    let mut files = Vec::with_capacity(shards.len());
    let mut tensors = Vec::new();
    for (at, read) in shards.into_iter().enumerate() {
        files.push(read.shard);
        tensors.extend(read.tensors.into_iter().map(|t| TensorEntry {
            name: t.name,
            dtype: t.dtype,
            shape: t.shape,
            shard: at,
            offset: t.offset,
            bytes: t.bytes,
        }));
    }
    Inventory::new(files, tensors)
}
