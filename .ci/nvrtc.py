"""Compiles the kernels to PTX with NVRTC, and assembles PTX with ptxas. No GPU or driver is needed.

    nvrtc.py ptx TOOLS KERNELS OUT      compiles KERNELS/kernels.cu to OUT
    nvrtc.py code TOOLS PTX ARCH...     assembles PTX for each ARCH (sm_80, ...), prints registers and
                                        shared memory of each kernel, and fails if one spills

TOOLS is the folder into which `.ci/ptx` installed the packages of the toolkit.
"""

import ctypes
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# The oldest architecture with bf16 mma and cp.async. The driver compiles its PTX for newer GPUs.
ARCHITECTURE = "compute_80"
# No contraction of a * b + c: kernels call fmaf explicitly, so that the emulator of the fake CUDA
# driver computes the same bits.
OPTIONS = [f"--gpu-architecture={ARCHITECTURE}", "--std=c++17", "--fmad=false"]


class Nvrtc:
    """The NVRTC library. Every call is checked."""

    def __init__(self, tools: Path):
        self.library = ctypes.CDLL(str(next(tools.glob("nvidia/cuda_nvrtc/lib/libnvrtc.so.*"))))
        self.library.nvrtcGetErrorString.restype = ctypes.c_char_p

    def call(self, name: str, *arguments) -> int:
        return getattr(self.library, name)(*arguments)

    def checked(self, name: str, *arguments) -> None:
        code = self.call(name, *arguments)
        if code != 0:
            sys.exit(f"{name}: {self.library.nvrtcGetErrorString(code).decode()}")

    def text(self, program, size: str, get: str) -> bytes:
        length = ctypes.c_size_t()
        self.checked(size, program, ctypes.byref(length))
        buffer = ctypes.create_string_buffer(length.value)
        self.checked(get, program, buffer)
        return buffer.value

    def ptx(self, source: Path) -> bytes:
        """Compiles with headers passed by name, so that the result does not depend on the folder."""
        headers = sorted(path for path in source.parent.iterdir() if path.suffix in (".cu", ".cuh") and path != source)
        texts = (ctypes.c_char_p * len(headers))(*(path.read_bytes() for path in headers))
        names = (ctypes.c_char_p * len(headers))(*(path.name.encode() for path in headers))
        program = ctypes.c_void_p()
        name = source.name.encode()
        self.checked("nvrtcCreateProgram", ctypes.byref(program), source.read_bytes(), name, len(headers), texts, names)
        options = (ctypes.c_char_p * len(OPTIONS))(*(option.encode() for option in OPTIONS))
        failed = self.call("nvrtcCompileProgram", program, len(OPTIONS), options) != 0
        log = self.text(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog").decode()
        if log.strip():
            print(log, file=sys.stderr)
        if failed:
            sys.exit(f"{source} does not compile")
        return self.text(program, "nvrtcGetPTXSize", "nvrtcGetPTX")


def code(tools: Path, ptx: Path, architecture: str) -> tuple[bool, str]:
    """Assembles for one architecture; returns whether no kernel spills registers, and a report."""
    assembler = next(tools.glob("nvidia/cuda_nvcc/bin/ptxas"))
    assembler.chmod(0o755)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as out:
        done = subprocess.run(
            [assembler, "-v", f"-arch={architecture}", ptx, "-o", out.name], capture_output=True, text=True, timeout=300
        )
    if done.returncode != 0:
        sys.exit(f"{architecture}: ptxas failed for {ptx}:\n{done.stderr}")
    found = re.findall(
        r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
        r".*?Used (\d+) registers(?:[^\n]*?(\d+) bytes smem)?",
        done.stderr,
        re.DOTALL,
    )
    if not found:
        sys.exit(f"{architecture}: no kernel in the output of ptxas:\n{done.stderr}")
    good, lines = True, [f"{architecture}: {len(found)} kernels"]
    for name, stack, stores, loads, registers, shared in found:
        spills = int(stack) + int(stores) + int(loads) > 0
        good &= not spills
        note = f"  SPILLS: {stack} bytes of stack, {stores} stored, {loads} loaded" if spills else ""
        lines.append(f"  {name:26} {registers:>4} registers {shared or 0:>6} bytes shared{note}")
    return good, "\n".join(lines)


def main() -> None:
    match sys.argv[1:]:
        case ["ptx", tools, kernels, out]:
            Path(out).write_bytes(Nvrtc(Path(tools)).ptx(Path(kernels) / "kernels.cu"))
        case ["code", tools, ptx, *architectures] if architectures:
            with ThreadPoolExecutor() as pool:
                results = list(pool.map(lambda architecture: code(Path(tools), Path(ptx), architecture), architectures))
            for _, report in results:
                print(report)
            if not all(good for good, _ in results):
                sys.exit("kernels spill registers: give them fewer rows, tokens or stages")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
