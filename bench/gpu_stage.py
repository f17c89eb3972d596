"""The batch stage of the GPU beside the device's own copy: bytes per second, of what it must read and write.

Traffic counts each uint8 image once and the batch once. Mixup and CutMix read pixels of the partner, too, which the
cache may hold: the last column counts those as well. A call is repeated between two CUDA events, so that the time is
the GPU's.

Examples:
    python -m bench.gpu_stage --json stage.json
    python -m bench.gpu_stage --batch-sizes 64 --rounds 3
    python -m bench.gpu_stage --device cpu --batch-sizes 4 --size 32     # to see that it runs
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

import dali_mixup as dm
from bench.command import Bench, Found, option
from bench.measure import Case, Result, Timing, measure_rounds, speedup, spread, time_calls
from bench.plots import BOUND_COLOR, OURS_COLOR, draw_bars
from bench.report import GPU_PACKAGES, Report, format_spread, format_table
from bench.stage import COPY, DTYPES, LAYOUTS, draw_images, gpu_stage, traffic

MIXERS = {"plain": None, "mixup": dm.MixUp(), "cutmix": dm.CutMix()}
TARGET_S = 0.02  # of a round: enough calls to fill it


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure."""

    batch_sizes: tuple[int, ...] = option((64, 256, 1024), "images per batch")
    size: int = option(224, "height and width in pixels")
    rounds: int = option(9, "timed rounds, each of which runs every variant")
    device: str = option("cuda", "where to compute")


def measure(options: Options) -> Iterator[Found]:
    """Each dtype and layout, without and with mixing, and `copy_` of as many bytes, one batch size after the other."""
    results: list[Result] = []
    moved: dict[str, int] = {}
    for batch_size in options.batch_sizes:
        images = draw_images(batch_size, options.size, options.device)
        cases = []
        for dtype_name, dtype in DTYPES.items():
            for layout_name, layout in LAYOUTS.items():
                for mixer_name, mixer in MIXERS.items():
                    name = f"{mixer_name} {dtype_name} {layout_name} {batch_size}"
                    must = traffic(images, dtype)
                    cases.append(_case(name, gpu_stage(images, dtype, layout, mixer), must, images.device))
                    moved[name] = must + (images.numel() if mixer_name == "mixup" else 0)
        source = torch.randint(0, 256, (images.numel() * 5 // 2,), dtype=torch.uint8, device=images.device)
        name = f"{COPY} {batch_size}"
        moved[name] = 2 * source.numel()
        cases.append(_case(name, partial(torch.empty_like(source).copy_, source), moved[name], images.device))
        before = results
        for found in measure_rounds(cases, rounds=options.rounds, progress=sys.stderr.isatty()):
            results = [*before, *found]
            yield Found(results=results, derived={"shares": shares_of_copy(results), "moved": dict(moved)})


def shares_of_copy(results: Sequence[Result]) -> dict[str, float]:
    """By name the traffic per second as a part of what `copy_` moves at the same batch size, medians of ratios."""
    copies = {result.name.split()[-1]: result for result in results if result.name.startswith(COPY)}
    stages = [result for result in results if not result.name.startswith(COPY)]
    return {result.name: speedup(result, copies[result.name.split()[-1]]).median for result in stages}


def describe(report: Report) -> str:
    """Milliseconds per batch and bytes per second."""
    shares, moved = report.derived["shares"], report.derived["moved"]
    rows = []
    for result in report.results:
        calls = result.rate.median / result.options["traffic"]
        share = f"{shares[result.name]:.2f}" if result.name in shares else ""
        gigabytes = format_spread(spread([rate / 1e9 for rate in result.rates]))
        rows.append([result.name, f"{1e3 / calls:.3f}", gigabytes, share, f"{calls * moved[result.name] / 1e9:.0f}"])
    return format_table(["stage, dtype, layout, batch", "ms", "GB/s", f"of {COPY}", "GB/s with partners"], rows)


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


plot = partial(draw_bars, axis="bytes/s", colors={COPY: BOUND_COLOR, "": OURS_COLOR})
bench = Bench("gpu_stage", __doc__, Options, measure, describe, unit="bytes", plot=plot, packages=GPU_PACKAGES)
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
