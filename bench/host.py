"""Host time per batch on the way to a GPU, on this CPU: planning a batch, and launching what a stage does to it.

Times are CPU seconds of the one thread that does it, so that they mean the same on a busy machine.

"plan" is all that is decided for a batch: order, windows, flips, transforms, draws and the paths of its files. "stage"
is the stage in torch's expressions on images so small that calling torch takes longer than the work: about what it
takes to launch the same operations on a GPU. How many of them there are, and how many copies from the host, is counted
on a pretended GPU, where anything that would wait is an error.

Examples:
    python -m bench.host
    python -m bench.host --batch-size 128 --rounds 30 --json host.json
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import dali_mixup as dm
from bench.command import Bench, Found, option
from bench.measure import Case, Result, Timing, measure_cases
from bench.pretended_gpu import GPU, PretendedGpu
from bench.report import Report, format_table
from dali_mixup.decode.files_to_decode import files_to_decode
from dali_mixup.mixing.random_choice import AnyMixer
from dali_mixup.placement import send
from dali_mixup.plan.plan import Plan
from dali_mixup.stage.whole_batch import TorchStage

BATCHES = 8  # of the data set; an epoch of them comes again and again
SIDE = 4  # pixels of the stage's images
STD = (58.4, 57.1, 57.4)  # ImageNet's, in levels
MIXES = dm.RandomChoice([dm.MixUp(0.8, per_sample=False, fold=False), dm.CutMix(per_sample=False)])
# Milliseconds for a batch of 256: of the plan alone, and with the stage.
PLAN_AIMS = {"no transforms": 1.3, "TrivialAugmentWide": 4.0, "deit": 4.0, "timm's AugMix": 4.0}
AIMS = {"RandAugment": 4.0}
RECIPES: dict[str, tuple[tuple, AnyMixer]] = {
    "no transforms": ((), dm.MixUp()),
    "RandAugment": ((dm.RandAugment(),), dm.MixUp()),
    "TrivialAugmentWide": ((dm.TrivialAugmentWide(),), dm.MixUp()),
    "deit": ((dm.TimmRandAugment(interpolation="bicubic"), dm.RandomErasing(0.25, noise="pixel", std=STD)), MIXES),
    "timm's AugMix": ((dm.TimmAugMix(interpolation="bicubic"),), dm.MixUp()),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure."""

    batch_size: int = option(256, "images per batch")
    size: int = option(224, "height and width of the crops in pixels")
    rounds: int = option(21, "timed rounds, each of which runs every variant")


def write_files(folder: Path, count: int) -> dm.FileList:
    """A data set of `count` samples: a few images, again and again."""
    paths = [folder / f"an_image_in_a_folder_of_its_class_{number}.png" for number in range(8)]
    for number, path in enumerate(paths):
        Image.new("RGB", (300 + 50 * number, 500 - 20 * number)).save(path)
    return dm.FileList([paths[k % len(paths)] for k in range(count)], np.arange(count) % 1000)


def build_plan(dataset: dm.FileList, recipe: str, batch_size: int, size: int) -> Plan:
    """Of a recipe's batches."""
    transforms, mixer = RECIPES[recipe]
    return Plan(
        dataset=dataset,
        pipeline=dm.ImagePipeline(geometry=dm.RandomResizedCrop(size), flip=0.5, transforms=transforms),
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        mixup=mixer,
        seed=0,
        rank=0,
        world=1,
    )


def planner(plan: Plan) -> Callable[[], object]:
    """A call that decides all about the next batch."""
    order, steps = plan.order(0), cycle(plan.steps())

    def call() -> object:
        batch = plan.batch(0, order, next(steps))
        return batch, files_to_decode(plan.dataset, batch, {}, range(len(batch.indices)))

    return call


def stager(plan: Plan, device: torch.device) -> Callable[[], object]:
    """A call that carries out the next batch's plan on tiny images."""
    plan = replace(plan, pipeline=replace(plan.pipeline, geometry=dm.RandomResizedCrop(SIDE)))
    stage = TorchStage(plan.pipeline, dtype=torch.float32, memory_format=torch.contiguous_format, device=device)
    batches = cycle([plan.batch(0, plan.order(0), step) for step in plan.steps()])
    images = send(torch.zeros(plan.batch_size, SIDE, SIDE, 3, dtype=torch.uint8), device)
    return lambda: stage(images, next(batches))


def time_batches(call: Callable[[], object], batch_size: int) -> Timing:
    """This thread's CPU time for a few calls."""
    start = time.thread_time()
    for _ in range(BATCHES):
        call()
    return Timing(items=BATCHES * batch_size, seconds=time.thread_time() - start)


def count_work(plan: Plan) -> dict[str, float]:
    """Operations and copies of a batch on a GPU: medians."""
    counted = []
    with PretendedGpu() as gpu:
        call = stager(plan, GPU)
        call()  # fills what stays on the GPU
        for _ in range(BATCHES):
            before = gpu.kernels, gpu.copies
            call()
            counted.append((gpu.kernels - before[0], gpu.copies - before[1]))
    kernels, copies = np.median(counted, axis=0).tolist()
    return {"operations": kernels, "copies": copies}


def measure(options: Options) -> Iterator[Found]:
    """Time all recipes side by side in one thread, in images."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        dataset = write_files(Path(work), BATCHES * options.batch_size)
        plans = {recipe: build_plan(dataset, recipe, options.batch_size, options.size) for recipe in RECIPES}
        cases = []
        for recipe, plan in plans.items():
            for part, call in {"plan": planner(plan), "stage": stager(plan, torch.device("cpu"))}.items():
                run = partial(time_batches, call, options.batch_size)
                cases.append(Case(name=f"{recipe}, {part}", label=recipe, run=run))
        results = measure_cases(cases, rounds=options.rounds, warmup=2)
        times = {recipe: _times(results, recipe, options.batch_size) for recipe in RECIPES}
        derived = {recipe: times[recipe] | count_work(plan) for recipe, plan in plans.items()}
    scale = options.batch_size / 256
    passed = all(times[recipe]["plan"] <= aim * scale for recipe, aim in PLAN_AIMS.items())
    passed &= all(sum(times[recipe].values()) <= aim * scale for recipe, aim in AIMS.items())
    yield Found(results=results, derived=derived, passed=passed)


def describe(report: Report) -> str:
    """A row per recipe."""
    rows, scale = [], report.settings["batch_size"] / 256
    for recipe, found in report.derived.items():
        aims = [f"plan {PLAN_AIMS[recipe] * scale:.2g}"] if recipe in PLAN_AIMS else []
        aims += [f"together {AIMS[recipe] * scale:.2g}"] if recipe in AIMS else []
        cells = [f"{value:.2f}" for value in (found["plan"], found["stage"], found["plan"] + found["stage"])]
        rows.append([recipe, *cells, " ".join(aims), f"{found['operations']:.0f}", f"{found['copies']:.0f}"])
    header = ["recipe", "plan, ms", "stage, ms", "together", "at most", "operations on a GPU", "copies to it"]
    settings = report.settings
    note = f"Per batch of {settings['batch_size']} images; medians of {settings['rounds']} rounds in one thread."
    return f"{format_table(header, rows)}\n\n{note}"


def _times(results: list[Result], recipe: str, batch_size: int) -> dict[str, float]:
    """Milliseconds per batch of both parts."""
    by_name = {result.name: result for result in results}
    return {part: 1e3 * batch_size / by_name[f"{recipe}, {part}"].rate.median for part in ("plan", "stage")}


bench = Bench("host", __doc__, Options, measure, describe, unit="images")
main = bench.main

if __name__ == "__main__":
    sys.exit(main())
