//! Version of the file formats.

/// Version of all file formats that this crate writes. Documents of another version are rejected.
pub const SCHEMA_VERSION: u32 = 1;
