"""The benchmark of host time counts what a stage issues, and fails where an aim is missed."""

import json

import pytest
import torch

from bench import host
from bench.pretended_gpu import GPU, PretendedGpu


@pytest.fixture(autouse=True)
def few_batches(monkeypatch):
    monkeypatch.setattr(host, "BATCHES", 2)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def dataset(tmp_path):
    return host.write_files(tmp_path, 32)


def test_plan_and_stage_of_all_recipes_are_timed_and_counted(tmp_path, capsys):
    host.main(["--batch-size", "8", "--size", "32", "--rounds", "2", "--json", str(tmp_path / "out.json")])
    table = capsys.readouterr().out
    written = json.loads((tmp_path / "out.json").read_text())
    assert len(written["results"]) == 2 * len(host.RECIPES)
    for recipe, found in written["derived"].items():
        assert recipe in table
        assert found["plan"] > 0
        assert found["stage"] > 0
    plain, augmented = (written["derived"][recipe] for recipe in ("no transforms", "RandAugment"))
    assert augmented["operations"] > plain["operations"] > 0
    assert augmented["copies"] - plain["copies"] == 1  # all numbers of a batch in one block


@pytest.mark.parametrize(("aim", "status"), [(1e6, 0), (0.0, 1)])
def test_the_exit_status_says_whether_the_aims_were_reached(monkeypatch, capsys, aim, status):
    monkeypatch.setattr(host, "PLAN_AIMS", {"no transforms": 1e6})
    monkeypatch.setattr(host, "AIMS", {"RandAugment": aim})
    assert host.main(["--batch-size", "4", "--size", "32", "--rounds", "1"]) == status
    assert "together" in capsys.readouterr().out


@pytest.mark.parametrize("recipe", host.RECIPES)
def test_recipes_plan_whole_batches_and_the_stage_finishes_them_on_a_gpu(dataset, recipe):
    plan = host.build_plan(dataset, recipe, batch_size=8, size=32)
    batch, inputs = host.planner(plan)()
    assert len(batch.indices) == len(inputs["file"]) == 8
    assert (batch.operations is None) == (recipe == "no transforms")
    with PretendedGpu() as gpu:
        images = host.stager(plan, GPU)()
    assert (images.shape, images.device.type) == ((8, 3, host.SIDE, host.SIDE), "cpu")  # it only pretended
    assert gpu.kernels > 0
