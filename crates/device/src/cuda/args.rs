//! Argument structs of the kernels. Each has the fields of the struct of the same name in the
//! kernel sources (`kernels/`), in the same order; the sources document shapes and units. Pointers
//! are device addresses, of type `u64`.

use super::launch::KernelArgs;

/// Element types, numbered as in `element_types.cuh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum ElementType {
    F32 = 0,
    F16 = 1,
    Bf16 = 2,
    Int8 = 3,
}

macro_rules! args {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, Default)]
            #[repr(C)]
            pub(super) struct $name {
                $($(#[$field_doc])* pub $field: $kind,)*
            }

            // SAFETY: the struct is `repr(C)` with the fields of the kernel's struct in the same
            // order and without padding; all fields consist of numbers.
            unsafe impl KernelArgs for $name {}
        )*
    };
}

/// Largest number of matrix products in one launch; equal to the constant in `linear.cuh`.
pub(super) const PRODUCTS_MAX: usize = 4;

args! {
    /// Mirrors the struct in `linear.cuh`.
    ProductArgs {
        weight: u64,
        /// Device address; 0: no bias.
        bias: u64,
        out: u64,
        rows: i64,
        first_block: i64,
    }
    /// Mirrors the struct in `kv_cache.cuh`.
    KvCacheArgs {
        keys: u64,
        values: u64,
        key_scales: u64,
        value_scales: u64,
        kv_heads: i32,
        key_dim: i32,
        value_dim: i32,
        block_shift: i32,
    }
    /// Mirrors the struct in `epilogue.cuh`. Address 0: no output in this dtype.
    EpilogueArgs {
        out_bf16: u64,
        out_f32: u64,
    }
    /// Mirrors the struct in `linear.cuh`.
    LinearArgs {
        products: [ProductArgs; PRODUCTS_MAX],
        x: u64,
        x_stride: i64,
        row_bytes: i64,
        count: i32,
        tokens: i32,
        cols: i32,
        aligned: i32,
    }
    /// Mirrors the struct in `norm.cu`.
    NormArgs {
        x: u64,
        y: u64,
        weight: u64,
        bias: u64,
        out: u64,
        epilogue: EpilogueArgs,
        rows: i64,
        cols: i64,
        eps: f32,
        unused: u32,
    }
    /// Mirrors the struct in `rope.cu`.
    RopeArgs {
        x: [u64; 2],
        positions: u64,
        cos: u64,
        sin: u64,
        tokens: i64,
        heads: [i32; 2],
        head_dim: i32,
        half: i32,
        interleaved: i32,
        unused: u32,
    }
    /// Mirrors the struct in `elementwise.cu`.
    ElementwiseArgs {
        x: u64,
        y: u64,
        epilogue: EpilogueArgs,
        count: i64,
    }
    /// Mirrors the struct in `elementwise.cu`.
    GatherArgs {
        x: u64,
        rows: u64,
        out: u64,
        count: i64,
        cols: i64,
    }
    /// Mirrors the struct in `convert.cu`.
    PackArgs {
        x: u64,
        out_bf16: u64,
        out_f32: u64,
        tokens: i64,
        cols: i64,
        stride: i64,
    }
    /// Mirrors the struct in `convert.cu`.
    ConvertArgs {
        from: u64,
        to: u64,
        count: i64,
        from_type: i32,
        to_type: i32,
    }
    /// Mirrors the struct in `embed.cu`.
    EmbedArgs {
        table: u64,
        ids: u64,
        out: u64,
        row_bytes: i64,
        cols: i64,
        count: i64,
    }
    /// Mirrors the struct in `write_kv.cu`.
    WriteKvArgs {
        cache: KvCacheArgs,
        k: u64,
        v: u64,
        slots: u64,
        tokens: i64,
        element_type: i32,
        unused: u32,
    }
    /// Mirrors the struct in `write_kv.cu`.
    CopyKvBlockArgs {
        part: [u64; 4],
        bytes: [i64; 4],
        from: i64,
        to: i64,
    }
    /// Mirrors the struct in `attention.cuh`.
    AttentionArgs {
        cache: KvCacheArgs,
        q: u64,
        out: u64,
        epilogue: EpilogueArgs,
        sinks: u64,
        sequences: u64,
        blocks: u64,
        tiles: u64,
        sequence_of_row: u64,
        states: u64,
        totals: u64,
        first_split: i32,
        splits: i32,
        group: i32,
        window: i32,
        scale: f32,
        slices: i32,
        first_round: i32,
        last_round: i32,
    }
    /// Mirrors the struct in `bench.cu`.
    FillArgs {
        to: u64,
        count: i64,
        seed: u64,
        deviation: f32,
        element_type: i32,
        block_bytes: i32,
        scales_at: i32,
        scales: i32,
        unused: u32,
    }
    /// Mirrors the struct in `bench.cu`.
    ReadArgs {
        from: u64,
        sums: u64,
        words: i64,
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernels::{Kernel, PTX};
    use super::*;

    /// Size of the kernel's parameter in bytes, as declared in the PTX.
    fn bytes_in_ptx(kernel: Kernel) -> usize {
        let ptx = std::str::from_utf8(PTX).expect("UTF-8");
        let name = kernel.name().to_string_lossy().into_owned();
        let entry =
            ptx.split(&format!(".visible .entry {name}(")).nth(1).expect("an entry of the kernel");
        let bytes = entry.split(&format!("{name}_param_0[")).nth(1).expect("a parameter");
        bytes.split(']').next().expect("a size").parse().expect("a number")
    }

    #[test]
    fn argument_structs_have_the_size_that_the_ptx_declares() {
        for (kernel, bytes) in [
            (Kernel::LinearMma8, size_of::<LinearArgs>()),
            (Kernel::RmsNormLong, size_of::<NormArgs>()),
            (Kernel::Rope, size_of::<RopeArgs>()),
            (Kernel::Add, size_of::<ElementwiseArgs>()),
            (Kernel::GatherRows, size_of::<GatherArgs>()),
            (Kernel::PackActivations, size_of::<PackArgs>()),
            (Kernel::Convert, size_of::<ConvertArgs>()),
            (Kernel::EmbedF32, size_of::<EmbedArgs>()),
            (Kernel::WriteKv, size_of::<WriteKvArgs>()),
            (Kernel::CopyKvBlock, size_of::<CopyKvBlockArgs>()),
            (Kernel::AttentionBf16Rows8, size_of::<AttentionArgs>()),
            (Kernel::FillNormal, size_of::<FillArgs>()),
            (Kernel::ReadAll, size_of::<ReadArgs>()),
        ] {
            assert_eq!(bytes, bytes_in_ptx(kernel), "{kernel:?}");
        }
    }
}
