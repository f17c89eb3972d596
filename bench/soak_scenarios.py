"""Ways to use a Loader for a long time, which `bench.soak` runs. A further one is a line of `SCENARIOS`."""

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

import dali_mixup as dm
from bench.feed import Batches, forever
from dali_mixup.pipelines import finetune, imagenet

SIZE = 32  # pixels of the output
BAD_FRACTION = 0.01

Build = Callable[[], dm.Loader]


def whole_epochs(build: Build) -> Batches:
    """One Loader, every epoch to its end."""
    yield from forever(build())


def broken_epochs(build: Build) -> Batches:
    """One Loader, a `break` after a third of each epoch."""
    loader = build()
    while True:
        for i, batch in enumerate(loader, start=1):
            yield batch
            if i >= len(loader) / 3:
                break


def resumed_epochs(build: Build) -> Batches:
    """One Loader that is saved and set back in the middle of each epoch."""
    loader = build()
    while True:
        for i, batch in enumerate(loader, start=1):
            yield batch
            if i >= len(loader) / 2:
                break
        loader.load_state_dict(loader.state_dict())
        yield from loader


def new_loaders(build: Build) -> Batches:
    """A new Loader for each epoch."""
    while True:
        yield from build()


def mixed_windows(paths: Sequence[str], batch_size: int, _folder: str) -> dm.Loader:
    """Random crops, flips and mixup."""
    return _loader(paths, imagenet.train(SIZE), batch_size)


def augmented(paths: Sequence[str], batch_size: int, _folder: str) -> dm.Loader:
    """With DALI's random operators, whose graph is built anew for each epoch."""
    return _loader(paths, finetune.train(SIZE), batch_size)


def with_bad_files(paths: Sequence[str], batch_size: int, folder: str) -> dm.Loader:
    """One file in a hundred is replaced; a GIF, which DALI can't read, comes through a file in memory."""
    return _loader([*paths, *write_bad_files(paths, folder)], imagenet.train(SIZE), batch_size, on_bad_sample="replace")


def _loader(
    paths: Sequence[str],
    pipeline: dm.ImagePipeline,
    batch_size: int,
    on_bad_sample: Literal["raise", "replace"] = "raise",
) -> dm.Loader:
    return dm.Loader(
        dm.FileList(paths, [i % 10 for i in range(len(paths))], cache=False),
        pipeline,
        batch_size=batch_size,
        shuffle=True,
        mixup=dm.MixUp(),
        device="cpu",
        on_bad_sample=on_bad_sample,
        max_bad_fraction=0.5,
    )


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way to use the library.

    Attributes:
        label: for people.
        build: a Loader from paths, batch size and a folder for files that the scenario needs.
        run: endless batches from a Loader that it builds itself, so that it dies with them.
    """

    label: str
    build: Callable[[Sequence[str], int, str], dm.Loader]
    run: Callable[[Build], Batches]


SCENARIOS = {
    "windows": Scenario("windows with mixup", mixed_windows, whole_epochs),
    "augment": Scenario("with random operators", augmented, whole_epochs),
    "bad": Scenario("1% bad files and a GIF", with_bad_files, whole_epochs),
    "break": Scenario("break in each epoch", mixed_windows, broken_epochs),
    "resume": Scenario("saved and set back in each epoch", augmented, resumed_epochs),
    "new": Scenario("a new Loader for each epoch", mixed_windows, new_loaders),
}


def write_bad_files(paths: Sequence[str], folder: str) -> list[str]:
    """Half a JPEG, an empty file, a text in turn, as many as `BAD_FRACTION` of `paths`, and a good GIF; their paths."""
    half = Path(paths[0]).read_bytes()
    contents = [half[: len(half) // 2], b"", b"no image"]
    drawn = io.BytesIO()
    Image.new("RGB", (SIZE + 8, SIZE), "orange").quantize(8).save(drawn, "GIF")
    bad = max(3, round(BAD_FRACTION * len(paths)))
    files = {f"bad{i:05}.jpg": contents[i % 3] for i in range(bad)} | {"good.gif.jpg": drawn.getvalue()}
    for name, content in files.items():
        Path(folder, name).write_bytes(content)
    return [os.path.join(folder, name) for name in files]
