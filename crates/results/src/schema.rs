//! Version of the file formats.

/// Version of everything that this crate writes; folders of another version are refused.
pub const SCHEMA_VERSION: u32 = 1;
