// The kernels as functions of the fake CUDA driver, and their launcher.
#include "block_scheduler.hpp"
#include "emulator.hpp"

#include "../src/cuda/kernels/kernels.cu"

// Runs `kernel` for all blocks of the grid and returns when all are done. `args` points to its
// argument struct.
extern "C" void emulate_launch(void (*kernel)(const void*), const unsigned grid[3], const unsigned block[3],
                               unsigned dynamic_shared_bytes, const void* args) {
    const unsigned threads = block[0] * block[1] * block[2];
    if (threads == 0 || threads > 1024 || threads % emulator::LANES != 0) emulator::fail("a block must have 1 to 32 whole warps");
    if (grid[1] > 65535 || grid[2] > 65535) emulator::fail("grid y and z must be at most 65535");
    const char* order = std::getenv("FAKE_GPU_ORDER");
    const bool reversed = order != nullptr && std::strcmp(order, "reversed") == 0;
    const emulator::KernelLaunch launch{
        kernel, args, {grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]}, dynamic_shared_bytes, reversed};
    emulator::BlockScheduler::get().run(launch);
}
