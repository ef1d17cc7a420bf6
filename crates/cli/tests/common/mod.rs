//! Helpers that several tests of the program share.
#![allow(dead_code, reason = "each test file uses a part")]

pub mod cgroup;
pub mod fuse;
pub mod running;
