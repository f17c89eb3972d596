"""A user's sampler or batch sampler decides the order; everything else stays the Loader's."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, RandomSampler, SequentialSampler, SubsetRandomSampler, WeightedRandomSampler
from torch.utils.data.distributed import DistributedSampler

import dali_mixup as dm
from tests.conftest import noise
from tests.plan.loaders import TRAIN, flat, labels, loader

NOISY = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), flip=0.5, augment=noise)


def seeded(number):
    return torch.Generator().manual_seed(number)


def weighted(number=5, count=30):
    return WeightedRandomSampler(torch.arange(1.0, 24.0), count, generator=seeded(number))


def by_length(sizes):
    """A batch sampler with batches of these sizes."""
    numbers = iter(torch.randperm(23, generator=seeded(1)).tolist())
    return [[next(numbers) for _ in range(size)] for size in sizes]


SAMPLERS = {
    "weighted": weighted,
    "subset": lambda: SubsetRandomSampler(range(3, 20), generator=seeded(2)),
    "replacement": lambda: RandomSampler(range(23), replacement=True, num_samples=50, generator=seeded(3)),
    "list": lambda: [7, 7, 0, 22, 5, 5, 1, 2, 3],
}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("drop_last", [False, True])
def test_batches_are_those_of_torchs_dataloader(numbered, name, drop_last):
    peer = torch.utils.data.DataLoader(range(23), batch_size=4, sampler=SAMPLERS[name](), drop_last=drop_last)
    made = loader(numbered, sampler=SAMPLERS[name](), drop_last=drop_last)
    for _ in range(2):
        assert labels(made) == [batch.tolist() for batch in peer]
        assert len(made) == len(peer)


def test_a_batch_samplers_batches_keep_their_order_and_lengths(numbered):
    batches = by_length([3, 1, 9, 2, 8])
    made = loader(numbered, batch_sampler=batches, mixup=dm.MixUp())
    assert len(made) == 5
    assert made.batch_size is None
    for _ in range(2):
        assert [targets[:, 0].int().tolist() for _, targets in made] == batches


def test_a_batch_sampler_of_torch_gives_torchs_batches(numbered):
    def build():
        return BatchSampler(RandomSampler(range(23), generator=seeded(4)), 5, drop_last=False)

    made, sampler = build(), build()
    ours = loader(numbered, batch_sampler=made)
    assert ours.sampler is made.sampler
    for _ in range(2):
        assert labels(ours) == list(sampler)


def test_a_samplers_pixels_are_those_of_the_same_samples_in_a_file_list(numbered):
    order = [9, 4, 4, 17, 0, 22]
    listed = dm.FileList([numbered.paths[i] for i in order], order)
    for (images, targets), (expected, expected_targets) in zip(
        loader(numbered, sampler=order), loader(listed), strict=True
    ):
        assert torch.equal(images, expected)
        assert torch.equal(targets, expected_targets)


def test_a_sample_that_comes_twice_has_two_crops(numbered):
    images = torch.cat([images for images, _ in loader(numbered, sampler=[9] * 4)])
    assert not any(torch.equal(images[0], other) for other in images[1:])


def test_ranks_with_distributed_samplers_share_the_data_and_no_crops(numbered):
    def build(rank, **options):
        return loader(numbered, sampler=DistributedSampler(range(23), 2, rank, seed=3), shard=(rank, 2), **options)

    one, other = build(0), build(1)
    assert len(one) == len(other) == 3
    for epoch in range(2):
        for made in (one, other):
            made.set_epoch(epoch)
        peers = [DistributedSampler(range(23), 2, rank, seed=3) for rank in range(2)]
        for made, peer in zip((one, other), peers, strict=True):
            peer.set_epoch(epoch)
            assert flat(made) == list(peer)
    same = [loader(numbered, sampler=[9] * 4, shard=(rank, 2), mixup=dm.MixUp()) for rank in range(2)]
    (images, targets), (others, other_targets) = (next(iter(made)) for made in same)
    assert not torch.equal(images, others)
    assert not torch.equal(targets[:, 2], other_targets[:, 2])
    for rank, made in enumerate((one, other)):
        assert made.shard == (rank, 2)
        assert (made.state_dict()["rank"], made.state_dict()["world_size"]) == (rank, 2)


def test_set_epoch_reaches_a_sampler_inside_of_a_batch_sampler(numbered):
    inner = DistributedSampler(range(23), 2, 0)
    made = loader(numbered, batch_sampler=BatchSampler(inner, 4, drop_last=False))
    made.set_epoch(3)
    assert inner.epoch == 3
    made.sampler.set_epoch(4)
    assert inner.epoch == 4


def build_for_resume(numbered, kind, pipeline):
    sampler = BatchSampler(weighted(), 3, drop_last=False) if kind == "batches" else weighted(count=21)
    return loader(
        numbered, pipeline, mixup=dm.MixUp(), **{"batch_sampler" if kind == "batches" else "sampler": sampler}
    )


@pytest.mark.parametrize("kind", ["samples", "batches"])
@pytest.mark.parametrize("pipeline", [TRAIN, NOISY])
def test_any_state_goes_on_bit_for_bit_in_a_loader_with_a_fresh_sampler(numbered, kind, pipeline):
    whole = build_for_resume(numbered, kind, pipeline)
    states, batches = [whole.state_dict()], []
    for _ in range(3):
        for batch in whole:
            batches.append([tensor.clone() for tensor in batch])
            states.append(whole.state_dict())
    steps = len(batches) // 3
    for begin in (0, 1, 3, steps - 1, steps, steps + 2):
        file = io.BytesIO()
        torch.save(states[begin], file)
        resumed = build_for_resume(numbered, kind, pipeline)
        resumed.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
        found = [batch for _ in range(2) for batch in resumed]
        expected = batches[begin : (begin // steps + 2) * steps]
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert torch.equal(ours[0], theirs[0])
            assert torch.equal(ours[1], theirs[1])


def test_a_resumed_run_whose_sampler_was_told_no_epoch_isnt_told_one(numbered):
    def build():
        return loader(numbered, sampler=DistributedSampler(range(23), 2, 1))

    whole = build()
    expected = [labels(whole) for _ in range(3)]
    assert expected[0] == expected[1] == expected[2]
    resumed = build()
    next(epoch := iter(whole))
    resumed.load_state_dict(whole.state_dict())
    epoch.close()
    assert [labels(resumed) for _ in range(2)] == [expected[0][1:], expected[0]]


def test_a_rest_may_be_cut_into_other_batches(numbered):
    order = list(weighted())
    made = loader(numbered, sampler=order, batch_size=4)
    batches = iter(made)
    next(batches)
    smaller = loader(numbered, sampler=[0], batch_size=3)
    smaller.load_state_dict(made.state_dict())
    assert flat(smaller) == order[4:]


def test_bad_files_are_replaced_also_where_they_come_twice(damaged_file_list):
    numbers, bad = damaged_file_list
    made = loader(numbers, sampler=[0, bad, 1, bad, 2, 3], on_bad_sample="replace", max_bad_fraction=0.5)
    with pytest.warns(dm.BadFileWarning):
        found = flat(made)
    assert [found[i] for i in (0, 2, 4, 5)] == [0, 1, 2, 3]
    assert bad not in found
    assert [sample.number for sample in made.bad_samples] == [bad]


@pytest.fixture
def damaged_file_list(numbered, tmp_path):
    whole = Path(numbered.paths[5]).read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 3])
    paths = [*list(numbered.paths)[:5], tmp_path / "half.jpg", *list(numbered.paths)[6:]]
    return dm.FileList(paths, list(range(23))), 5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"batch_size": None},
            TypeError,
            "batch_size must be an int of at least 1, got None; only a batch_sampler makes it superfluous",
        ),
        ({"sampler": [1], "shuffle": True}, ValueError, "sampler excludes shuffle"),
        (
            {"batch_sampler": [[1]], "batch_size": 4},
            ValueError,
            "batch_sampler excludes batch_size, shuffle, sampler and drop_last",
        ),
        ({"batch_sampler": [[1]], "drop_last": True}, ValueError, "batch_sampler excludes"),
        ({"batch_sampler": [[1]], "sampler": [1]}, ValueError, "batch_sampler excludes"),
        ({"sampler": (i for i in range(3))}, TypeError, "sampler must be an iterable of indices with a length"),
        ({"sampler": 3}, TypeError, "sampler must be an iterable of indices with a length.*got 3"),
        (
            {"sampler": [1, 2], "drop_last": True},
            ValueError,
            r"batch_size must be at most 2 with drop_last \(2 samples, 1 ranks\), got 4",
        ),
    ],
)
def test_orders_that_cant_be_are_named(numbered, options, error, message):
    with pytest.raises(error, match=message):
        loader(numbered, **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sampler": [1, 23]}, ValueError, "sampler must be indices from 0 to 22, got 23"),
        ({"sampler": [-1]}, ValueError, "sampler must be indices from 0 to 22, got -1"),
        ({"sampler": [1.5]}, TypeError, "sampler must give integers, the numbers of samples; 'float'"),
        ({"batch_sampler": [[1], []]}, ValueError, "batch_sampler must be lists of at least one index"),
        ({"batch_sampler": [1, 2]}, TypeError, "batch_sampler must give lists of integers"),
        ({"batch_sampler": [["a"]]}, TypeError, "batch_sampler must give lists of integers"),
    ],
)
def test_what_a_sampler_may_not_give_is_named_and_the_loader_stays_usable(numbered, options, error, message):
    made = loader(numbered, **options)
    with pytest.raises(error, match=message):
        next(iter(made))
    source = next(iter(options.values()))
    source[:] = [[2]] if "batch_sampler" in options else [2]
    assert labels(made) == [[2]]


def test_indices_may_be_tensors_and_numpy_integers(numbered):
    assert labels(loader(numbered, sampler=torch.tensor([3, 1]))) == [[3, 1]]
    assert labels(loader(numbered, sampler=np.array([3, 1], np.int16))) == [[3, 1]]
    assert labels(loader(numbered, batch_sampler=[torch.tensor([3]), (1, 2)])) == [[3], [1, 2]]


def test_a_sequential_sampler_equals_no_sampler(numbered):
    plain, sampled = loader(numbered), loader(numbered, sampler=SequentialSampler(range(23)))
    for _ in range(2):
        for (images, targets), (others, other_targets) in zip(plain, sampled, strict=True):
            assert torch.equal(images, others)
            assert torch.equal(targets, other_targets)


def test_a_break_starts_a_new_order(numbered):
    made = loader(numbered, sampler=weighted())
    peer = weighted()
    first = list(peer)
    for _, targets in made:
        assert targets.tolist() == first[:4]
        break
    assert flat(made) == list(peer)
