// Order of summation of every bf16 matrix product, in all kernels.
//
// k is divided into spans of 128; span s belongs to segment s % 8. The spans of a segment are
// summed in order by one chain of mma instructions, and the sums of the eight segments are added in
// order. So the bits of a result row depend neither on the number of tokens nor on the kernel.
#pragma once
#include "mma.cuh"

constexpr i32 SEGMENTS = 8;
constexpr i32 SPAN = 128;
constexpr i32 SPAN_STEPS = SPAN / MMA_K;
