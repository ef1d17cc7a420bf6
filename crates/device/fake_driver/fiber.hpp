// Fibers, one per thread of a block: a stack and a saved stack pointer. On x86-64 a switch between
// fibers saves and loads six registers; on other machines it calls swapcontext.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emulator {

#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t STACK_BYTES = 256 << 10;
#else
constexpr std::size_t STACK_BYTES = 64 << 10;
#endif

#if defined(__x86_64__)

// Saves the callee-saved registers, stores the stack pointer in *from, continues on the stack `to`.
extern "C" void emulator_switch(void** from, void* to);
asm(R"(
    .text
    .p2align 4
    .local emulator_switch
    .type emulator_switch, @function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emulator_switch, . - emulator_switch
)");

// Suspended execution state of a fiber.
struct SavedStack {
    void* stack_pointer = nullptr;

    void begin(unsigned char* stack, void (*entry)()) {
        auto* top = reinterpret_cast<std::uintptr_t*>(stack + STACK_BYTES);
        *--top = 0;  // alignment: at function entry the stack pointer is 16 n + 8
        *--top = reinterpret_cast<std::uintptr_t>(entry);
        for (int saved = 0; saved < 6; saved++) *--top = 0;
        stack_pointer = top;
    }
    static void change(SavedStack& from, SavedStack& to) { emulator_switch(&from.stack_pointer, to.stack_pointer); }
};

#else

struct SavedStack {
    ucontext_t context;

    void begin(unsigned char* stack, void (*entry)()) {
        getcontext(&context);
        context.uc_stack.ss_sp = stack;
        context.uc_stack.ss_size = STACK_BYTES;
        context.uc_link = nullptr;
        makecontext(&context, entry, 0);
    }
    static void change(SavedStack& from, SavedStack& to) { swapcontext(&from.context, &to.context); }
};

#endif

#if defined(__SANITIZE_ADDRESS__)

// A suspended state and its stack: the address sanitizer must be notified of every stack switch.
struct FiberContext {
    SavedStack saved;
    const void* stack = nullptr;
    std::size_t stack_bytes = STACK_BYTES;
    void* fake_stack = nullptr;

    void begin(unsigned char* memory, void (*entry)()) {
        stack = memory;
        __asan_unpoison_memory_region(memory, STACK_BYTES);  // poisoned by a finished fiber
        saved.begin(memory, entry);
    }
    static void change(FiberContext& from, FiberContext& to, bool last) {
        if (from.stack == nullptr) from.find_own_stack();
        __sanitizer_start_switch_fiber(last ? nullptr : &from.fake_stack, to.stack, to.stack_bytes);
        SavedStack::change(from.saved, to.saved);
        arrived(from);
    }
    static void arrived(FiberContext& here) { __sanitizer_finish_switch_fiber(here.fake_stack, nullptr, nullptr); }

    // Finds the stack of this system thread.
    void find_own_stack() {
        pthread_attr_t attributes;
        void* start = nullptr;
        pthread_getattr_np(pthread_self(), &attributes);
        pthread_attr_getstack(&attributes, &start, &stack_bytes);
        pthread_attr_destroy(&attributes);
        stack = start;
    }
};

#else

struct FiberContext {
    SavedStack saved;

    void begin(unsigned char* memory, void (*entry)()) { saved.begin(memory, entry); }
    static void change(FiberContext& from, FiberContext& to, bool) { SavedStack::change(from.saved, to.saved); }
    static void arrived(FiberContext&) {}
};

#endif

}  // namespace emulator
