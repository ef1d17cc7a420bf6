// The order in which products of bf16 weights and activations are summed, whatever kernel computes them.
//
// k is cut into spans of 128; span s belongs to segment s % 8. A segment's spans are summed in their order by one chain of matrix
// multiplications, and the eight segments' sums are added in their order. So the bits of a row depend neither on the number of tokens nor
// on the kernel.
#pragma once
#include "mma.cuh"

constexpr i32 SEGMENTS = 8;
constexpr i32 SPAN = 128;
constexpr i32 SPAN_STEPS = SPAN / MMA_K;
