"""Kernels to PTX by NVRTC, and PTX to each GPU's own code by ptxas: neither needs a GPU or a driver.

    nvrtc.py ptx TOOLS KERNELS OUT      compiles KERNELS/kernels.cu to the PTX file OUT
    nvrtc.py code TOOLS PTX ARCH...     assembles PTX for each ARCH (sm_80 ..), prints what kernels take; fails where one spills

TOOLS is the folder that `.ci/ptx` installed the toolkit's packages to.
"""

import ctypes
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# The oldest GPUs that have bf16 products and asynchronous copies. Newer ones compile the same PTX further.
ARCHITECTURE = "compute_80"
# No contraction: kernels ask for fused additions where they want them, so that the fake GPU adds as a real one does.
OPTIONS = [f"--gpu-architecture={ARCHITECTURE}", "--std=c++17", "--fmad=false"]


class Nvrtc:
    """The library, by its C functions. Every call is checked."""

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
        """Headers are handed over by name, so that the image does not depend on where they lie."""
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
    """Assembles for one architecture. Whether no kernel keeps registers in memory, and what each needs."""
    assembler = next(tools.glob("nvidia/cuda_nvcc/bin/ptxas"))
    assembler.chmod(0o755)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as out:
        done = subprocess.run(
            [assembler, "-v", f"-arch={architecture}", ptx, "-o", out.name], capture_output=True, text=True, timeout=300
        )
    if done.returncode != 0:
        sys.exit(f"{architecture}: ptxas refused {ptx}:\n{done.stderr}")
    found = re.findall(
        r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
        r".*?Used (\d+) registers(?:[^\n]*?(\d+) bytes smem)?",
        done.stderr,
        re.DOTALL,
    )
    if not found:
        sys.exit(f"{architecture}: ptxas told nothing of any kernel:\n{done.stderr}")
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
            for _, needs in results:
                print(needs)
            if not all(good for good, _ in results):
                sys.exit("kernels keep registers in memory: give them fewer rows, tokens or stages")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
