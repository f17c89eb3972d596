"""The batch stage of the CPU beside the same arithmetic in whole-batch torch expressions, one thread each.

uint8 images go in; mixed, normalized batches come out. A plain `copy_` between two float32 batches of the same shape
shows what the memory can do: bytes per second count what is read and written, uint8 images once and the batch once.

Examples:
    python -m bench.stage
    python -m bench.stage --batch-size 256 --size 160 --rounds 30
    python -m bench.stage --json stage.json --plot stage.png
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

import dali_mixup as dm
from bench.command import Bench, Found, option
from bench.measure import Case, measure_cases, speedup, time_calls
from bench.plots import BOUND_COLOR, OURS_COLOR, draw_bars
from bench.report import Report, format_spread, format_table
from dali_mixup.geometry.geometry import Windows
from dali_mixup.mixing.draws import Draw
from dali_mixup.plan.plan import BatchPlan
from dali_mixup.plan.step import Step
from dali_mixup.stage.cpu import CpuStage
from dali_mixup.stage.gpu import build_gpu_stage
from dali_mixup.stage.whole_batch import TorchStage
from dali_mixup.transforms.operations import Operation

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
OURS, WHOLE, COPY = "dali_mixup", "whole batch", "copy_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure."""

    batch_size: int = option(64, "images per batch")
    size: int = option(224, "height and width in pixels")
    rounds: int = option(11, "timed rounds, each of which runs every variant")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A stage with its images, or `copy_`: `run` makes a batch and moves `traffic` bytes, as far as they must move."""

    run: Callable[[], object]
    traffic: int


def plan_finished(count: int, draw: Draw | None, operations: list[list[Operation]] | None = None) -> BatchPlan:
    """The plan of images that come cropped, resized and flipped: transforms and mixing are left to the stage."""
    nothing = np.zeros((count, 2), np.int32)
    return BatchPlan(
        epoch=0,
        step=Step(0, count, count),
        indices=np.arange(count),
        windows=Windows(anchor=nothing, shape=nothing, resized=nothing, offset=nothing),
        flips=np.zeros(count, bool),
        draw=draw,
        operations=operations,
    )


def draw_images(batch_size: int, size: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """(B, H, W, 3) uint8, as DALI leaves them."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch_size, size, size, 3), dtype=torch.uint8, generator=generator).to(device)


def cpu_stages(
    images: torch.Tensor, dtype: torch.dtype, layout: torch.memory_format
) -> dict[str, Callable[[], torch.Tensor]]:
    """Both stages of the CPU on the same images, with mixup."""
    batch_size, size = images.shape[:2]
    pipeline, draw = _pipeline(size), dm.MixUp().draw(batch_size, np.random.default_rng(0))
    whole = TorchStage(pipeline, dtype=dtype, memory_format=layout, device=torch.device("cpu"))
    ours = CpuStage(pipeline, dtype=dtype, memory_format=layout, num_threads=1, keep=2)
    batch = plan_finished(batch_size, draw)
    return {WHOLE: partial(whole, images, batch), OURS: partial(ours, images, batch)}


def gpu_stage(
    images: torch.Tensor, dtype: torch.dtype, layout: torch.memory_format, mixer: dm.MixUp | dm.CutMix | None
) -> Callable[[], torch.Tensor]:
    """The stage of a GPU on images that lie there; on a CPU the one that runs on any device."""
    batch_size, size = images.shape[:2]
    build = build_gpu_stage if images.device.type == "cuda" else TorchStage
    stage = build(_pipeline(size), dtype=dtype, memory_format=layout, device=images.device)
    draw = mixer and mixer.draw(batch_size, np.random.default_rng(0), (size, size)).to(images.device)
    return partial(stage, images, plan_finished(batch_size, draw))


def traffic(images: torch.Tensor, dtype: torch.dtype) -> int:
    """Bytes that a stage must move: uint8 images once and the batch once."""
    return images.numel() * (1 + dtype.itemsize)


def build_calls(batch_size: int, size: int) -> dict[str, Call]:
    """For each dtype and layout both stages, as "kind, dtype layout"."""
    images, calls = draw_images(batch_size, size), {}
    for dtype_name, dtype in DTYPES.items():
        for layout_name, layout in LAYOUTS.items():
            for kind, run in cpu_stages(images, dtype, layout).items():
                calls[f"{kind}, {dtype_name} {layout_name}"] = Call(run=run, traffic=traffic(images, dtype))
    source, target = torch.rand(2, batch_size, 3, size, size)
    calls[f"{COPY}, float32 NCHW"] = Call(run=lambda: target.copy_(source), traffic=2 * 4 * source.numel())
    return calls


def measure(options: Options) -> Iterator[Found]:
    """Time all variants side by side in one thread, in images."""
    torch.set_num_threads(1)
    calls = build_calls(options.batch_size, options.size)
    cases = [
        Case(name=name, label=name, run=partial(time_calls, call.run, calls=2, items=options.batch_size))
        for name, call in calls.items()
    ]
    results = measure_cases(cases, rounds=options.rounds)
    yield Found(results=results, derived={"bytes": {name: call.traffic for name, call in calls.items()}})


def describe(report: Report) -> str:
    """Milliseconds per batch, bytes per second, and how many times faster than whole-batch expressions."""
    by_name, settings, rows = {result.name: result for result in report.results}, report.settings, []
    for name, result in by_name.items():
        kind, variant = name.split(", ")
        calls = result.rate.median / settings["batch_size"]
        ratio = format_spread(speedup(result, by_name[f"{WHOLE}, {variant}"]), 1) if kind == OURS else ""
        rows.append([kind, variant, f"{1e3 / calls:.2f}", f"{calls * report.derived['bytes'][name] / 1e9:.1f}", ratio])
    table = format_table(["stage", "batch", "ms per batch", "GB/s", f"x {WHOLE}"], rows)
    images = f"{settings['batch_size']} images of {settings['size']} x {settings['size']}"
    return f"{table}\n\nMedians of {settings['rounds']} rounds in one thread; {images}."


def _pipeline(size: int) -> dm.ImagePipeline:
    return dm.ImagePipeline(geometry=dm.RandomResizedCrop(size), flip=0.5)


plot = partial(draw_bars, axis="images/s, one thread", colors={OURS: OURS_COLOR, COPY: BOUND_COLOR})
bench = Bench("stage", __doc__, Options, measure, describe, unit="images", plot=plot)
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
