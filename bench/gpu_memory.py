"""Memory of a GPU while a Loader runs over images of many sizes: its peak, and whether it goes on growing.

Counted is all that the device has given away since the start, so DALI's own memory too; nothing else may use the GPU
meanwhile. The images are drawn, from small ones to large ones, in an order that brings new largest batches late.

Examples:
    python -m bench.gpu_memory --json memory.json
    python -m bench.gpu_memory --size-hints --load 0.5
    python -m bench.gpu_memory --device cpu --steps 10 --batch-size 4     # to see that it runs
"""

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import torch

import dali_mixup as dm
from bench.command import Bench, Found, option
from bench.feed import draw_jpegs, forever
from bench.report import GPU_PACKAGES, Report
from dali_mixup.pipelines import imagenet

SIDES = (64, 1600)  # pixels
WARM = 0.2  # of the steps, after which memory should no longer grow
EVERY = 50  # steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to run."""

    steps: int = option(500, "batches")
    batch_size: int = option(32, "images per batch")
    files: int = option(120, "images that are drawn")
    load: float = option(0.65, "hardware decoder share")
    size_hints: bool = option(False, "set memory aside for the largest image at the start")
    device: str = option("cuda", "where to run")


def used_bytes(device: torch.device) -> int:
    """What the device has given away, to whomever; 0 on a CPU."""
    if device.type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info(device)
    return total - free


def measure(options: Options) -> Iterator[Found]:
    """Memory after each step, from what was used before; kept after every `EVERY`."""
    device, seen = torch.device(options.device), []
    if device.type == "cuda":
        torch.zeros(1, device=device)  # the context itself is not the Loader's
        torch.cuda.synchronize()
    before = used_bytes(device)
    with tempfile.TemporaryDirectory() as folder:
        paths = draw_jpegs(folder, max(options.files, options.batch_size), SIDES)
        loader = dm.Loader(
            dm.FileList(paths, [0] * len(paths), cache=False, progress=False),
            imagenet.train(224),
            batch_size=options.batch_size,
            shuffle=True,
            drop_last=True,
            mixup=dm.MixUp(),
            device=device,
            gpu_decode=dm.GpuDecode(hw_decoder_load=options.load, size_hints=options.size_hints),
        )
        batches, warm = forever(loader), max(1, int(WARM * options.steps))
        for step in range(1, options.steps + 1):
            next(batches)
            seen.append(used_bytes(device) - before)
            if step % EVERY == 0 or step == options.steps:
                figures = {"peak_bytes": max(seen), "warm_bytes": max(seen[:warm]), "last_bytes": seen[-1]}
                yield Found(derived=figures | {"whole": step == options.steps, "seen": seen[::EVERY]})
        batches.close()


def describe(report: Report) -> str:
    """A line."""
    derived, settings = report.derived, report.settings
    peak, warm, last = (f"{derived[name] / 2**20:.0f} MiB" for name in ("peak_bytes", "warm_bytes", "last_bytes"))
    hints = "on" if settings["size_hints"] else "off"
    return (
        f"size hints {hints}: peak {peak}; {warm} in the first {WARM:.0%} of {settings['steps']} batches, {last} last"
    )


bench = Bench("gpu_memory", __doc__, Options, measure, describe, unit="", packages=GPU_PACKAGES)
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
