"""The engine carries out a plan's batches."""

from pathlib import Path

import pytest
import torch

import dali_mixup as dm
from dali_mixup.engine import Engine
from dali_mixup.options import LoaderOptions
from dali_mixup.plan.state import Cursor

PIPELINE = dm.ImagePipeline(geometry=dm.RandomResizedCrop(24))
OPTIONS = {"batch_size": 4, "shuffle": True, "mixup": dm.MixUp(0.4), "indices": True, "device": "cpu", "num_threads": 2}
CPU = torch.device("cpu")


def started(dataset):
    plan = dm.Loader(dataset, PIPELINE, **OPTIONS).plan
    return Engine(plan, LoaderOptions(**OPTIONS), device=CPU, views=None, before=None)


@pytest.mark.parametrize("skipped", [0, 1, 2])
def test_batches_are_those_of_the_loader_from_any_place(dataset, skipped):
    expected = list(dm.Loader(dataset, PIPELINE, **OPTIONS))[skipped:]
    engine = started(dataset)
    found = list(engine.batches(Cursor(0, 4 * skipped), len(expected)))
    engine.close()
    assert expected
    for ours, theirs in zip(found, expected, strict=True):
        assert all(map(torch.equal, ours.batch, theirs))
    assert [each.end for each in found] == [min(4 * (skipped + k + 1), len(dataset)) for k in range(len(found))]


def test_no_batch_is_no_work(dataset):
    engine = started(dataset)
    assert list(engine.batches(Cursor(0, 0), 0)) == []
    assert engine.decoding == engine.staging == engine.resizing == 0
    engine.close()


def test_seconds_add_up(dataset):
    engine = started(dataset)
    batches = engine.batches(Cursor(0, 0), 2)
    next(batches)
    first = engine.decoding, engine.staging
    next(batches)
    next(batches, None)
    assert engine.decoding > first[0] > 0
    assert engine.staging > first[1] > 0
    engine.close()


def test_bad_files_that_an_earlier_phase_met_are_known(tmp_path, dataset):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(Path(dataset.paths[7]).read_bytes()[:-400])
    files = dm.FileList([*dataset.paths[:7], str(broken)], [0] * 8)
    options = {**OPTIONS, "on_bad_sample": "replace", "max_bad_fraction": 0.5}
    plan = dm.Loader(files, PIPELINE, **options).plan
    engine = Engine(plan, LoaderOptions(**options), device=CPU, views=None, before=None)
    with pytest.warns(UserWarning, match=r"broken\.jpg"):
        list(engine.batches(Cursor(0, 0), 2))
    engine.close()
    later = Engine(plan, LoaderOptions(**options), device=CPU, views=None, before=engine)
    assert list(later.faults.replaced) == [7]
    assert (later.decoding, later.staging, later.resizing) == (engine.decoding, engine.staging, engine.resizing)
    later.close()
