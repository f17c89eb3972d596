"""`Loader`: epochs of mixed batches, in the place of a torch `DataLoader`."""

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch

from dali_mixup.ahead import run_ahead
from dali_mixup.dataset import FileList
from dali_mixup.decoder import Decoder
from dali_mixup.errors import check_int, must_be
from dali_mixup.faults import MAX_PIXELS
from dali_mixup.geometry import CropPad
from dali_mixup.mixup import MixUp, mix_labels
from dali_mixup.pipeline import ImagePipeline
from dali_mixup.placement import pick_device, pick_shard
from dali_mixup.plan import BatchPlan, Plan
from dali_mixup.randomness import check_seed
from dali_mixup.stage import build_gpu_stage
from dali_mixup.stage_cpu import CpuStage
from dali_mixup.targets import MAX_CLASSES
from dali_mixup.threads import split_threads

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MEMORY_FORMATS = (torch.contiguous_format, torch.channels_last)
# One batch is with the consumer, one waits for it, one is being made, and one is spare for a consumer that keeps its last one.
KEPT_BUFFERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderStats:
    """Seconds that a Loader spent since it was built.

    Attributes:
        batches: how many were delivered.
        wait: the consumer waited for a batch.
        decode: waiting for DALI: reading and decoding; where DALI also resizes (with `augment`, on a GPU), that too.
        resize: resizing outside of DALI.
        stage: mixup, normalization, cast and layout.
    """

    batches: int
    wait: float
    decode: float
    resize: float
    stage: float


class Loader:
    """Batches of decoded, augmented, mixed and normalized images.

    Each `for` is one epoch, also after a `break`; it yields `(images, targets)`:

    - images: (B, 3, H, W) in `dtype` and `memory_format` on `device`,
    - targets: without mixup the labels, (B,) int64 or float32 (B, ...). With mixup stacked targets (B, 3) float32
      `[label, partner label, lam]` for class indices, and mixed labels for float ones.

    Order, crops, flips and mixup weights are functions of (seed, epoch, position in the epoch): batch size, threads, prefetch and the
    number of ranks change none of them, and mixup changes no crop.

    Args:
        dataset: an `ImageFolder` or `FileList`.
        pipeline: what happens to an image.
        batch_size: B, per rank.
        shuffle: a new order each epoch.
        drop_last: leave out the last batch if it isn't full. Otherwise every sample comes exactly once over all ranks.
        mixup: a `MixUp`, or None for none.
        seed: from 0 to 2**64 - 1.
        device: where decoding runs and batches lie; None takes the GPU of this process if there is one.
        dtype: torch.float32, float16 or bfloat16.
        memory_format: torch.contiguous_format (NCHW) or torch.channels_last.
        num_threads: DALI's threads on the CPU; the stage has half as many beside them. None takes one for each core that this process
            may use (on two cores, one more of either kind was neither faster nor slower).
        prefetch: batches that are prepared ahead, at least 1.
        shard: (rank, world size); None asks torch.distributed, then the variables RANK and WORLD_SIZE.
        on_bad_sample: "raise" stops with a `BadSampleError` that names each file of the batch that can't be decoded.
        max_pixels: a file whose header claims more pixels is a bad sample; nothing is allocated for it.

    Raises:
        ValueError, TypeError: an option out of range, or an image too small for the pipeline's crop.
        BadSampleError: while iterating. The Loader stays usable.
    """

    def __init__(
        self,
        dataset: FileList,
        pipeline: ImagePipeline,
        *,
        batch_size: int,
        shuffle: bool = False,
        drop_last: bool = False,
        mixup: MixUp | None = None,
        seed: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.contiguous_format,
        num_threads: int | None = None,
        prefetch: int = 2,
        shard: tuple[int, int] | None = None,
        on_bad_sample: Literal["raise"] = "raise",
        max_pixels: int = MAX_PIXELS,
    ):
        _check_type("dataset", dataset, FileList, "an ImageFolder or FileList")
        _check_type("pipeline", pipeline, ImagePipeline, "an ImagePipeline, such as pipelines.imagenet.train()")
        for name, value in (("shuffle", shuffle), ("drop_last", drop_last)):
            _check_type(name, value, bool, "True or False")
        if mixup is not None:
            _check_type("mixup", mixup, MixUp, "a MixUp or None")
            _check_targets_can_stack(dataset.targets)
        for name, value in (("batch_size", batch_size), ("prefetch", prefetch), ("max_pixels", max_pixels)):
            check_int(name, value, at_least=1)
        check_seed(seed)
        if num_threads is not None:
            check_int("num_threads", num_threads, at_least=1)
        if dtype not in DTYPES:
            raise ValueError(must_be("dtype", "torch.float32, torch.float16 or torch.bfloat16", dtype))
        if memory_format not in MEMORY_FORMATS:
            raise ValueError(must_be("memory_format", "torch.contiguous_format or torch.channels_last", memory_format))
        if on_bad_sample != "raise":
            raise ValueError(must_be("on_bad_sample", '"raise"', on_bad_sample))
        rank, world = pick_shard(shard)

        _check_images_are_large_enough(dataset, pipeline)

        self.dataset, self.pipeline, self.mixup = dataset, pipeline, mixup
        self.batch_size, self.drop_last, self.seed = batch_size, drop_last, int(seed)
        self.device = pick_device(device)
        self.dtype, self.memory_format = dtype, memory_format
        self.plan = Plan(
            dataset=dataset,
            pipeline=pipeline,
            batch_size=batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            mixup=mixup,
            seed=int(seed),
            rank=rank,
            world=world,
        )
        if drop_last and not self.plan.steps_per_epoch():
            rule = f"at most {len(dataset) // world} with drop_last ({len(dataset)} files, {world} ranks)"
            raise ValueError(must_be("batch_size", rule, batch_size))
        threads = split_threads(num_threads)
        self._decoder = Decoder(self.plan, device=self.device, num_threads=threads.decode, prefetch=prefetch, max_pixels=max_pixels)
        if self.device.type == "cpu":
            self._stage = CpuStage(pipeline, dtype=dtype, memory_format=memory_format, num_threads=threads.stage, keep=KEPT_BUFFERS)
        else:
            self._stage = build_gpu_stage(pipeline, dtype=dtype, memory_format=memory_format, device=self.device)
        self._cursor = (0, 0)  # epoch and position of the next batch to deliver
        self._next_start = (0, 0)  # where the next `for` begins
        self._iteration = 0
        self._running: Generator | None = None
        self._delivered, self._waited, self._decoding, self._staging = 0, 0.0, 0.0, 0.0

    def __len__(self) -> int:
        """Batches per epoch on this rank."""
        return self.plan.steps_per_epoch()

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        epoch, position = self._cursor = self._next_start
        self._next_start = (epoch + 1, 0)
        self._iteration += 1
        if self._running is not None:
            self._running.close()
        return self._deliver(epoch, position, self._iteration)

    def set_epoch(self, epoch: int) -> None:
        """Make the next `for` run this epoch; a position inside of it that `load_state_dict` set is kept."""
        check_int("epoch", epoch, at_least=0)
        if epoch != self._next_start[0]:
            self._next_start = (int(epoch), 0)
        self._cursor = self._next_start

    def state_dict(self) -> dict[str, Any]:
        """Where the Loader stands: after the last batch that it delivered; after an epoch's last one at (epoch + 1, 0).

        Random operators in the pipeline's `augment` are not part of it yet: inside an epoch they go on with other numbers.
        """
        epoch, position = self._cursor
        return {"version": 1, "epoch": epoch, "position": position, "seed": self.seed, "samples": len(self.dataset)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make the next `for` go on where `state` was taken.

        Raises:
            ValueError: the state of another data set, seed or version.
        """
        expected = {"version": 1, "seed": self.seed, "samples": len(self.dataset)}
        for name, value in expected.items():
            if state.get(name) != value:
                raise ValueError(must_be(f"state[{name!r}]", f"that of this Loader ({value})", state.get(name)))
        self._cursor = self._next_start = (int(state["epoch"]), int(state["position"]))

    def stats(self) -> LoaderStats:
        """Where the time went since the Loader was built."""
        resize = self._stage.resizing if isinstance(self._stage, CpuStage) else 0.0
        return LoaderStats(batches=self._delivered, wait=self._waited, decode=self._decoding, resize=resize, stage=self._staging - resize)

    def _deliver(self, epoch: int, position: int, iteration: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        self._check_current(iteration)
        steps = list(self.plan.steps(position))
        batches = self._batches(epoch, position, len(steps))
        if self.device.type == "cpu":
            batches = run_ahead(batches, ahead=1)
        self._running = batches
        try:
            for i, (_, _, end) in enumerate(steps):
                self._check_current(iteration)
                start = time.perf_counter()
                batch = next(batches)
                self._waited += time.perf_counter() - start
                self._delivered += 1
                self._cursor = (epoch, end) if i + 1 < len(steps) else (epoch + 1, 0)
                yield batch
                del batch
            self._check_current(iteration)
            self._cursor = (epoch + 1, 0)
        finally:
            batches.close()

    def _check_current(self, iteration: int) -> None:
        if iteration != self._iteration:
            raise RuntimeError("this epoch ended when another `for` over the same Loader began; build a second Loader to run two at once")

    def _batches(self, epoch: int, position: int, count: int) -> Generator[tuple[torch.Tensor, torch.Tensor], None, None]:
        """Decode and finish the next `count` batches."""
        if count:
            self._decoder.seek(epoch, position)
        for _ in range(count):
            start = time.perf_counter()
            batch, images = self._decoder.next()
            decoded = time.perf_counter()
            finished = self._finish(batch, images)
            self._decoding += decoded - start
            self._staging += time.perf_counter() - decoded
            del images
            yield finished
            del finished

    def _finish(self, batch: BatchPlan, images: torch.Tensor | list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Labels, and the batch stage."""
        labels = torch.from_numpy(self.dataset.targets[batch.indices])
        draw = batch.draw
        targets = labels if draw is None else mix_labels(labels, draw)
        if isinstance(self._stage, CpuStage):
            finished = self._stage(images, batch)
        else:
            targets = targets.pin_memory().to(self.device, non_blocking=True)
            draw = None if draw is None else draw.to(self.device)
            finished = self._stage(cast(torch.Tensor, images), draw)
        return finished, targets


def _check_type(name: str, value: object, expected: type, rule: str) -> None:
    if not isinstance(value, expected):
        raise TypeError(must_be(name, rule, value))


def _check_targets_can_stack(targets: np.ndarray) -> None:
    if targets.dtype == np.int64 and targets.max() >= MAX_CLASSES:
        raise ValueError(must_be("dataset.targets", "below 2**24 for mixup", int(targets.max())))


def _check_images_are_large_enough(dataset: FileList, pipeline: ImagePipeline) -> None:
    if not isinstance(pipeline.geometry, CropPad):
        return
    small = np.flatnonzero(pipeline.geometry.too_small(dataset.heights, dataset.widths) & (dataset.heights > 0))
    if len(small):
        first = int(small[0])
        size = f"{dataset.heights[first]} x {dataset.widths[first]} pixels"
        raise ValueError(
            f"{len(small)} images such as {dataset.paths[first]} ({size}) have too few pixels for {pipeline.geometry}; "
            "leave them out, or take a smaller size or a RandomResizedCrop"
        )
