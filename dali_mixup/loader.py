"""`Loader`: epochs of mixed batches, in the place of a torch `DataLoader`."""

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import fields
from functools import partial
from itertools import chain
from typing import Any, Literal, NoReturn, TypeVar, Unpack

import numpy as np
import torch
from PIL import Image
from torch.utils.data import BatchSampler

from dali_mixup.ahead import run_ahead
from dali_mixup.dataset.dataset import ImageDataset, check_dataset
from dali_mixup.decode.faults import check_few_are_bad
from dali_mixup.decode.gpu_decode import GpuDecode
from dali_mixup.engine import Engine
from dali_mixup.errors import BadSample, BadSampleError, check_int, must_be
from dali_mixup.mixing.random_choice import AnyMixer
from dali_mixup.options import LoaderKeywords, LoaderOptions, refuse_unknown, spelled_out
from dali_mixup.picture import Segment, as_html, draw_grid
from dali_mixup.placement import Shard, Sharing, pick_device, pick_shard
from dali_mixup.plan.epoch_sampler import EpochSampler, InOrderSampler
from dali_mixup.plan.open_plan import open_plan
from dali_mixup.plan.plan import Plan
from dali_mixup.plan.sampler import UserSampler
from dali_mixup.plan.schedule import Phase, Scheduled, check_schedule, map_schedule, phase_at, phases_of
from dali_mixup.plan.state import STATE_VERSION, Cursor, load_cursor, save_cursor
from dali_mixup.plan.views import (
    Pipelines,
    check_pipelines,
    check_sizes_fit,
    count_views,
    map_pipelines,
    spread_pipelines,
)
from dali_mixup.settle import settle
from dali_mixup.showing import as_levels, read_targets
from dali_mixup.stats import LoaderStats
from dali_mixup.trainers import Epoch, refuse_to_collate, show_to_accelerate

CUT = ("batch_size", "rank", "world_size", "views")  # of a state, what its checkpoint of DALI belongs to
SHOWN = 8  # images that a notebook shows of a Loader
REMEDIES = {"mixup_enabled": "end mixup by a schedule, such as mixup={0: mixup, 290: None}"}

Value = TypeVar("Value")


class Loader:
    """Batches of decoded, augmented, mixed and normalized images.

    Each `for` is one epoch, also after a `break`; it yields `(images, targets)`, with `indices` also these:

    - images: (B, 3, H, W) in `dtype` and `memory_format` on `device`; with `views` a list of them,
    - targets: without mixup the labels, (B,) int64 or float32 (B, ...). With mixup stacked targets (B, 3) float32
      `[label, partner label, lam]` for class indices, with the mixer's targets="split" a tuple of labels (B, 2) int64
      and lam (B,) float32, or with targets="dense" (B, C) float32; mixed labels for float ones,
    - indices: (B,) int64, the numbers of the samples in the dataset, after bad ones were replaced.

    Order, crops, flips, mixup weights and CutMix boxes are functions of (seed, epoch, position in the epoch): batch
    size, threads, prefetch and the number of ranks change none of them, and mixup changes no crop. Only a batch of one
    image is never mixed, and partners, the choice of a `RandomChoice` and, with `per_sample=False`, the weight and the
    box are drawn per rank's batch.

    Args:
        dataset: an `ImageFolder`, `FileList`, `TarDataset`, `PackedDataset`, `HFDataset`, `BytesDataset` or
            `ArrayDataset`.
        pipeline: what happens to an image; or a dict from first epochs to pipelines, such as
            `{0: imagenet.train(160), 66: imagenet.train(192)}`, which holds by the number of the epoch: a resumed run
            does what a fresh one would. A list of pipelines in the place of one makes a view of each image by each.
        batch_size: B, per rank; None with `batch_sampler`.
        shuffle: a new order each epoch.
        sampler: the order instead, as torch's DataLoader takes it: indices of the dataset, as many and as often as it
            gives, and all for this rank (give each rank its own, such as a DistributedSampler). It is walked through
            once when an epoch begins.
        batch_sampler: lists of indices instead, one per batch, of any lengths; excludes batch_size, shuffle, sampler
            and drop_last.
        drop_last: leave out the last batch if it isn't full. Otherwise every sample comes exactly once over all ranks.
        mixup: a `MixUp`, a `CutMix`, a `RandomChoice` of them, or None for none; or a dict from first epochs to these,
            such as `{0: dm.MixUp(0.4), 290: None}`.
        seed: from 0 to 2**64 - 1.
        device: where decoding runs and batches lie; None takes the GPU of this process if there is one, which is
            settled as `shard` is.
        dtype: torch.float32, float16 or bfloat16.
        memory_format: torch.contiguous_format (NCHW) or torch.channels_last.
        num_threads: DALI's threads on the CPU; the stage has half as many beside them, two at least, or as many where
            it is busy for longer than DALI. None takes one for each core that this process may use, at most 16, of
            which the ranks of a machine get equal shares.
        prefetch: batches that are prepared ahead, at least 1.
        shard: (rank, world size). None asks for them when the first batch is asked for, so that a Loader may be built
            before the processes know each other: torch.distributed if it is initialized by then, else the variables of
            torchrun (RANK, WORLD_SIZE), Lightning, Open MPI or Slurm's srun. (0, 1) gives this rank all samples. With a
            sampler it shares out nothing, and only keeps the ranks' crops and weights apart.
        on_bad_sample: "raise" stops with a `BadSampleError` that names each file of the batch that can't be decoded.
            "replace" puts another sample in its place, of the same class where there is one, warns once per file and
            lists it in `bad_samples`. All other samples stay as they are, bit for bit. In both ways a file that isn't
            DALI's (a GIF, a JPEG with damage inside) is decoded by Pillow, and bad only if Pillow refuses it.
        max_bad_fraction: with more bad files than this part of the data set, "replace" stops with a `BadSampleError`,
            too.
        max_pixels: a file whose header claims more pixels, or that the geometry would resize to more, is a bad sample;
            nothing is allocated for it.
        gpu_decode: a `GpuDecode`: how DALI decodes on a GPU.
        indices: whether batches hold the numbers of their samples.
        views: V makes V views of each image by the pipeline, for SimCLR, BYOL or DINO: `images` is a list of V
            batches, each with windows, flips and transforms of its own, and image i of each shows sample i. The first
            is what a Loader without `views` gives. An image is decoded once, the smallest part that holds all windows.
            Mixup mixes all views with the same partners and weights. None, without a list of pipelines, gives a batch.

    Attributes:
        dataset, pipeline, batch_size, ...: all that it was built with; none of them can be set. Where `shard` and
            `device` were left to the Loader, they may change until the first batch.
        num_workers, pin_memory, ...: what scripts read of a DataLoader, as one without worker processes has it.

    Raises:
        ValueError, TypeError: an option out of range, or an image too small for the pipeline's crop.
        BadSampleError: while iterating, and the Loader stays usable; with "replace" here, if the index knows too many
            bad files already.
    """

    # What scripts and trainers read of a DataLoader, as it is of one without worker processes.
    num_workers = 0
    pin_memory = False
    timeout = 0
    generator = None
    multiprocessing_context = None
    persistent_workers = False
    prefetch_factor = None
    collate_fn: Callable[[object], NoReturn] = staticmethod(refuse_to_collate)
    worker_init_fn = None  # which Lightning sets, to be run in worker processes

    # What a Loader was built with; `__setattr__` keeps it so.
    dataset: ImageDataset
    pipeline: Scheduled[Pipelines]
    batch_size: int | None
    shuffle: bool
    drop_last: bool
    mixup: Scheduled[AnyMixer | None]
    dtype: torch.dtype
    memory_format: torch.memory_format
    num_threads: int | None
    prefetch: int
    on_bad_sample: Literal["raise", "replace"]
    max_bad_fraction: float
    max_pixels: int
    gpu_decode: GpuDecode
    indices: bool
    views: int | None

    @spelled_out(LoaderKeywords)
    def __init__(
        self,
        dataset: ImageDataset,
        pipeline: Scheduled[Pipelines],
        **options: Unpack[LoaderKeywords],
    ):
        refuse_unknown(options, "Loader", LoaderKeywords)
        self._build_again = partial(type(self), dataset, pipeline, **options)
        self._options = chosen = LoaderOptions(**options)
        check_dataset(dataset)
        check_schedule("pipeline", pipeline, check_pipelines)
        views = count_views(_values(pipeline), chosen.views)
        fit = partial(settle, dataset=dataset, max_pixels=chosen.max_pixels, device=chosen.device)
        pipeline = map_schedule(pipeline, partial(map_pipelines, change=fit))
        for mixer in chosen.mixup.values() if isinstance(chosen.mixup, Mapping) else [chosen.mixup]:
            if mixer is not None and dataset.targets.dtype == np.int64:
                mixer.check_labels("dataset.targets", torch.from_numpy(dataset.targets))
        given = {option.name: getattr(chosen, option.name) for option in fields(chosen)}
        vars(self).update({name: value for name, value in given.items() if not hasattr(type(self), name)})
        vars(self).update(dataset=dataset, pipeline=pipeline, views=views)
        for phase in phases_of(pipeline, chosen.mixup):
            check_sizes_fit(spread_pipelines(phase.pipeline, views), phase.mixup)
        self._user_sampler = _open_sampler(chosen)
        self._check_epochs_hold_a_batch(chosen.shard[1] if isinstance(chosen.shard, tuple | list) else 1)
        if chosen.on_bad_sample == "replace":
            check_few_are_bad(dataset, max_pixels=chosen.max_pixels, max_bad_fraction=chosen.max_bad_fraction)

        self._engine: Engine | None = None  # these four are settled by `_start`
        self._shard: Shard | None = None
        self._phase: Phase | None = None
        self._process: int | None = None
        self._cursor = Cursor(0, 0)  # the next batch to deliver
        self._next_start = Cursor(0, 0)  # where the next `for` begins
        self._checkpoint_cut: dict[str, Any] = {}  # how the batches are cut that the cursors' checkpoints belong to
        self._iteration = 0
        self._fingerprint: str | None = None
        self._running: Generator | None = None
        self._delivered, self._waited = 0, 0.0

    def _start(self, phase: Phase) -> Engine:
        """Settle rank and device, and build what depends on them and on the phase, and what has threads."""
        device, shard, before = self.device, self.shard, self._engine
        if before is not None:
            if self._running is not None:
                self._running.close()
            before.close()
        plan = self._plan_of(phase, shard)
        self._check_epochs_hold_a_batch(plan.world)
        engine = Engine(plan, self._options, device=device, views=self.views, before=before)
        self._phase, self._shard, self._process = phase, shard, os.getpid()
        if before is None and isinstance(self._options.shard, Sharing):
            self._options.shard.warn_of_choice()
        return engine

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, also by pickle, is a new Loader with the same options; threads and graphs stay behind.

        Rank and device that were left to it are asked for anew.
        """
        return self._build_again, ()

    def __setattr__(self, name: str, value: object) -> None:
        settable = name.startswith("_") or name == "worker_init_fn"
        if not settable and (name in vars(self) or hasattr(type(self), name)):
            remedy = REMEDIES.get(name, "build another Loader over the same dataset")
            raise AttributeError(f"{name} of a Loader is what it was built with, and can't be set; {remedy}")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        order = "shuffled" if self.shuffle else "in order"
        if self._user_sampler is not None:
            order = f"ordered by {type(self._user_sampler.source).__name__}"
        settled = isinstance(self._options.shard, tuple | list)
        size = "" if self.batch_size is None else f" of {self.batch_size}"
        try:
            batches, device, shard = f"{len(self)}{size}, {order}", self.device, "rank {} of {}".format(*self.shard)
        except ValueError:  # a launcher's variables are half set
            batches, device, shard = order, self._options.device, "unknown"
        lines = {
            "dataset": self.dataset,
            "pipeline": repr(self.pipeline),
            "batches": batches,
            "mixup": self.mixup,
            "device": f"{device}, {self.dtype}",
            "shard": shard if self._engine or settled else f"{shard} until the first batch settles it",
        }
        return "\n".join(["Loader(", *(f"  {name}: {value}" for name, value in lines.items()), ")"])

    def _repr_html_(self) -> str:
        """What notebooks show: the lines of `repr`, and mixed images."""
        rows = [line.strip().split(": ", 1) for line in repr(self).splitlines()[1:-1]]
        try:
            picture = self.show_batch(SHOWN)
        except BadSampleError:  # the first batch will say it
            picture = None
        return as_html("Loader", [(name, value) for name, value in rows], picture)

    def show_batch(self, count: int = 16, *, columns: int = 8, side: int = 128) -> Image.Image:
        """Some images of the next epoch's first batches with their targets, as a picture that notebooks show.

        They come from a copy of this Loader, which stays where it is. (A `sampler` is walked through once more.)

        Args:
            count: how many images; fewer where an epoch has fewer.
            columns: images per row.
            side: of an image in the picture, in pixels.

        Raises:
            BadSampleError: a file of these batches can't be decoded.
        """
        check_int("count", count, at_least=1)
        copy = self._build_again()
        copy.set_epoch(self.next_epoch)
        pictures: list[np.ndarray] = []
        captions: list[list[Segment]] = []
        shares: list[float] = []
        pipeline = self._plan_of(self._phase_at(self.next_epoch), self.shard).pipeline
        for images, targets, *_ in copy:
            found, share = read_targets(targets, self.dataset.classes)
            images = images[0] if isinstance(images, list) else images
            pictures += as_levels(images, pipeline.mean, pipeline.std)
            captions += found
            shares += share or []
            if len(pictures) >= count:
                break
        if copy._engine is not None:
            copy._engine.close()
        shown = shares[:count] if len(shares) == len(pictures) else None
        return draw_grid(pictures[:count], captions[:count], side=side, columns=columns, shares=shown)

    def __len__(self) -> int:
        """Batches per epoch on this rank."""
        return self.plan.steps_per_epoch() if self._user_sampler is None else len(self._user_sampler)

    @property
    def shard(self) -> Shard:
        """Rank and world size: as they were given, or those of this process now, until the first batch settles them."""
        return self._shard or pick_shard(self._options.shard)

    @property
    def device(self) -> torch.device:
        """Where batches lie; a GPU that was left to the Loader is settled with the first batch."""
        return pick_device(self._options.device) if self._engine is None else self._engine.device

    @property
    def seed(self) -> int:
        """Of all random numbers."""
        sharing = self._options.shard
        if isinstance(sharing, Sharing) and sharing.seed is not None and self.shard[1] > 1:
            return sharing.seed
        return int(self._options.seed)

    @property
    def mixup_enabled(self) -> bool:
        """Whether the next epoch is mixed, which scripts of timm's ask, and would set: a schedule ends it here."""
        return self._phase_at(self.next_epoch).mixup is not None

    @property
    def plan(self) -> Plan:
        """What comes when, on this rank."""
        if self._engine is not None:
            return self._engine.plan
        return self._plan_of(self._phase_at(self.next_epoch), self.shard)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, Any]]:
        self._check_process()
        return self._deliver()

    @property
    def bad_samples(self) -> list[BadSample]:
        """The files that `on_bad_sample="replace"` met: number, path, and what is wrong and was done.

        In the dataset's order.
        """
        return [] if self._engine is None else sorted(self._engine.faults.replaced.values())

    @property
    def sampler(self) -> Any:
        """The sampler that the Loader was built with, or its own order in the form of one.

        `sampler.set_epoch` works as in torch.
        """
        if self._user_sampler is not None:
            return self._user_sampler.shown
        kind = EpochSampler if self.shuffle else InOrderSampler
        return kind(self.plan, lambda: self._next_start.epoch, self.set_epoch)

    @property
    def batch_sampler(self) -> Any:
        """The batch sampler that the Loader was built with, or its sampler cut into batches, as a DataLoader does."""
        given = self._options.batch_sampler
        return BatchSampler(self.sampler, self.batch_size or 1, self.drop_last) if given is None else given

    @property
    def next_epoch(self) -> int:
        """The epoch that the next `for` runs."""
        return self._next_start.epoch

    def set_epoch(self, epoch: int) -> None:
        """Make the next `for` run this epoch; a position inside of it that `load_state_dict` set is kept.

        A sampler's own `set_epoch` is called too: its order changes with the epoch that it is told, not by itself.
        """
        check_int("epoch", epoch, at_least=0)
        if epoch != self._next_start.epoch:
            self._next_start = Cursor(int(epoch), 0)
        self._cursor = self._next_start
        if self._user_sampler is not None:
            self._user_sampler.set_epoch(int(epoch))

    def state_dict(self) -> dict[str, Any]:
        """Where the Loader stands: after the last batch that it delivered; after an epoch's last one at (epoch + 1, 0).

        Plain values, with random operators in `augment` DALI's state (a uint8 tensor), and with a sampler in mid-epoch
        its order (an int64 tensor). These two belong to this rank, so with them each rank saves its own.
        `torch.load(weights_only=True)` reads it.
        """
        sampler = self._user_sampler
        return {
            **self._identity(),
            **self._cut(),
            **save_cursor(self._as_cut_here(self._cursor)),
            "sampler_state": None if sampler is None else sampler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make the next `for` go on where `state` was taken.

        With another batch size or number of ranks the rest of the epoch holds each remaining sample once, with the same
        window and flip; only the partners, which belong to a batch, and random operators of `augment` are drawn anew.

        Raises:
            TypeError: something else than the dict of `state_dict`.
            ValueError: a state of another data set, seed, order or version; the message says what differs.
        """
        if not isinstance(state, Mapping):
            raise TypeError(must_be("state", "a dict that state_dict() returned", state))
        differing = [
            must_be(f"state[{name!r}]", f"that of this Loader ({value})", state.get(name))
            for name, value in self._identity().items()
            if state.get(name) != value
        ]
        if differing:
            raise ValueError("; ".join(differing))
        cursor = load_cursor(state, samples=len(self.dataset))
        if self._user_sampler is not None:
            self._user_sampler.load_state_dict(state["sampler_state"])
        self._cursor = self._next_start = cursor
        self._checkpoint_cut = {name: state[name] for name in CUT if name in state}

    def _identity(self) -> dict[str, Any]:
        """What a state must share with this Loader."""
        if self._fingerprint is None:
            self._fingerprint = self.dataset.fingerprint()
        sampler = self._user_sampler
        return {
            "version": STATE_VERSION,
            "samples": len(self.dataset),
            "dataset": self._fingerprint,
            "seed": self.seed,
            "shuffle": self.plan.shuffle,
            "decode": "scaled" if self._is_scaled() else "exact",
            "sampler": None if sampler is None else type(sampler.source).__name__,
            **({} if sampler is None else {"rank": self.shard[0]}),
        }

    def _is_scaled(self) -> bool:
        each = (spread_pipelines(pipelines, None) for pipelines in _values(self.pipeline))
        return any(pipeline.decode == "scaled" for pipeline in chain.from_iterable(each))

    def _cut(self) -> dict[str, int]:
        """What cuts the positions into this rank's batches, and each image into views."""
        rank, world = self.shard
        cut = {"batch_size": self.plan.batch_size, "rank": rank, "world_size": world}
        return cut if self.views is None else {**cut, "views": self.views}

    def _as_cut_here(self, cursor: Cursor) -> Cursor:
        """Without DALI's state where that belongs to other batches: random operators start anew."""
        return cursor if self._checkpoint_cut == self._cut() else cursor._replace(checkpoint=None)

    def stats(self) -> LoaderStats:
        """Where the time went since the Loader was built."""
        engine = self._engine
        decode, stage, resize = (engine.decoding, engine.staging, engine.resizing) if engine else (0.0, 0.0, 0.0)
        return LoaderStats(
            batches=self._delivered, wait=self._waited, decode=decode, resize=resize, stage=stage - resize
        )

    def _begin(self) -> tuple[Engine, Cursor, int]:
        """Begin the next epoch; an earlier one ends."""
        self._check_process()
        phase = self._phase_at(self.next_epoch)
        if self._engine is None or phase != self._phase:
            self._engine = self._start(phase)
        start = self._as_cut_here(self._next_start)
        self._checkpoint_cut = self._cut()
        if self._user_sampler is not None and start.sampled is None:
            start = start._replace(sampled=self._user_sampler.draw(len(self.dataset)))
        self._cursor = start
        self._next_start = Cursor(start.epoch + 1, 0)
        self._iteration += 1
        if self._running is not None:
            self._running.close()
        return self._engine, start, self._iteration

    def _deliver(self) -> Iterator[tuple[torch.Tensor, Any]]:
        """One epoch; it begins with its first batch, since trainers call iter() just to see, then set the epoch."""
        engine, cursor, iteration = self._begin()
        count = sum(1 for _ in self.plan.steps(cursor.position, cursor.sampled))
        batches = engine.batches(cursor, count)
        if self.device.type == "cpu":
            batches = run_ahead(batches, ahead=1)
        self._running = batches
        epoch = Epoch()
        with closing(batches), show_to_accelerate(epoch):
            for left in reversed(range(count)):
                self._check_current(iteration)
                start = time.perf_counter()
                batch, end, checkpoint = next(batches)
                self._waited += time.perf_counter() - start
                self._delivered += 1
                if left:
                    self._cursor = cursor._replace(position=end, checkpoint=checkpoint)
                else:
                    self._cursor = Cursor(cursor.epoch + 1, 0)
                    epoch.end_of_dataloader = True
                yield batch
                del batch
                self._check_process()
            self._check_current(iteration)
            self._cursor = Cursor(cursor.epoch + 1, 0)

    def _phase_at(self, epoch: int) -> Phase:
        return phase_at(self.pipeline, self.mixup, epoch)

    def _plan_of(self, phase: Phase, shard: Shard) -> Plan:
        rank, world = shard
        return open_plan(
            self.dataset,
            phase,
            batch_size=self.batch_size,
            shuffle=self.shuffle,
            drop_last=self.drop_last,
            sampled=self._user_sampler is not None,
            views=self.views,
            seed=self.seed,
            rank=rank,
            world=world,
        )

    def _check_epochs_hold_a_batch(self, ranks: int) -> None:
        """With `drop_last` a batch must be no larger than what comes to a rank."""
        samples = len(self.dataset) if self._user_sampler is None else len(self.sampler)
        if self._user_sampler is not None:
            ranks = 1
        if self.drop_last and (self.batch_size or 1) * ranks > samples:
            rule = f"at most {samples // ranks} with drop_last ({samples} samples, {ranks} ranks)"
            raise ValueError(must_be("batch_size", rule, self.batch_size))

    def _check_current(self, iteration: int) -> None:
        if iteration != self._iteration:
            raise RuntimeError(
                "this epoch ended when another `for` over the same Loader began; build a second Loader to "
                "run two at once"
            )

    def _check_process(self) -> None:
        if self._process not in (None, os.getpid()):
            raise RuntimeError(
                f"this Loader belongs to process {self._process}, and a fork takes none of its threads "
                f"along to process {os.getpid()}; "
                "build the Loader in the process that uses it"
            )


def _values(schedule: Scheduled[Value]) -> list[Value]:
    return list(schedule.values()) if isinstance(schedule, Mapping) else [schedule]


def _open_sampler(options: LoaderOptions) -> UserSampler | None:
    if options.sampler is None and options.batch_sampler is None:
        return None
    return UserSampler(
        options.sampler, options.batch_sampler, batch_size=options.batch_size, drop_last=options.drop_last
    )
