// The kernels as functions of the fake GPU, by their names, and what launches them.
#include "crew.hpp"
#include "emulator.hpp"

#include "../src/cuda/kernels/kernels.cu"

// Runs `kernel` for all blocks of the grid and returns when it is done. `args` points at its struct of arguments.
extern "C" void emulate_launch(void (*kernel)(const void*), const unsigned grid[3], const unsigned block[3],
                               unsigned dynamic_shared_bytes, const void* args) {
    const unsigned threads = block[0] * block[1] * block[2];
    if (threads == 0 || threads > 1024 || threads % emulator::LANES != 0) emulator::fail("a block is not of whole warps, at most 32");
    if (grid[1] > 65535 || grid[2] > 65535) emulator::fail("a grid is more than 65535 blocks high or deep");
    const char* order = std::getenv("FAKE_GPU_ORDER");
    const bool reversed = order != nullptr && std::strcmp(order, "reversed") == 0;
    const emulator::Launch launch{
        kernel, args, {grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]}, dynamic_shared_bytes, reversed};
    emulator::Crew::get().run(launch);
}
