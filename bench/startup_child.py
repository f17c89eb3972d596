"""What `python train.py` does until its first batch, with the seconds of each step; `bench.startup` runs it.

    python bench/startup_child.py FOLDER BATCH_SIZE STARTED

STARTED is the time at which the process was asked for, by the machine's monotonic clock. Names are imported in their
steps, so that each bears its own costs.
"""

import json
import sys
import time
from typing import Any


def run() -> None:
    """Print a dict of seconds by step as JSON."""
    root, batch_size, started = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    steps: dict[str, float] = {"Python": time.monotonic() - started}

    def lap(step: str, begun: float) -> float:
        now = time.monotonic()
        steps[step] = now - begun
        return now

    now = time.monotonic()
    import torch  # noqa: F401

    now = lap("import torch", now)
    import dali_mixup as dm
    from dali_mixup.pipelines import imagenet

    names: list[Any] = [dm.ImageFolder, dm.Loader, dm.MixUp, dm.MixUpLoss]
    now = lap("import dali_mixup", now)
    import dali_mixup.decode.graph

    now = lap("import DALI", now)
    folder, reading = open_folder(names[0], root)
    steps["listing"], steps["index"] = time.monotonic() - now - reading, reading
    now = time.monotonic()
    loader = dm.Loader(folder, imagenet.train(), batch_size=batch_size, shuffle=True, mixup=dm.MixUp(0.4))
    batches = iter(loader)
    next(batches)
    lap("first batch", now)
    print(json.dumps(steps))


def open_folder(kind: Any, root: str) -> tuple[Any, float]:
    """The data set, and how many of its seconds went into reading sizes (or the cache of them)."""
    from dali_mixup.dataset import files

    spent, read_sizes = 0.0, files.read_sizes

    def timed(*arguments: Any, **options: Any) -> Any:
        nonlocal spent
        start = time.monotonic()
        try:
            return read_sizes(*arguments, **options)
        finally:
            spent = time.monotonic() - start

    files.read_sizes = timed
    try:
        return kind(root, progress=False), spent
    finally:
        files.read_sizes = read_sizes


if __name__ == "__main__":
    run()
