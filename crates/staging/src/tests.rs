//! Tests of whole copies between two folders.
