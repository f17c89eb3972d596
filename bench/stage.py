"""The batch stage of the CPU beside the same arithmetic in whole-batch torch expressions, one thread each.

uint8 images go in; mixed, normalized batches come out. A plain `copy_` between two float32 batches of the same shape
shows what the
memory can do: bytes per second count what is read and written, uint8 images once and the batch once.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch

import dali_mixup as dm
from bench.measure import Case, Result, measure_cases, speedup, time_calls
from bench.options import add_outputs, save
from bench.plots import BOUND_COLOR, OURS_COLOR, draw_bars
from bench.report import Report, format_spread, format_table, make_stamp
from dali_mixup.geometry.geometry import Windows
from dali_mixup.mixing.draws import Draw
from dali_mixup.plan.plan import BatchPlan
from dali_mixup.plan.step import Step
from dali_mixup.stage.cpu import CpuStage
from dali_mixup.stage.whole_batch import TorchStage

EXAMPLES = """examples:
  python -m bench.stage
  python -m bench.stage --batch-size 256 --size 160 --rounds 30
  python -m bench.stage --json stage.json --plot stage.png
"""
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}


def plan_finished(count: int, draw: Draw | None) -> BatchPlan:
    """The plan of images that come cropped, resized and flipped: only mixing is left to the stage."""
    nothing = np.zeros((count, 2), np.int32)
    return BatchPlan(
        epoch=0,
        step=Step(0, count, count),
        indices=np.arange(count),
        windows=Windows(anchor=nothing, shape=nothing, resized=nothing, offset=nothing),
        flips=np.zeros(count, bool),
        draw=draw,
    )


def build_cases(batch_size: int, size: int, seed: int = 0) -> list[tuple[str, str, Callable[[], object], int]]:
    """For each dtype and layout both stages on the same images.

    (kind, variant, call, bytes read and written by a call).
    """
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (batch_size, size, size, 3), dtype=torch.uint8, generator=generator)
    pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(size), flip=0.5)
    draw = dm.MixUp().draw(batch_size, np.random.default_rng(seed))
    plan = plan_finished(batch_size, draw)
    cases: list[tuple[str, str, Callable[[], object], int]] = []
    for dtype_name, dtype in DTYPES.items():
        for layout_name, layout in LAYOUTS.items():
            variant = f"{dtype_name} {layout_name}"
            whole = TorchStage(pipeline, dtype=dtype, memory_format=layout, device=torch.device("cpu"))
            ours = CpuStage(pipeline, dtype=dtype, memory_format=layout, num_threads=1, keep=2)
            traffic = images.numel() * (1 + dtype.itemsize)
            cases.append(("whole batch", variant, lambda whole=whole: whole(images, plan), traffic))
            cases.append(("dali_mixup", variant, lambda ours=ours: ours(images, plan), traffic))
    source, target = torch.rand(2, batch_size, 3, size, size)
    cases.append(("copy_", "float32 NCHW", lambda: target.copy_(source), 2 * 4 * source.numel()))
    return cases


def measure_stages(
    batch_size: int, size: int, *, rounds: int, progress: bool = True
) -> tuple[list[Result], dict[str, int]]:
    """Time all variants side by side in one thread, in images; and the bytes of a call by name."""
    built = build_cases(batch_size, size)
    cases = [
        Case(
            name=f"{kind}, {variant}",
            label=f"{kind}, {variant}",
            run=lambda call=call: time_calls(call, calls=2, items=batch_size),
        )
        for kind, variant, call, _ in built
    ]
    return measure_cases(cases, rounds=rounds, progress=progress), {
        f"{kind}, {variant}": traffic for kind, variant, _, traffic in built
    }


def describe(report: Report) -> str:
    """Milliseconds per batch, bytes per second, and how many times faster than whole-batch expressions."""
    by_name = {result.name: result for result in report.results}
    rows = []
    for name, result in by_name.items():
        kind, variant = name.split(", ")
        calls = result.rate.median / report.settings["batch_size"]
        base = by_name.get(f"whole batch, {variant}")
        ratio = format_spread(speedup(result, base), 1) if base and kind == "dali_mixup" else ""
        rows.append([kind, variant, f"{1e3 / calls:.2f}", f"{calls * report.derived['bytes'][name] / 1e9:.1f}", ratio])
    table = format_table(["stage", "batch", "ms per batch", "GB/s", "x whole batch"], rows)
    settings = report.settings
    note = (
        f"Medians of {settings['rounds']} rounds in one thread; {settings['batch_size']} images of "
        f"{settings['size']} x {settings['size']}."
    )
    return f"{table}\n\n{note}\n{report.stamp}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.stage",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--batch-size", type=int, default=64, help="images per batch (default 64)")
    parser.add_argument("--size", type=int, default=224, help="height and width in pixels (default 224)")
    parser.add_argument(
        "--rounds", type=int, default=11, help="timed rounds, each of which runs every variant (default 11)"
    )
    add_outputs(parser)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results, traffic = measure_stages(options.batch_size, options.size, rounds=options.rounds)
    settings = {name: getattr(options, name) for name in ("batch_size", "size", "rounds")}
    report = Report(
        benchmark="stage",
        unit="images",
        settings=settings,
        stamp=make_stamp(),
        results=tuple(results),
        derived={"bytes": traffic},
    )
    print(describe(report))
    save(report, options, lambda path: _plot(report, path))
    return 0


def _plot(report: Report, path: str) -> None:
    colors = {result.name: OURS_COLOR for result in report.results if result.name.startswith("dali_mixup")}
    colors |= {result.name: BOUND_COLOR for result in report.results if result.name.startswith("copy_")}
    draw_bars(
        report.results,
        path,
        axis="images/s, one thread",
        title=f"{report.stamp.cpu}; commit {report.stamp.commit}",
        colors=colors,
    )


if __name__ == "__main__":
    sys.exit(main())
