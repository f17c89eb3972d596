"""Pipelines and mixers by epoch: each epoch is that of a Loader which never had another."""

import gc
import os
import resource
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler

import dali_mixup as dm
from bench.torchvision_fix import import_torchvision
from dali_mixup.plan.schedule import at_epoch, map_schedule, phase_at
from tests.conftest import noise
from tests.decode.own_process import run

SMALL = dm.ImagePipeline(geometry=dm.RandomResizedCrop(24), flip=0.5)
LARGE = dm.ImagePipeline(geometry=dm.RandomResizedCrop(32), flip=0.5, transforms=(dm.ColorJitter(0.4, 0.4),))
CENTRE = dm.ImagePipeline(geometry=dm.CenterCrop(32))
PIPELINES = {0: SMALL, 2: LARGE, 3: CENTRE}
MIXERS = {0: dm.MixUp(0.4), 1: None, 3: dm.CutMix()}


def build(dataset, pipeline=SMALL, **options):
    given = {"batch_size": 5, "shuffle": True, "seed": 3, "device": "cpu"}
    return dm.Loader(dataset, pipeline, **{**given, **options})


def epoch(loader):
    return [tuple(part.clone() for part in batch) for batch in loader]


def assert_equal(found, expected):
    assert len(found) == len(expected) > 0
    for ours, theirs in zip(found, expected, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.fixture(params=["files", "arrays", "small arrays", "augment"])
def images(request, dataset):
    """A data set of each way to its images, and pipelines that it takes."""
    if request.param == "files":
        return dataset, PIPELINES
    if request.param == "augment":
        return dataset, {0: SMALL, 2: dm.ImagePipeline(geometry=dm.RandomResizedCrop(32), augment=noise), 3: SMALL}
    rng = np.random.default_rng(0)
    levels, labels = rng.integers(0, 256, (23, 40, 40, 3), np.uint8), rng.integers(0, 3, 23)
    crops = {0: dm.RandomCrop(24), 2: dm.RandomCrop(40, 4), 3: dm.CenterCrop(32)}
    small = {first: dm.ImagePipeline(geometry=crop, flip=0.5) for first, crop in crops.items()}
    return dm.ArrayDataset(levels, labels), PIPELINES if request.param == "arrays" else small


def test_each_epoch_is_that_of_a_loader_without_a_schedule(images):
    dataset, pipelines = images
    scheduled = build(dataset, pipelines, mixup=MIXERS)
    for number in range(5):
        plain = build(dataset, at_epoch(pipelines, number), mixup=at_epoch(MIXERS, number))
        plain.set_epoch(number)
        assert_equal(epoch(scheduled), epoch(plain))


@pytest.mark.parametrize("stop", [(0, 4), (1, 2), (1, 5), (2, 1), (3, 3)])
def test_a_resumed_run_does_what_a_fresh_one_does(images, stop):
    dataset, pipelines = images
    whole = build(dataset, pipelines, mixup=MIXERS)
    expected = [epoch(whole) for _ in range(5)]
    first = build(dataset, pipelines, mixup=MIXERS)
    for _ in range(stop[0]):
        epoch(first)
    for count, _ in enumerate(first, 1):
        if count == stop[1]:
            break
    state = first.state_dict()
    resumed = build(dataset, pipelines, mixup=MIXERS)
    resumed.load_state_dict(state)
    rest = [epoch(resumed) for _ in range(5 - resumed.next_epoch)]
    remaining = expected[stop[0]][stop[1] :]
    assert_equal(rest[0], remaining or expected[stop[0] + 1])
    assert_equal(rest[-1], expected[-1])


def test_epochs_may_be_run_in_any_order(dataset):
    scheduled = build(dataset, PIPELINES, mixup=MIXERS)
    expected = [epoch(scheduled) for _ in range(4)]
    for number in (3, 0, 2, 1, 1, 3):
        scheduled.set_epoch(number)
        assert_equal(epoch(scheduled), expected[number])


def test_labels_are_plain_where_mixup_is_off_and_the_loss_takes_both(dataset):
    criterion = dm.MixUpLoss(torch.nn.CrossEntropyLoss())
    loader = build(dataset, mixup={0: dm.MixUp(), 1: None})
    for shape in ((5, 3), (5,)):
        _, targets = next(iter(loader))
        assert targets.shape == shape
        assert criterion(torch.zeros(5, 3), targets).item() == pytest.approx(np.log(3))


def test_a_loader_says_what_it_was_built_with(dataset):
    loader = build(dataset, PIPELINES, mixup=MIXERS)
    assert loader.pipeline == PIPELINES
    assert loader.mixup == MIXERS
    assert "290: None" in repr(build(dataset, mixup={0: dm.MixUp(), 290: None}))


def test_what_is_known_of_bad_files_is_kept(folder, tmp_path):
    paths = sorted(folder.rglob("*.jpg"))[:12]
    copies = [tmp_path / path.name for path in paths]
    for path, copy in zip(paths, copies, strict=True):
        copy.write_bytes(path.read_bytes())
    dataset = dm.FileList(copies, list(range(12)), cache=False, progress=False)
    copies[4].write_bytes(b"no image at all")
    options = {"on_bad_sample": "replace", "max_bad_fraction": 0.5}
    loader = build(dataset, {0: SMALL, 1: LARGE}, **options)
    with pytest.warns(dm.BadFileWarning):
        epoch(loader)
    epoch(loader)  # a warning would be an error
    assert [sample.number for sample in loader.bad_samples] == [4]


def test_what_is_over_takes_no_memory_and_no_threads(dataset):
    loader = build(dataset, {first: SMALL if first % 2 else LARGE for first in range(7)}, mixup=dm.MixUp())
    epoch(loader)
    stages, threads = [weakref.ref(loader._engine._stage)], threading.active_count()
    for _ in range(5):
        epoch(loader)
        stages.append(weakref.ref(loader._engine._stage))
    gc.collect()
    assert [stage() is not None for stage in stages] == [False] * 5 + [True]
    end = time.monotonic() + 10
    while threading.active_count() > threads and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= threads
    assert loader.stats().batches == 30


def count_threads():
    """DALI's and the stage's among them, which Python doesn't count."""
    return len(os.listdir("/proc/self/task"))


@pytest.mark.parametrize("way", ["files", "augment"])
def test_graphs_and_native_threads_of_what_is_over_are_gone(dataset, way):
    augment = noise if way == "augment" else None
    pipelines = {
        first: dm.ImagePipeline(geometry=dm.RandomResizedCrop(24 + first), augment=augment) for first in range(9)
    }
    loader = build(dataset, pipelines, mixup=dm.MixUp(), num_threads=3)
    epoch(loader), epoch(loader)
    graphs, threads = [weakref.ref(loader._engine._decoder._graph)], count_threads()
    for _ in range(6):
        epoch(loader)
        graphs.append(weakref.ref(loader._engine._decoder._graph))
    gc.collect()
    assert [graph() is not None for graph in graphs] == [False] * 6 + [True]
    end = time.monotonic() + 10
    while count_threads() > threads and time.monotonic() < end:
        time.sleep(0.01)
    assert count_threads() <= threads


def grow(folder, changes):
    """How many bytes a Loader whose pipeline changes after each epoch has grown by, after some of them."""
    pipelines = {first: dm.ImagePipeline(geometry=dm.RandomResizedCrop(64 + first % 2)) for first in range(changes)}
    loader = build(dm.ImageFolder(folder, progress=False), pipelines, mixup=dm.MixUp(), num_threads=2)
    found = []
    for _ in range(changes):
        for batch in loader:
            del batch
        gc.collect()
        found.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize())
    return found[-1] - found[changes // 3]


def test_memory_stays_where_it_is_over_many_changes(folder):
    """24 that were kept would take 27 MB; in a process of its own, since others' garbage would count, too."""
    assert run(grow, folder, 36) < 10 * (1 << 20)


def test_many_ranks_share_each_phase(dataset):
    ranks = [build(dataset, PIPELINES, mixup=MIXERS, shard=(rank, 2), indices=True) for rank in (0, 1)]
    for _ in range(4):
        numbers = torch.cat([batch[2] for rank in ranks for batch in epoch(rank)])
        assert sorted(numbers.tolist()) == list(range(23))


def test_from_dataloader_takes_a_schedule_of_mixers(folder):
    torchvision, v2 = (import_torchvision(f"torchvision.{name}") for name in ("datasets", "transforms.v2"))
    transform = v2.Compose([v2.RandomResizedCrop(16), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    theirs = DataLoader(torchvision.ImageFolder(folder, transform), batch_size=4, shuffle=True)
    ours = dm.from_dataloader(theirs, mixup={0: dm.MixUp(), 1: None}, targets="dense", indices=True)
    for shape in ((4, 3), (4,)):
        images, targets, indices = next(iter(ours))
        assert (images.shape, targets.shape, indices.shape) == ((4, 3, 16, 16), shape, (4,))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"mixup": {}},
            ValueError,
            r"mixup must be a dict from the first epoch .* epoch 0 on and rising, got \[\]",
        ),
        ({"mixup": {1: None}}, ValueError, r"mixup must be .* from epoch 0 on and rising, got \[1\]"),
        ({"mixup": {0: None, 5: dm.MixUp(), 3: None}}, ValueError, r"rising, got \[0, 5, 3\]"),
        ({"mixup": {0: None, "5": dm.MixUp()}}, TypeError, r"mixup must be .* an int, got \[0, '5'\]"),
        ({"mixup": {0: None, True: dm.MixUp()}}, TypeError, r"an int, got \[0, True\]"),
        ({"mixup": {0: None, 5: 0.4}}, TypeError, r"mixup\[5\] must be dali_mixup's MixUp, .* got 0.4"),
        ({"pipeline": {0: SMALL, 5: 160}}, TypeError, r"pipeline\[5\] must be an ImagePipeline, .* got 160"),
        ({"pipeline": {0: SMALL, 5: dm.ImagePipeline(geometry=dm.RandomCrop(500))}}, ValueError, "too few pixels for"),
        ({"indices": 1}, TypeError, "indices must be True or False, got 1"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(dataset, options, error, message):
    with pytest.raises(error, match=message):
        build(dataset, **options)


def test_labels_are_checked_for_each_mixer(folder):
    dataset = dm.ImageFolder(folder)
    with pytest.raises(ValueError, match="num_classes"):
        build(dataset, mixup={0: None, 5: dm.MixUp(targets="dense", num_classes=2)})


def test_phases_end_where_a_part_changes():
    phases = [phase_at(PIPELINES, MIXERS, number) for number in range(5)]
    assert [(phase.first, phase.end) for phase in phases] == [(0, 1), (1, 2), (2, 3), (3, None), (3, None)]
    assert map_schedule({0: 1, 4: 2}, str) == {0: "1", 4: "2"}
    assert map_schedule(3, str) == "3"


@pytest.mark.parametrize("way", ["files", "arrays"])
def test_indices_are_those_of_the_delivered_samples(dataset, way):
    if way == "arrays":
        dataset = dm.ArrayDataset([dataset.pixels(number) for number in range(len(dataset))], range(len(dataset)))
    labels = torch.from_numpy(dataset.targets)
    for images, targets, indices in build(dataset, indices=True, mixup=dm.MixUp()):
        assert indices.dtype == torch.int64
        assert len(indices) == len(images)
        assert torch.equal(labels[indices], targets[:, 0].long())
    sampler = RandomSampler(range(23), generator=torch.Generator().manual_seed(1))
    order = list(RandomSampler(range(23), generator=torch.Generator().manual_seed(1)))
    loader = build(dataset, indices=True, sampler=sampler, shuffle=False)
    assert torch.cat([indices for *_, indices in loader]).tolist() == order


def test_an_index_is_that_of_the_sample_that_took_a_bad_ones_place(dataset):
    largest = int(np.argmax(dataset.heights.astype(int) * dataset.widths))
    limit = int(np.sort(dataset.heights.astype(int) * dataset.widths)[-2])
    loader = build(dataset, indices=True, on_bad_sample="replace", max_pixels=limit, max_bad_fraction=0.5)
    with pytest.warns(dm.BadFileWarning):
        seen = torch.cat([indices for *_, indices in loader])
    plain = torch.cat([indices for *_, indices in build(dataset, indices=True)])
    assert largest in plain
    assert largest not in seen
    assert (seen != plain).sum() == 1
    place = int((seen != plain).nonzero())
    assert dataset.targets[seen[place]] == dataset.targets[largest]
