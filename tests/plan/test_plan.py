from itertools import chain

import numpy as np
import pytest
import torch
from scipy import stats

import dali_mixup as dm
from dali_mixup.plan.plan import Plan
from dali_mixup.plan.sampler import Sampled
from dali_mixup.plan.step import Step
from tests.conftest import picture

TRAIN = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), flip=0.5)


def plan(dataset, **options):
    defaults = {
        "pipeline": TRAIN, "batch_size": 4, "shuffle": True, "drop_last": False, "mixup": dm.MixUp(),
        "seed": 7, "rank": 0, "world": 1,
    }  # fmt: skip
    return Plan(dataset=dataset, **{**defaults, **options})


def rows(made, epoch=0, position=0):
    """One tuple per sample: position, number, window, flip and lam."""
    order = made.order(epoch)
    found = []
    for step in made.steps(position):
        batch = made.batch(epoch, order, step)
        lam = [None] * len(batch.indices) if batch.draw is None else batch.draw.lam.tolist()
        windows = np.concatenate([batch.windows.anchor, batch.windows.shape], 1).tolist()
        found += zip(
            range(step.first, step.first + step.length),
            batch.indices.tolist(),
            map(tuple, windows),
            batch.flips.tolist(),
            lam,
            strict=True,
        )
    return found


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 23, 64])
def test_a_samples_augmentation_does_not_depend_on_the_batch_size(dataset, batch_size):
    expected = [(*row[:4], None) for row in rows(plan(dataset))]
    assert [(*row[:4], None) for row in rows(plan(dataset, batch_size=batch_size))] == expected
    if batch_size in (2, 5, 23, 64) and 23 % batch_size != 1:  # a batch of one is left unmixed
        by_position = {row[0]: row[4] for row in rows(plan(dataset, batch_size=3))}
        assert {row[0]: row[4] for row in rows(plan(dataset, batch_size=batch_size))} == by_position


def test_mixup_changes_no_order_window_or_flip(dataset):
    assert [row[:4] for row in rows(plan(dataset, mixup=None))] == [row[:4] for row in rows(plan(dataset))]


@pytest.mark.parametrize("world", [1, 2, 3, 4, 30])
@pytest.mark.parametrize("batch_size", [1, 4, 30])
def test_ranks_see_every_sample_once_with_the_same_augmentation(dataset, world, batch_size):
    ranks = [plan(dataset, rank=rank, world=world, batch_size=batch_size) for rank in range(world)]
    together = [row[:4] for made in ranks for row in rows(made)]
    assert sorted(together) == [row[:4] for row in rows(plan(dataset))]
    for made in ranks:
        counts = [count for _, count, _ in made.steps()]
        assert len(counts) == made.steps_per_epoch()
        assert all(counts)


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_drop_last_gives_every_rank_as_many_full_batches(dataset, world):
    ranks = [plan(dataset, rank=rank, world=world, drop_last=True) for rank in range(world)]
    for made in ranks:
        assert [count for _, count, _ in made.steps()] == [4] * (23 // (4 * world)) == [4] * made.steps_per_epoch()
    positions = [row[0] for made in ranks for row in rows(made)]
    assert sorted(positions) == list(range(23 // (4 * world) * 4 * world))


@pytest.mark.parametrize("position", [0, 1, 8, 22, 23])
def test_an_epoch_goes_on_from_any_position_with_other_ranks_and_batch_sizes(dataset, position):
    expected = [row[:4] for row in rows(plan(dataset))][position:]
    together = [
        row[:4] for rank in range(3) for row in rows(plan(dataset, rank=rank, world=3, batch_size=2), position=position)
    ]
    assert sorted(together) == expected


def test_epochs_and_seeds_differ_in_everything(dataset):
    first, second, other = rows(plan(dataset)), rows(plan(dataset), epoch=1), rows(plan(dataset, seed=8))
    for column in (1, 2, 3, 4):
        assert [row[column] for row in first] != [row[column] for row in second]
        assert [row[column] for row in first] != [row[column] for row in other]
    assert sorted(row[1] for row in second) == list(range(23))


def test_without_shuffle_the_order_is_the_datasets(dataset):
    assert [row[1] for row in rows(plan(dataset, shuffle=False), epoch=3)] == list(range(23))


def test_partners_differ_between_batches_ranks_and_epochs(dataset):
    def partners(epoch=0, **options):
        made = plan(dataset, batch_size=8, **options)
        return [
            tuple(made.batch(epoch, made.order(epoch), step).draw.partner.tolist())
            for step in made.steps()
            if step[1] == 8
        ]

    assert len({*partners(), *partners(epoch=1), *partners(rank=0, world=2)[1:], *partners(rank=1, world=2)}) >= 4
    assert partners() == partners()


def test_one_lam_per_batch_is_one_lam(dataset):
    made = plan(dataset, mixup=dm.MixUp(per_sample=False))
    draws = [made.batch(0, made.order(0), step).draw for step in made.steps()]
    assert all(len(set(draw.lam.tolist())) == 1 for draw in draws)
    assert len({draw.lam[0].item() for draw in draws}) == len(draws)


def boxes(dataset, **options):
    """lam and box by position."""
    made = plan(dataset, **options)
    found = {}
    for step in made.steps():
        draw = made.batch(0, made.order(0), step).draw
        found |= dict(enumerate(zip(draw.lam.tolist(), map(tuple, draw.boxes.tolist()), strict=True), start=step[0]))
    return found


@pytest.mark.parametrize("batch_size", [2, 5, 23, 64])
def test_a_box_belongs_to_a_position_whatever_the_batch_size(dataset, batch_size):
    expected = boxes(dataset, mixup=dm.CutMix(), batch_size=3)
    found = boxes(dataset, mixup=dm.CutMix(), batch_size=batch_size)
    if 23 % batch_size == 1:  # a batch of one is left as it is
        expected.pop(22), found.pop(22)
    assert found == expected
    assert len(set(expected.values())) > 15
    other = boxes(dataset, mixup=dm.CutMix(), batch_size=3, seed=8)
    assert set(other.values()) != set(expected.values())


def test_boxes_fit_the_pipelines_size_and_scale_with_it(dataset):
    wide = plan(dataset, mixup=dm.CutMix(), pipeline=dm.ImagePipeline(geometry=dm.RandomResizedCrop((16, 64))))
    draw = wide.batch(0, wide.order(0), Step(0, 23, 23)).draw
    small = plan(dataset, mixup=dm.CutMix()).batch(0, None, Step(0, 23, 23)).draw
    assert draw.size == (16, 64)
    assert torch.equal(draw.boxes[:, ::2], small.boxes[:, ::2])
    assert draw.boxes[:, 3].max() > 32
    assert torch.equal(draw.partner, small.partner)


def test_where_a_box_lies_has_nothing_to_do_with_its_size(dataset):
    mixup = dm.CutMix(per_sample=False)
    made = [plan(dataset, mixup=mixup, seed=seed).batch(0, None, Step(0, 2, 2)).draw for seed in range(300)]
    lam, found = torch.stack([draw.lam[0] for draw in made]), torch.stack([draw.boxes[0] for draw in made])
    middle = (found[:, :2] + found[:, 2:]) / 2
    for axis in range(2):
        assert stats.spearmanr(lam, middle[:, axis]).pvalue > 0.001


def test_one_box_per_batch_is_one_box(dataset):
    made = plan(dataset, mixup=dm.CutMix(per_sample=False))
    draws = [made.batch(0, made.order(0), step).draw for step in made.steps()]
    assert all(len(draw.boxes.unique(dim=0)) == len(draw.lam.unique()) == 1 for draw in draws)
    assert len({tuple(draw.boxes[0].tolist()) for draw in draws}) == len(draws)


def test_a_choice_belongs_to_a_batch_and_leaves_each_mixers_numbers_alone(dataset):
    mixers = dm.MixUp(), dm.CutMix()
    chosen = plan(dataset, mixup=dm.RandomChoice(mixers), batch_size=2)
    kinds = set()
    for epoch in range(3):
        for step in chosen.steps():
            draw = chosen.batch(epoch, None, step).draw
            kinds.add((epoch, type(draw)))
            alone = (
                plan(dataset, mixup=mixers[isinstance(draw, dm.CutMixDraw)], batch_size=2).batch(epoch, None, step).draw
            )
            assert torch.equal(draw.lam, alone.lam)
            assert torch.equal(draw.partner, alone.partner)
    assert len(kinds) == 6
    again = plan(dataset, mixup=dm.RandomChoice(mixers), batch_size=2)
    for step in again.steps():
        assert type(again.batch(0, None, step).draw) is type(chosen.batch(0, None, step).draw)


def test_mixups_numbers_are_the_same_in_every_version(dataset):
    """A saved state means these numbers."""
    draw = plan(dataset).batch(1, None, Step(4, 4, 8)).draw
    assert draw.lam.tolist() == [0.9679787755012512, 0.7192073464393616, 0.9611545205116272, 0.9573631882667542]
    assert draw.partner.tolist() == [2, 0, 3, 1]
    made = plan(dataset, mixup=dm.MixUp(prob=0.5, fold=False, per_sample=False, partner="permutation"))
    draws = [made.batch(0, None, step).draw for step in made.steps()]
    assert [draw.lam[0].item() for draw in draws] == [0.8714034557342529, 1.0, 1.0, 0.060343820601701736, 1.0, 1.0]
    assert draws[1].partner.tolist() == [1, 3, 0, 2]


@pytest.mark.parametrize("lengths", [[5, 3, 1], [1, 5, 2], [2, 3, 5], [4], []])
def test_the_largest_batch_is_that_of_a_batch_sampler_or_the_batch_size(dataset, lengths):
    ends = np.cumsum(lengths, dtype=np.int64)
    sampled = Sampled(indices=np.zeros(sum(lengths), np.int64), ends=ends)
    assert plan(dataset).largest_batch(sampled) == max(lengths, default=1)
    assert plan(dataset).largest_batch(None) == 4
    assert plan(dataset).largest_batch(Sampled(indices=np.zeros(9, np.int64), ends=None)) == 4


def test_windows_of_images_of_one_pixel_have_one_pixel(tmp_path):
    picture(1, 1, 0).save(tmp_path / "dot.png")
    picture(1, 30, 1).save(tmp_path / "line.png")
    made = plan(dm.FileList([tmp_path / "dot.png", tmp_path / "line.png"] * 20, [0, 1] * 20), shuffle=False)
    for (_, number, (top, left, height, width), _, _), wide in zip(rows(made), [1, 30] * 20, strict=True):
        assert (top, height) == (0, 1), number
        assert 0 <= left < left + width <= wide, number


def test_operations_belong_to_positions_and_stand_there_with_transforms_alone(dataset):
    def operations(batch_size, transforms):
        pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), transforms=transforms)
        made = plan(dataset, pipeline=pipeline, batch_size=batch_size)
        return [made.batch(0, made.order(0), step).operations for step in made.steps()]

    transforms = (dm.ColorJitter(brightness=0.5), dm.RandomGrayscale(0.5))
    small, large = (list(chain.from_iterable(operations(size, transforms))) for size in (3, 8))
    assert len(small) == 23
    assert repr(small) == repr(large)
    assert len(set(map(repr, small))) > 10
    assert operations(8, ()) == [None] * 3


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_flips_come_with_their_probability(folder, probability):
    dataset = dm.FileList(list(dm.ImageFolder(folder).paths) * 200, [0] * 4600)
    made = plan(dataset, pipeline=dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), flip=probability))
    assert np.mean([row[3] for row in rows(made)]) == pytest.approx(probability, abs=0.03)
