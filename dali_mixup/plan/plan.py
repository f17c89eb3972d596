"""Which samples, which windows, which flips, which lam: a pure function of (seed, epoch, position).

`position` is a sample's place in the epoch's global order, over all ranks. Each global batch of `batch_size` x `world`
positions is cut into one run of consecutive positions per rank.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from dali_mixup.dataset.dataset import ImageDataset
from dali_mixup.geometry.geometry import Windows
from dali_mixup.mixing.draws import Draw
from dali_mixup.mixing.mixer import Rows
from dali_mixup.mixing.random_choice import AnyMixer, RandomChoice
from dali_mixup.pipeline import ImagePipeline
from dali_mixup.plan.sampler import Sampled
from dali_mixup.plan.step import Step
from dali_mixup.plan.views import unite
from dali_mixup.randomness import Purpose, draw_at, keyed_generator
from dali_mixup.transforms.after import count_after
from dali_mixup.transforms.operations import Operation
from dali_mixup.transforms.transforms import count_uniforms, plan_operations

REPLACEMENT_TRIES = 16
BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchPlan:
    """Everything about one rank's batch but its pixels.

    Attributes:
        epoch: the epoch it belongs to.
        step: its positions in the epoch's order.
        indices: (B,) int64, the samples' numbers in the dataset.
        windows: what to decode and resize.
        flips: (B,) bool.
        draw: lam, partner and, with CutMix, boxes; None without mixup.
        operations: for each image, what its pipeline's `transforms` do to it; None without them.
        after: (B, k) float32 in [0, 1), what its pipeline's `after` have planned; None without such.
        views: with several views of each image their plans, of the same samples; `windows` then holds all of theirs,
            and the rest is the first one's.
    """

    epoch: int
    step: Step
    indices: np.ndarray
    windows: Windows
    flips: np.ndarray
    draw: Draw | None
    operations: list[list[Operation]] | None = None
    after: np.ndarray | None = None
    views: tuple["BatchPlan", ...] = ()

    @property
    def each_view(self) -> tuple["BatchPlan", ...]:
        """The plan of each view: this one without several."""
        return self.views or (self,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """The options of a run; its methods compute, they keep nothing.

    Args:
        dataset: sizes of the images.
        pipeline: geometry and flip probability.
        batch_size: samples per rank and step; where a batch sampler decides, it is not looked at.
        shuffle: a new order each epoch.
        drop_last: leave out a last global batch that isn't full.
        mixup: None for none.
        seed: from 0 to 2**64 - 1.
        rank: from 0 to world - 1.
        world: number of ranks; 1 where a sampler decides what this rank gets.
        end: the epoch from which on another plan holds; None where there is none.
        view: which view of an image this is; each has random numbers of its own.
        others: the plans of the views after the first.
    """

    dataset: ImageDataset
    pipeline: ImagePipeline
    batch_size: int
    shuffle: bool
    drop_last: bool
    mixup: AnyMixer | None
    seed: int
    rank: int
    world: int
    end: int | None = None
    view: int = 0
    others: tuple["Plan", ...] = ()

    @property
    def pipelines(self) -> tuple[ImagePipeline, ...]:
        """That of each view."""
        return (self.pipeline, *(other.pipeline for other in self.others))

    @property
    def augments(self) -> bool:
        """Whether a view has operators of the user's in DALI's graph."""
        return any(pipeline.augment is not None for pipeline in self.pipelines)

    def steps(self, position: int = 0, sampled: Sampled | None = None) -> Iterator[Step]:
        """This rank's batches from a global position to the end of an epoch.

        A last global batch that isn't full is shared evenly; a rank without a share has one step less, never an empty
        one. What a sampler gave is this rank's alone.
        """
        if sampled is not None:
            yield from sampled.steps(position, self.batch_size, drop_last=self.drop_last)
            return
        total, whole = len(self.dataset), self.batch_size * self.world
        while position + whole <= total:
            yield Step(position + self.rank * self.batch_size, self.batch_size, position + whole)
            position += whole
        if self.drop_last or position >= total:
            return
        share, extra = divmod(total - position, self.world)
        count = share + (self.rank < extra)
        if count:
            yield Step(position + self.rank * share + min(self.rank, extra), count, total)

    def steps_per_epoch(self) -> int:
        """Batches that this rank sees in a whole epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size * self.world)
        return whole if self.drop_last else whole + (rest > self.rank)

    def largest_batch(self, sampled: Sampled | None) -> int:
        """Samples in this rank's largest batch of an epoch."""
        if sampled is None or sampled.ends is None:
            return self.batch_size
        return int(np.diff(sampled.ends, prepend=0).max(initial=1))

    def order(self, epoch: int, sampled: Sampled | None = None) -> np.ndarray | None:
        """The dataset's numbers in the epoch's order, (N,) int64; None where it is the dataset's own."""
        if sampled is not None:
            return sampled.indices
        if not self.shuffle:
            return None
        return keyed_generator(self.seed, Purpose.ORDER, epoch).permutation(len(self.dataset))

    def batch(
        self,
        epoch: int,
        order: np.ndarray | None,
        step: Step,
        replaced: Mapping[int, int] | None = None,
    ) -> BatchPlan:
        """Plan one of `steps`; `order` is the epoch's, and the positions in `replaced` get these samples."""
        first, count = step.first, step.length
        indices = np.arange(first, first + count) if order is None else order[first : first + count]
        if replaced:
            indices = indices.copy()
            indices[np.array(list(replaced)) - first] = list(replaced.values())
        own = BatchPlan(
            epoch=epoch,
            step=step,
            indices=indices,
            windows=self.windows(epoch, first, indices),
            flips=self._draw_at(Purpose.FLIP, epoch, first, count, 1)[:, 0] < self.pipeline.flip,
            draw=self._mixup_draw(epoch, first, count),
            operations=self._operations(epoch, first, count),
            after=self._after(epoch, first, count),
        )
        if not self.others:
            return own
        views = (own, *(other.batch(epoch, order, step, replaced) for other in self.others))
        return replace(own, windows=unite([view.windows for view in views]), views=views)

    def windows(self, epoch: int, first: int, indices: np.ndarray) -> Windows:
        """Windows of the samples `indices` at the positions from `first` on."""
        geometry = self.pipeline.geometry
        uniform = self._draw_at(Purpose.WINDOW, epoch, first, len(indices), geometry.uniforms)
        # a file that is no image has no size, and is never decoded
        sizes = self.dataset.sizes_of(upright=self.pipeline.orient)
        height, width = (np.maximum(sides[indices], 1) for sides in sizes)
        return geometry.windows(height, width, uniform)

    def replacements(self, epoch: int, position: int, index: int) -> Iterator[int]:
        """Samples for the place of sample `index`, to be tried in this order.

        Of its class where there is one, then of any.
        """
        generator = keyed_generator(self.seed, Purpose.REPLACEMENT, epoch, counter=position)
        targets = self.dataset.targets
        groups = [np.arange(len(targets))]
        if targets.dtype == np.int64:
            groups.insert(0, np.flatnonzero(targets == targets[index]))
        for group in groups:
            yield from group[generator.integers(len(group), size=REPLACEMENT_TRIES)].tolist()
            yield from generator.permutation(
                group
            ).tolist()  # of a million it takes its time, and is hardly ever asked for

    def _draw_at(self, purpose: Purpose, epoch: int, first: int, count: int, columns: int) -> np.ndarray:
        """Uniform numbers (count, columns) in [0, 1)."""
        return draw_at(
            first,
            count,
            lambda n, generator: generator.random((n, columns)),
            seed=self.seed,
            purpose=purpose,
            epoch=epoch,
            view=self.view,
        )

    def _operations(self, epoch: int, first: int, count: int) -> list[list[Operation]] | None:
        """What the transforms do at the positions from `first` on."""
        transforms, size = self.pipeline.transforms, self.pipeline.size
        if not transforms:
            return None
        uniform = self._draw_at(Purpose.TRANSFORM, epoch, first, count, count_uniforms(transforms))
        return plan_operations(transforms, uniform, size)

    def _after(self, epoch: int, first: int, count: int) -> np.ndarray | None:
        """What the user's functions draw at the positions from `first` on."""
        columns = count_after(self.pipeline.after)
        if not columns:
            return None
        uniform = self._draw_at(Purpose.AFTER, epoch, first, count, columns)
        return np.minimum(uniform.astype(np.float32), BELOW_ONE)

    def _mixup_draw(self, epoch: int, first: int, count: int) -> Draw | None:
        """Draw lam and boxes by position; partners, and which of several mixers has its turn, by batch."""
        if self.mixup is None:
            return None
        keyed = partial(keyed_generator, self.seed, epoch=epoch)
        mixer = self.mixup
        if isinstance(mixer, RandomChoice):
            mixer = mixer.choose(keyed(Purpose.CHOICE, counter=first))

        def draw(purpose: Purpose, rows: Rows) -> np.ndarray:
            if mixer.per_sample:
                return draw_at(first, count, rows, seed=self.seed, purpose=purpose, epoch=epoch)
            return rows(1, keyed(purpose, counter=first))

        drawn = [draw(purpose, rows) for purpose, rows in mixer.streams.items()]
        partner = mixer.draw_partner(count, keyed(Purpose.PARTNER, counter=first))
        return mixer.combine(drawn, partner, self.pipeline.size)
