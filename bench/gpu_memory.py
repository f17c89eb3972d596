"""Memory of a GPU while a Loader runs over images of many sizes: its peak, and whether it goes on growing.

Counted is all that the device has given away since the start, so DALI's own memory too; nothing else may use the GPU
meanwhile. The images are drawn, from small ones to large ones, in an order that brings new largest batches late.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import dali_mixup as dm
from bench.feed import forever
from bench.gpu_stamp import make_gpu_stamp
from bench.measure import Case, Result, Timing, measure_cases, time_calls
from bench.options import add_outputs, save
from bench.plots import OURS_COLOR, draw_bars
from bench.report import Report
from dali_mixup.pipelines import imagenet

EXAMPLES = """examples:
  python -m bench.gpu_memory --json memory.json
  python -m bench.gpu_memory --size-hints --load 0.5
  python -m bench.gpu_memory --device cpu --steps 10 --batch-size 4     # to see that it runs
"""
SIDES = (64, 1600)  # pixels
WARM = 0.2  # of the steps, after which memory should no longer grow


def write_images(root: Path, count: int, seed: int = 0) -> dm.FileList:
    """JPEGs of as many sizes."""
    rng = np.random.default_rng(seed)
    low, high = np.log(SIDES).tolist()
    sides = np.exp(rng.uniform(low, high, (count, 2))).astype(int).tolist()
    paths = [root / f"{i:03}.jpg" for i in range(count)]
    for path, (height, width) in zip(paths, sides, strict=True):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(path, "JPEG", quality=90)
    return dm.FileList(paths, [0] * count, cache=False, progress=False)


def used_bytes(device: torch.device) -> int:
    """What the device has given away, to whomever; 0 on a CPU."""
    if device.type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info(device)
    return total - free


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = _parser().parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cuda":
        torch.zeros(1, device=device)  # the context itself is not the Loader's
        torch.cuda.synchronize()
    before, seen = used_bytes(device), []
    with tempfile.TemporaryDirectory() as root:
        dataset = write_images(Path(root), max(options.files, options.batch_size))
        loader = dm.Loader(
            dataset,
            imagenet.train(224),
            batch_size=options.batch_size,
            shuffle=True,
            drop_last=True,
            mixup=dm.MixUp(),
            device=device,
            gpu_decode=dm.GpuDecode(hw_decoder_load=options.load, size_hints=options.size_hints),
        )

        def steps() -> Timing:
            batches = forever(loader)

            def step() -> None:
                next(batches)
                seen.append(used_bytes(device) - before)

            return time_calls(step, calls=options.steps, items=options.batch_size, device=device)

        results = measure_cases([Case(name="steps", run=steps)], rounds=1, warmup=0, progress=False)
    report = _report(options, results, seen)
    derived = report.derived
    print(
        f"size hints {'on' if options.size_hints else 'off'}: peak {derived['peak_bytes'] / 2**20:.0f} MiB; "
        f"{derived['warm_bytes'] / 2**20:.0f} MiB after {derived['warm_steps']} steps, "
        f"{derived['last_bytes'] / 2**20:.0f} MiB after "
        f"{options.steps}\n{report.stamp}"
    )
    title = report.stamp.gpu or report.stamp.cpu
    save(
        report,
        options,
        lambda path: draw_bars(results, path, axis="images/s", title=title, colors={"steps": OURS_COLOR}),
    )
    return 0


def _report(options: argparse.Namespace, results: Sequence[Result], seen: Sequence[int]) -> Report:
    warm = max(1, int(WARM * len(seen)))
    return Report(
        benchmark="gpu_memory",
        unit="images",
        settings={
            name: getattr(options, name) for name in ("steps", "batch_size", "files", "load", "size_hints", "device")
        },
        stamp=make_gpu_stamp(),
        results=tuple(results),
        derived={
            "peak_bytes": max(seen),
            "warm_steps": warm,
            "warm_bytes": max(seen[:warm]),
            "last_bytes": seen[-1],
            "every_50th": list(seen[::50]),
        },
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu_memory",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=500, help="batches (default 500)")
    parser.add_argument("--batch-size", type=int, default=32, help="images per batch (default 32)")
    parser.add_argument("--files", type=int, default=120, help="images that are drawn (default 120)")
    parser.add_argument("--load", type=float, default=0.65, help="hardware decoder share (default 0.65)")
    parser.add_argument("--size-hints", action="store_true", help="set memory aside for the largest image at the start")
    parser.add_argument("--device", default="cuda", help="default cuda")
    add_outputs(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
