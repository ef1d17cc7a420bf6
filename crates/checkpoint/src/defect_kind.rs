//! The invariants of a checkpoint, each with the title and the remedy of its violation.

/// An invariant that a checkpoint violates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DefectKind {
    // The checkpoint's files.
    NotRegularFile,
    LfsPointer,
    Pickle,
    WeightsMissing,
    NotAModel,
    Changed,
    // JSON files.
    NotJson,
    DuplicateKey,
    TooLarge,
    WrongType,
    // The safetensors index.
    IndexMissing,
    SeveralIndexes,
    IndexStale,
    IndexContradicted,
    ShardNameEscapes,
    TensorInTwoShards,
    // The header of a safetensors file.
    HeaderLength,
    HeaderTruncated,
    HeaderNotJson,
    UnknownDtype,
    ShapeOverflow,
    OffsetsInvalid,
    SizeMismatch,
    Overlap,
    Hole,
    Truncated,
    TrailingBytes,
    // The GGUF file.
    GgufMagic,
    GgufVersion,
    GgufValue,
    GgufAlignment,
    GgufTensorType,
    GgufArchitecture,
    // The configuration.
    ConfigValue,
    ConfigMissing,
    UnknownArchitecture,
    UnknownRope,
    Quantized,
    Unsupported,
    // The tensors, compared with the configuration.
    TensorMissing,
    TensorUnexpected,
    ShapeMismatch,
    DtypeUnusable,
    TiedContradiction,
}

impl DefectKind {
    /// The title of the violation in messages, a few words long.
    pub fn title(self) -> &'static str {
        use DefectKind::*;
        match self {
            NotRegularFile => "not a regular file",
            LfsPointer => "a Git LFS pointer, not the file itself",
            Pickle => "weights stored as a pickle",
            WeightsMissing => "no weights",
            NotAModel => "not a model",
            Changed => "changed while it was read",
            NotJson => "not valid JSON",
            DuplicateKey => "duplicate key",
            TooLarge => "too large",
            WrongType => "wrong type",
            IndexMissing => "index missing",
            SeveralIndexes => "several indexes",
            IndexStale => "stale index",
            IndexContradicted => "index and headers contradict each other",
            ShardNameEscapes => "shard name leaves the folder",
            TensorInTwoShards => "tensor in two shards",
            HeaderLength => "header length",
            HeaderTruncated => "header truncated",
            HeaderNotJson => "header is not valid JSON",
            UnknownDtype => "unknown dtype",
            ShapeOverflow => "shape overflows",
            OffsetsInvalid => "invalid data_offsets",
            SizeMismatch => "shape and size disagree",
            Overlap => "tensors overlap",
            Hole => "hole between tensors",
            Truncated => "file truncated",
            TrailingBytes => "trailing bytes",
            GgufMagic => "not a GGUF file",
            GgufVersion => "GGUF version",
            GgufValue => "GGUF metadata",
            GgufAlignment => "GGUF alignment",
            GgufTensorType => "GGUF tensor type",
            GgufArchitecture => "GGUF architecture",
            ConfigValue => "configuration",
            ConfigMissing => "configuration incomplete",
            UnknownArchitecture => "unknown architecture",
            UnknownRope => "unknown rotary embedding",
            Quantized => "quantized in a form that is not supported",
            Unsupported => "not supported",
            TensorMissing => "tensor missing",
            TensorUnexpected => "unexpected tensor",
            ShapeMismatch => "wrong shape",
            DtypeUnusable => "dtype cannot be used",
            TiedContradiction => "tied head contradicts the embedding",
        }
    }

    /// The general remedy for a violation, for messages.
    pub fn remedy(self) -> &'static str {
        use DefectKind::*;
        match self {
            NotRegularFile => "Put the file itself there",
            LfsPointer => "Run `git lfs pull` in the clone, or `vendomini fetch` for the model",
            Pickle => "Pickles can run code and are never read: convert the model to safetensors",
            WeightsMissing | NotAModel => "Give the folder of a model, or a .gguf file",
            Changed => "Let the copy or download finish, and run again",
            NotJson | DuplicateKey | TooLarge | WrongType => "Fetch the file again, or correct it",
            IndexMissing => "Fetch model.safetensors.index.json too",
            SeveralIndexes => "Keep the index that belongs to the shards, and move the others away",
            IndexStale | IndexContradicted => {
                "Fetch index and shards again: they are not of one version"
            }
            ShardNameEscapes => "Shards lie beside their index; do not trust this file",
            TensorInTwoShards => "Fetch the shards again: they are not of one version",
            HeaderLength | HeaderTruncated | HeaderNotJson | OffsetsInvalid | SizeMismatch
            | Overlap | Hole => {
                "The file is damaged or was written by a faulty tool: fetch it again"
            }
            ShapeOverflow => "The file is damaged or hostile: do not use it",
            Truncated => "The copy or download did not finish: fetch the file again",
            TrailingBytes => "The file is damaged or two were joined: fetch it again",
            UnknownDtype | DtypeUnusable => "Use a checkpoint in bf16, f16 or f32, or a GGUF file",
            GgufMagic | GgufVersion | GgufValue | GgufAlignment => {
                "Fetch the file again, or convert the model again"
            }
            GgufTensorType => {
                "Use a file in F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K or Q6_K"
            }
            GgufArchitecture | UnknownArchitecture => "Use a model of a known architecture",
            ConfigValue | ConfigMissing => "Fetch config.json again, or correct it",
            UnknownRope => "Use a model whose rotary embedding is known",
            Quantized => {
                "Use the unquantized checkpoint with `--dtype int8`, or a GGUF file of the model"
            }
            Unsupported => "Use another model or another form of it",
            TensorMissing | TensorUnexpected | ShapeMismatch => {
                "config.json and weights are not of one model: fetch both again"
            }
            TiedContradiction => {
                "Correct tie_word_embeddings in config.json, or fetch the weights again"
            }
        }
    }
}
