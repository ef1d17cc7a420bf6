//! Names of the kernels, and their PTX.

use std::ffi::CStr;

/// The kernels' PTX as text, compiled from the sources in `kernels/` by `.ci/ptx`.
pub(super) const PTX: &[u8] = include_bytes!("kernels.ptx");

macro_rules! kernels {
    ($($kernel:ident = $name:literal,)*) => {
        /// A kernel: an entry point of the PTX.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Kernel {
            $($kernel,)*
        }

        impl Kernel {
            pub(super) const ALL: &[Kernel] = &[$(Kernel::$kernel,)*];

            /// Name of the entry point.
            pub(super) fn name(self) -> &'static CStr {
                match self {
                    $(Kernel::$kernel => $name,)*
                }
            }
        }
    };
}

kernels! {
    Add = c"add",
    AttentionBf16Rows8 = c"attention_bf16_8",
    AttentionBf16Rows32 = c"attention_bf16_32",
    AttentionInt8Rows8 = c"attention_int8_8",
    AttentionInt8Rows32 = c"attention_int8_32",
    AttentionPlainF32 = c"attention_plain_f32",
    AttentionPlainBf16 = c"attention_plain_bf16",
    AttentionPlainInt8 = c"attention_plain_int8",
    Convert = c"convert",
    CopyKvBlock = c"copy_kv_block",
    EmbedF32 = c"embed_f32",
    EmbedF16 = c"embed_f16",
    EmbedBf16 = c"embed_bf16",
    EmbedQ8_0 = c"embed_q8_0",
    EmbedQ4_0 = c"embed_q4_0",
    EmbedQ4_1 = c"embed_q4_1",
    EmbedQ5_0 = c"embed_q5_0",
    EmbedQ5_1 = c"embed_q5_1",
    EmbedQ4K = c"embed_q4_k",
    EmbedQ5K = c"embed_q5_k",
    EmbedQ6K = c"embed_q6_k",
    FillBlocks = c"fill_blocks",
    FillNormal = c"fill_normal",
    GatherRows = c"gather_rows",
    Gelu = c"gelu_all",
    GeluMul = c"gelu_mul",
    GeluTanh = c"gelu_tanh_all",
    GeluTanhMul = c"gelu_tanh_mul",
    LayerNormLong = c"layer_norm_long",
    LayerNormShort = c"layer_norm_short",
    LinearMma8 = c"linear_mma_8",
    LinearMma16 = c"linear_mma_16",
    LinearMma32 = c"linear_mma_32",
    LinearMma64 = c"linear_mma_64",
    LinearMmaAnywhere = c"linear_mma_anywhere",
    LinearTiles = c"linear_tiles",
    LinearF32Tokens1 = c"linear_f32_1",
    LinearF32Tokens8 = c"linear_f32_8",
    LinearF16Tokens1 = c"linear_f16_1",
    LinearF16Tokens8 = c"linear_f16_8",
    LinearBf16Tokens1 = c"linear_bf16_1",
    LinearBf16Tokens8 = c"linear_bf16_8",
    LinearQ8_0Tokens1 = c"linear_q8_0_1",
    LinearQ8_0Tokens8 = c"linear_q8_0_8",
    LinearQ4_0Tokens1 = c"linear_q4_0_1",
    LinearQ4_0Tokens8 = c"linear_q4_0_8",
    LinearQ4_1Tokens1 = c"linear_q4_1_1",
    LinearQ4_1Tokens8 = c"linear_q4_1_8",
    LinearQ5_0Tokens1 = c"linear_q5_0_1",
    LinearQ5_0Tokens8 = c"linear_q5_0_8",
    LinearQ5_1Tokens1 = c"linear_q5_1_1",
    LinearQ5_1Tokens8 = c"linear_q5_1_8",
    LinearQ4KTokens1 = c"linear_q4_k_1",
    LinearQ4KTokens8 = c"linear_q4_k_8",
    LinearQ5KTokens1 = c"linear_q5_k_1",
    LinearQ5KTokens8 = c"linear_q5_k_8",
    LinearQ6KTokens1 = c"linear_q6_k_1",
    LinearQ6KTokens8 = c"linear_q6_k_8",
    MergeSplits8 = c"merge_splits_8",
    MergeSplits32 = c"merge_splits_32",
    PackActivations = c"pack_activations",
    QuantizeQ8_0 = c"quantize_q8_0",
    ReadAll = c"read_all",
    RmsNormLong = c"rms_norm_long",
    RmsNormShort = c"rms_norm_short",
    Rope = c"rope",
    Silu = c"silu_all",
    SiluMul = c"silu_mul",
    WriteKv = c"write_kv",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ptx_has_exactly_these_entry_points() {
        let ptx = std::str::from_utf8(PTX).expect("UTF-8");
        let entry = |line: &str| {
            line.strip_prefix(".visible .entry ").map(|rest| rest.trim_end_matches('(').to_owned())
        };
        let mut there: Vec<String> = ptx.lines().filter_map(entry).collect();
        let mut named: Vec<String> =
            Kernel::ALL.iter().map(|kernel| kernel.name().to_string_lossy().into_owned()).collect();
        there.sort();
        named.sort();
        assert_eq!(there, named);
    }
}
