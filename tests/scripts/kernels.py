"""What the stage's kernels compile to, for GPUs that needn't be there.

As a program, it shows for each variant a thread's instructions (16 bytes each; up to 8 fill the last line of code),
their number per level that it writes, its registers, its bytes of local memory (where registers spill to) and of shared
memory, and its reads and writes of global memory by their bits.

Examples:
    python tests/scripts/kernels.py
"""

import itertools
import re
import struct
import subprocess
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from unittest import mock

import torch
import triton
from triton.backends.compiler import GPUTarget

import dali_mixup as dm
from dali_mixup.stage.triton_kernel import TritonStage

ARCHITECTURES = (90, 80)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
MIXERS = ("plain", "mixup", "cutmix")
WIDTHS = {torch.float32: (224, 225), torch.float16: (224, 300, 225), torch.bfloat16: (224, 225)}
VARIANTS = [
    variant for dtype in DTYPES for variant in itertools.product(ARCHITECTURES, WIDTHS[dtype], [dtype], LAYOUTS, MIXERS)
]


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """What a thread of a kernel does: `accesses` have names like "st 128 evict_first", `sums` of float32 like "fma"."""

    levels: int
    instructions: int
    registers: int
    spilled: int
    shared: int
    accesses: Counter
    sums: Counter


@contextmanager
def compiling_for(architecture):
    """Triton compiles what is launched and launches nothing; the kernels, in a list."""
    kernels, launch = [], triton.runtime.JITFunction.run
    gpu = SimpleNamespace(
        get_current_device=lambda: architecture,  # each has kernels of its own
        get_current_stream=lambda device: 0,
        get_current_target=lambda: GPUTarget("cuda", architecture, 32),
    )

    def compile_only(self, *args, warmup, **options):
        kernels.append(launch(self, *args, warmup=True, **options))

    with (
        mock.patch.object(triton.runtime.driver, "_active", gpu),
        mock.patch.object(triton.runtime.JITFunction, "run", compile_only),
    ):
        yield kernels


def draw_for(mixer, count):
    """No values of any meaning: they aren't read."""
    options = {"lam": torch.zeros(count), "partner": torch.zeros(count, dtype=torch.int64)}
    if mixer == "mixup":
        return dm.MixUpDraw(**options)
    boxes = torch.zeros(count, 4, dtype=torch.int64)
    return dm.CutMixDraw(**options, boxes=boxes, size=(1, 1)) if mixer == "cutmix" else None


def compile_stage(architecture, width, dtype, layout, mixer):
    """What a stage launches for images (2, 224, width, 3)."""
    pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(8))
    stage = TritonStage(pipeline, dtype=dtype, memory_format=LAYOUTS[layout], device=torch.device("cpu"))
    with compiling_for(architecture) as kernels:
        stage.finish(torch.empty(2, 224, width, 3, dtype=torch.uint8), draw_for(mixer, 2))
    cubin = kernels[0].asm["cubin"]
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    usage = {name: int(number) for name, number in re.findall(r"\b(REG|STACK|SHARED|LOCAL):(\d+)", text)}
    ptx = kernels[0].asm["ptx"]
    accesses = [
        (kind, int(vector or 1) * int(bits), " evict_first" if "evict_first" in how else "")
        for kind, how, vector, bits in re.findall(r"\b(ld|st)\.global(\S*?)(?:\.v(\d))?\.b(\d+) ", ptx)
    ]
    return Compiled(
        levels=sum(bits for kind, bits, _ in accesses if kind == "st") // (8 * dtype.itemsize),
        instructions=code_bytes(cubin) // 16,
        registers=usage["REG"],
        spilled=usage["STACK"] + usage["LOCAL"],
        shared=usage["SHARED"],
        accesses=Counter(f"{kind} {bits}{how}" for kind, bits, how in accesses),
        sums=Counter(re.findall(r"\b(add|sub|mul|fma)\S*\.f32 ", ptx)),
    )


def code_bytes(cubin):
    """The sizes of an ELF file's executable sections."""
    start = struct.unpack_from("<Q", cubin, 0x28)[0]
    size, count = struct.unpack_from("<HH", cubin, 0x3A)
    sections = [struct.unpack_from("<8xQ16xQ", cubin, start + i * size) for i in range(count)]
    return sum(length for flags, length in sections if flags & 4)


def main():
    print(f"Triton {triton.__version__}")
    print("sm width dtype    layout mixer  | instructions per level registers spilled shared | accesses")
    for variant in VARIANTS:
        found = compile_stage(*variant)
        architecture, width, dtype, layout, mixer = variant
        name = f"{architecture} {width:5} {str(dtype)[6:]:8} {layout:6} {mixer:6}"
        per_level = found.instructions / found.levels
        numbers = f"{found.instructions:12} {per_level:9.1f} {found.registers:9} {found.spilled:7} {found.shared:6}"
        accesses = ", ".join(f"{n} x {access}" for access, n in sorted(found.accesses.items()))
        print(f"{name} | {numbers} | {accesses}")


if __name__ == "__main__":
    main()
