"""The plan of a phase on one rank, with those of its views."""

from dataclasses import replace

import numpy as np

from dali_mixup.dataset.dataset import ImageDataset
from dali_mixup.plan.plan import Plan
from dali_mixup.plan.schedule import Phase
from dali_mixup.plan.views import spread_pipelines
from dali_mixup.randomness import Purpose, keyed_generator


def open_plan(
    dataset: ImageDataset,
    phase: Phase,
    *,
    batch_size: int | None,
    shuffle: bool,
    drop_last: bool,
    sampled: bool,
    views: int | None,
    seed: int,
    rank: int,
    world: int,
) -> Plan:
    """What comes when in some epochs.

    Args:
        dataset: the images.
        phase: what happens to them.
        batch_size: samples per rank and step; None where a batch sampler decides.
        shuffle: a new order each epoch.
        drop_last: leave out a last global batch that isn't full.
        sampled: whether a sampler decides what this rank gets.
        views: as the Loader was given it.
        seed: from 0 to 2**64 - 1.
        rank: from 0 to world - 1.
        world: number of ranks.
    """
    plans = [
        Plan(
            dataset=dataset,
            pipeline=pipeline,
            batch_size=batch_size or 1,
            shuffle=shuffle,
            drop_last=drop_last,
            mixup=phase.mixup,
            seed=_seed_of_rank(seed, rank) if sampled else seed,
            rank=0 if sampled else rank,
            world=1 if sampled else world,
            end=phase.end,
            view=view,
        )
        for view, pipeline in enumerate(spread_pipelines(phase.pipeline, views))
    ]
    return replace(plans[0], others=tuple(plans[1:]))


def _seed_of_rank(seed: int, rank: int) -> int:
    """Positions of a sampler are a rank's own, so ranks keep apart by their seed."""
    return seed if rank == 0 else int(keyed_generator(seed, Purpose.RANK, 0, rank).integers(2**64, dtype=np.uint64))
