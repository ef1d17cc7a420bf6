//! Helpers of several tests of the program.

pub mod cgroup;
