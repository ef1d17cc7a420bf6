//! What several tests of the program need.

pub mod cgroup;
