"""What runs a phase of a `Loader`: decoder and stage, with their graphs and threads."""

import time
from collections.abc import Generator
from typing import Any, NamedTuple

import torch

from dali_mixup.decode.faults import Faults
from dali_mixup.decode.open_decoder import open_decoder
from dali_mixup.mixing.targets import Targets
from dali_mixup.options import LoaderOptions
from dali_mixup.placement import send
from dali_mixup.plan.plan import BatchPlan, Plan
from dali_mixup.plan.state import Cursor
from dali_mixup.stage.cpu import is_busy
from dali_mixup.stage.open_stage import ViewsStage, open_stage
from dali_mixup.threads import split_threads


class Delivery(NamedTuple):
    """A finished batch as it is handed out, the position after it, and DALI's state there."""

    batch: tuple[Any, ...]
    end: int
    checkpoint: bytes | None


class Engine:
    """Carries out the batches of a plan.

    Args:
        plan: what comes when, on this rank.
        options: those of the Loader.
        device: where batches lie.
        views: of each image; None delivers one that is no list.
        before: that of the last phase, which is closed; its faults and seconds are taken over.

    Attributes:
        plan, device: likewise.
        faults: what is known of bad files.
        decoding: seconds that batches were decoded, or waited for, in all phases.
        staging: seconds of the batch stage, resizes among them, in all phases.
    """

    decoding: float
    staging: float

    def __init__(
        self, plan: Plan, options: LoaderOptions, *, device: torch.device, views: int | None, before: "Engine | None"
    ):
        self.plan = plan
        self.device = device
        self.decoding = self.staging = self._resized = 0.0
        self._indices = options.indices
        threads = split_threads(options.num_threads, busy=any(map(is_busy, plan.pipelines)))
        self._decoder = open_decoder(
            plan,
            device=device,
            num_threads=threads.decode,
            prefetch=options.prefetch,
            gpu_decode=options.gpu_decode,
            max_pixels=options.max_pixels,
            max_bad_fraction=options.max_bad_fraction if options.on_bad_sample == "replace" else None,
        )
        self.faults: Faults = self._decoder.faults
        if before is not None:
            self.faults.take_over(before.faults)
            self.decoding, self.staging, self._resized = before.decoding, before.staging, before.resizing
        made = {
            "device": device,
            "dtype": options.dtype,
            "memory_format": options.memory_format,
            "num_threads": threads.stage if self._decoder.takes_cores else threads.decode,
        }
        pipelines = plan.pipelines
        self._stage = open_stage(pipelines[0], **made) if views is None else ViewsStage(pipelines, **made)

    @property
    def resizing(self) -> float:
        """Seconds of `staging` in which the host resized."""
        return self._resized + self._stage.resizing

    def batches(self, cursor: Cursor, count: int) -> Generator[Delivery, None, None]:
        """Decode and finish the next `count` batches."""
        if count:
            self._decoder.seek(cursor)
        for _ in range(count):
            start = time.perf_counter()
            batch, images, checkpoint = self._decoder.next()
            decoded = time.perf_counter()
            delivery = self._finish(batch, images, checkpoint)
            self._decoder.release()
            self.decoding += decoded - start
            self.staging += time.perf_counter() - decoded
            del images
            yield delivery
            del delivery

    def close(self) -> None:
        """End the graph; its threads and buffers go with the objects that hold them."""
        self._decoder.close()

    def _finish(self, batch: BatchPlan, images: Any, checkpoint: bytes | None) -> Delivery:
        """Targets, and the batch stage."""
        targets: Targets = torch.from_numpy(self.plan.dataset.targets[batch.indices])
        if self.plan.mixup is not None and batch.draw is not None:
            targets = self.plan.mixup.mix_labels(targets, batch.draw)
        made = (self._stage(images, batch), self._send(targets))
        if self._indices:
            made = (*made, send(torch.from_numpy(batch.indices), self.device))
        return Delivery(made, batch.step.end, checkpoint)

    def _send(self, targets: Targets) -> Targets:
        """Targets on the device."""
        if isinstance(targets, torch.Tensor):
            return send(targets, self.device)
        labels, lam = targets
        return send(labels, self.device), send(lam, self.device)
