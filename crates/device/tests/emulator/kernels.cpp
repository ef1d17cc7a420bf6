// Test kernels for the emulator, each in a correct and a wrong (`bad`) variant. Run as `program
// CASE good|bad ORDER`.
#include "../../fake_driver/block_scheduler.hpp"

#include <string>

#include "../../src/cuda/kernels/memory.cuh"
#include "../../src/cuda/kernels/mma.cuh"
#include "../../src/cuda/kernels/reduce.cuh"

struct TestArgs {
    u32* out;
    const u32* from;
    i32 bad;
    u32 unused;
};

// Every thread passes its index to its neighbor through shared memory; `bad`: without a barrier.
KERNEL(pass_on, TestArgs, 64, 1) {
    SHARED(u32, values, [64]);
    values[threadIdx.x] = threadIdx.x;
    if (!args.bad) __syncthreads();
    args.out[threadIdx.x] = values[(threadIdx.x + 1) % 64];
}

// `bad`: a warp does not reach the barrier of the block.
KERNEL(leave_block, TestArgs, 64, 1) {
    if (args.bad && threadIdx.x >= 32) return;
    __syncthreads();
    args.out[threadIdx.x] = 1;
}

// `bad`: a lane does not take part in the shuffle.
KERNEL(leave_warp, TestArgs, 64, 1) {
    f32 x = 1.0f;
    if (!args.bad || lane_id() != 7) x = warp_sum(x);
    args.out[threadIdx.x] = u32(x);
}

// `bad`: lanes of a warp wait for different operations.
KERNEL(part_ways, TestArgs, 64, 1) {
    if (args.bad && lane_id() == 3) {
        __syncwarp();
    } else {
        args.out[threadIdx.x] = u32(warp_sum(1.0f));
    }
    if (!args.bad) __syncwarp();
}

// `bad`: reads copied bytes before the copy has arrived.
KERNEL(copy_early, TestArgs, 64, 1) {
    SHARED(u32, words, [64][4]);
    copy16_async(words[threadIdx.x], args.from + 4 * threadIdx.x, true);
    copies_commit();
    if (!args.bad) copies_wait<0>();
    args.out[threadIdx.x] = words[threadIdx.x][1];
}

// `bad`: a 16-byte load from a misaligned address.
KERNEL(load_askew, TestArgs, 64, 1) { args.out[threadIdx.x] = load16(args.from + 4 * threadIdx.x + (args.bad ? 1 : 0)).word[1]; }

// A matrix multiplication of small integers, which is exact, so the expected value of every element
// is known. Writes the number of wrong elements of each lane; `bad`: one more.
KERNEL(multiply, TestArgs, 64, 1) {
    const auto number = [](u32 row, u32 k) { return f32((row * 5 + k * 3) % 7) - 3.0f; };
    const u32 group = lane_id() / 4, in_group = lane_id() % 4;
    const auto eight = [&](u32 row) {
        Words4 words;
        for (u32 i = 0; i < 4; i++) {
            const u32 k = 8 * in_group + 2 * i;
            words.word[i] = __float_as_uint(number(row, k)) >> 16 | (__float_as_uint(number(row, k + 1)) & 0xffff0000u);
        }
        return words;
    };
    Accumulator sums = ZERO_ACCUMULATOR;
    mma_32(sums, eight(group), eight(group + 8), eight(16 + group));
    u32 wrong = 0;
    for (u32 i = 0; i < 4; i++) {
        f32 expected = 0.0f;
        for (u32 k = 0; k < 32; k++) expected += number(group + 8 * (i / 2), k) * number(16 + 2 * in_group + i % 2, k);
        wrong += sums.value[i] != expected;
    }
    args.out[threadIdx.x] = wrong + (args.bad ? 1 : 0);
}

int main(int count, char** words) {
    if (count != 4) return 2;
    const std::string name = words[1];
    std::vector<u32> out(64, 9);
    alignas(16) static u32 from[4 * 64 + 4];
    for (u32 i = 0; i < 4 * 64 + 4; i++) from[i] = i;
    const TestArgs args{out.data(), from, std::string(words[2]) == "bad", 0};
    void (*kernel)(const void*) = nullptr;
#define CASE(kernel_name) if (name == #kernel_name) kernel = kernel_name
    CASE(pass_on);
    CASE(leave_block);
    CASE(leave_warp);
    CASE(part_ways);
    CASE(copy_early);
    CASE(load_askew);
    CASE(multiply);
    if (kernel == nullptr) return 2;
    const bool reversed = std::string(words[3]) == "reversed";
    emulator::BlockScheduler::get().run({kernel, &args, {1, 1, 1}, {64, 1, 1}, 0, reversed});
    for (u32 number : out) std::printf("%u ", number);
    std::printf("\n");
    return 0;
}
