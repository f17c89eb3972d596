"""The batch stage of the GPU beside the device's own copy: bytes per second, of what it must read and write.

Traffic counts each uint8 image once and the batch once. Mixup and CutMix read pixels of the partner, too, which the
cache may hold: the last column counts those as well. A call is repeated between two CUDA events, so that the time is
the GPU's.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

import dali_mixup as dm
from bench.gpu_stamp import make_gpu_stamp
from bench.measure import Case, Result, Timing, measure_cases, speedup, spread, time_calls
from bench.options import add_outputs, save
from bench.plots import BOUND_COLOR, OURS_COLOR, draw_bars
from bench.report import Report, format_spread, format_table
from bench.stage import DTYPES, LAYOUTS
from dali_mixup.stage.whole_batch import TorchStage, build_gpu_stage

EXAMPLES = """examples:
  python -m bench.gpu_stage --json stage.json
  python -m bench.gpu_stage --batch-sizes 64 --rounds 3
  python -m bench.gpu_stage --device cpu --batch-sizes 4 --size 32     # to see that it runs
"""
MIXERS = {"plain": None, "mixup": dm.MixUp(), "cutmix": dm.CutMix()}
COPY = "copy_"
TARGET_S = 0.02  # of a round: enough calls to fill it


def measure_stages(
    batch_size: int, size: int, *, device: torch.device, rounds: int, progress: bool
) -> tuple[list[Result], dict[str, int]]:
    """Time the stage in each dtype and layout, without and with mixing, and `copy_` of as many bytes, interleaved.

    Returns:
        Results, in bytes per second of the traffic; and the bytes that a call of each variant moves with its partners'
        pixels.
    """
    images = torch.randint(0, 256, (batch_size, size, size, 3), dtype=torch.uint8, device=device)
    pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(size), flip=0.5)
    cases, moved = [], {}
    for dtype_name, dtype in DTYPES.items():
        traffic = images.numel() * (1 + dtype.itemsize)
        for layout_name, layout in LAYOUTS.items():
            build = build_gpu_stage if device.type == "cuda" else TorchStage
            stage = build(pipeline, dtype=dtype, memory_format=layout, device=device)
            for mixer_name, mixer in MIXERS.items():
                draw = mixer and mixer.draw(batch_size, np.random.default_rng(0), (size, size)).to(device)
                name = f"{mixer_name} {dtype_name} {layout_name} {batch_size}"
                cases.append(_case(name, lambda stage=stage, draw=draw: stage(images, draw), traffic, device))
                moved[name] = traffic + (images.numel() if mixer_name == "mixup" else 0)
    source = torch.randint(0, 256, (images.numel() * 5 // 2,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    cases.append(_case(f"{COPY} {batch_size}", lambda: target.copy_(source), 2 * source.numel(), device))
    moved[cases[-1].name] = 2 * source.numel()
    return measure_cases(cases, rounds=rounds, progress=progress), moved


def shares_of_copy(results: Sequence[Result]) -> dict[str, float]:
    """By name the traffic per second as a part of what `copy_` moves at the same batch size, medians of ratios."""
    copies = {result.name.split()[-1]: result for result in results if result.name.startswith(COPY)}
    return {
        result.name: speedup(result, copies[result.name.split()[-1]]).median
        for result in results
        if not result.name.startswith(COPY)
    }


def describe(report: Report) -> str:
    """Milliseconds per batch and bytes per second."""
    shares, moved = report.derived["shares"], report.derived["moved"]
    rows = []
    for result in report.results:
        calls = result.rate.median / (result.options["traffic"])
        share = f"{shares[result.name]:.2f}" if result.name in shares else ""
        gigabytes = format_spread(spread([rate / 1e9 for rate in result.rates]))
        rows.append([result.name, f"{1e3 / calls:.3f}", gigabytes, share, f"{calls * moved[result.name] / 1e9:.0f}"])
    header = ["stage, dtype, layout, batch", "ms", "GB/s", "of copy_", "GB/s with partners"]
    return f"{format_table(header, rows)}\n\n{report.stamp}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu_stage",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--batch-sizes", type=int, nargs="+", default=[64, 256, 1024], help="images per batch (default 64 256 1024)"
    )
    parser.add_argument("--size", type=int, default=224, help="height and width in pixels (default 224)")
    parser.add_argument(
        "--rounds", type=int, default=9, help="timed rounds, each of which runs every variant (default 9)"
    )
    parser.add_argument("--device", default="cuda", help="default cuda")
    add_outputs(parser)
    options = parser.parse_args(arguments)
    results: list[Result] = []
    moved: dict[str, int] = {}
    settings = {name: getattr(options, name) for name in ("batch_sizes", "size", "rounds", "device")}
    report = _report(settings, results, moved)
    for batch_size in options.batch_sizes:
        found, bytes_moved = measure_stages(
            batch_size,
            options.size,
            device=torch.device(options.device),
            rounds=options.rounds,
            progress=sys.stderr.isatty(),
        )
        results += found
        moved |= bytes_moved
        report = _report(settings, results, moved)
        save(report, options, partial(_plot, report))
    print(describe(report))
    return 0


def _report(settings: dict[str, Any], results: Sequence[Result], moved: dict[str, int]) -> Report:
    return Report(
        benchmark="gpu_stage",
        unit="bytes",
        settings=settings,
        stamp=make_gpu_stamp(),
        results=tuple(results),
        derived={"shares": shares_of_copy(results), "moved": dict(moved)},
    )


def _case(name: str, call: Callable[[], object], traffic: int, device: torch.device) -> Case:
    """So many calls that a round takes `TARGET_S`; Triton compiles at the first one."""
    call()
    once = min(time_calls(call, calls=1, device=device).seconds for _ in range(3))
    calls = max(1, round(TARGET_S / once))
    return Case(name=name, options={"traffic": traffic}, run=lambda: _time_on_device(call, calls, traffic, device))


def _time_on_device(call: Callable[[], object], calls: int, traffic: int, device: torch.device) -> Timing:
    if device.type != "cuda":
        return time_calls(call, calls=calls, items=traffic, device=device)
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(calls):
        call()
    end.record()
    end.synchronize()
    return Timing(items=calls * traffic, seconds=start.elapsed_time(end) / 1e3)  # elapsed_time is in milliseconds


def _plot(report: Report, path: str) -> None:
    colors = {result.name: BOUND_COLOR if result.name.startswith(COPY) else OURS_COLOR for result in report.results}
    draw_bars(
        report.results,
        path,
        axis="bytes/s",
        title=f"{report.stamp.gpu or report.stamp.cpu}; {report.stamp.commit}",
        colors=colors,
    )


if __name__ == "__main__":
    sys.exit(main())
