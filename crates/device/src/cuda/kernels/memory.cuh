// Vector loads and asynchronous copies with cache hints.
#pragma once
#include "platform.cuh"

#ifdef __CUDACC__

// Loads 16 aligned bytes that are read only once, so that they are not cached in L1.
DEVICE Words4 load_streamed(const void* from) {
    Words4 w;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(w.word[0]), "=r"(w.word[1]), "=r"(w.word[2]), "=r"(w.word[3])
                 : "l"(from));
    return w;
}

// Loads 16 aligned bytes that other threads read too.
DEVICE Words4 load16(const void* from) {
    const uint4 v = *static_cast<const uint4*>(from);
    return {{v.x, v.y, v.z, v.w}};
}

// Loads 8 aligned bytes.
DEVICE Words2 load8(const void* from) {
    const uint2 v = *static_cast<const uint2*>(from);
    return {{v.x, v.y}};
}

DEVICE void store16(void* to, Words4 w) { *static_cast<uint4*>(to) = make_uint4(w.word[0], w.word[1], w.word[2], w.word[3]); }

// Starts a copy of 16 aligned bytes from global to shared memory; stores zeros if `there` is false.
DEVICE void copy16_async(void* shared, const void* from, bool there) {
    const u32 to = static_cast<u32>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(there ? 16 : 0) : "memory");
}

// Ends a group of this thread's copies.
DEVICE void copies_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most `groups` groups of this thread's copies are pending. Other threads see the
// bytes after a barrier.
template <int groups> DEVICE void copies_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory"); }

#else

DEVICE Words4 load16(const void* from) { return *emulator::aligned<Words4>(from); }
DEVICE Words4 load_streamed(const void* from) { return load16(from); }
DEVICE Words2 load8(const void* from) { return *emulator::aligned<Words2>(from); }
DEVICE void store16(void* to, Words4 w) { *const_cast<Words4*>(emulator::aligned<Words4>(to)) = w; }
DEVICE void copy16_async(void* shared, const void* from, bool there) { emulator::copy16_async(shared, from, there); }
DEVICE void copies_commit() { emulator::copies_commit(); }
template <int groups> DEVICE void copies_wait() { emulator::copies_wait(groups); }

#endif

constexpr Words4 ZEROS{{0, 0, 0, 0}};
