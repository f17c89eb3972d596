"""A state fits the Loader that it is given to, or what differs is named."""

import io
import shutil

import pytest
import torch
from torch.utils.data import WeightedRandomSampler

import dali_mixup as dm
from tests.conftest import noise

TRAIN = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), flip=0.5)


NOISY = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), augment=noise)


def loader(dataset, pipeline=TRAIN, **options):
    return dm.Loader(
        dataset, pipeline, **{"batch_size": 4, "shuffle": True, "device": "cpu", "num_threads": 1, **options}
    )


@pytest.mark.parametrize("pipeline", [TRAIN, NOISY], ids=["plain", "augment"])
@pytest.mark.parametrize("sampled", [False, True], ids=["shuffle", "sampler"])
def test_a_state_survives_torchs_safe_loading_and_comes_back_as_it_was(dataset, pipeline, sampled):
    order = {"shuffle": False, "sampler": list(range(9))} if sampled else {}
    made = loader(dataset, pipeline, **order)
    batches = iter(made)
    next(batches)
    state = made.state_dict()
    assert (state["epoch"], state["position"]) == (0, 4)
    file = io.BytesIO()
    torch.save(state, file)
    read = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    fresh = loader(dataset, pipeline, **order)
    fresh.load_state_dict(read)
    again = fresh.state_dict()
    assert again.keys() == state.keys()
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(again[name], value)
        else:
            assert again[name] == value
    assert isinstance(state["augment"], torch.Tensor) == (pipeline is NOISY)
    assert isinstance(state["order"], torch.Tensor) == sampled


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 3}, r"state\['seed'\] must be that of this Loader \(0\), got 3"),
        ({"version": 2}, r"state\['version'\] must be that of this Loader \(3\), got 2"),
        ({"shuffle": False}, r"state\['shuffle'\] must be that of this Loader \(True\), got False"),
        ({"dataset": "0" * 32}, r"state\['dataset'\] must be that of this Loader \([0-9a-f]{32}\), got '0{32}'"),
        ({"samples": 5, "seed": 1}, r"state\['samples'\] must be .*23.*, got 5; state\['seed'\] must be .*0.*, got 1"),
        ({"position": 23}, r"state\['position'\] must be below the number of samples \(23\), got 23"),
        ({"position": -1}, r"state\['position'\] must be an int of at least 0, got -1"),
        ({"epoch": -1}, r"state\['epoch'\] must be an int of at least 0, got -1"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_with_what_differs(dataset, change, message):
    made = loader(dataset)
    state = {**made.state_dict(), "position": 8}
    with pytest.raises(ValueError, match=message):
        made.load_state_dict({**state, **change})
    assert made.state_dict()["position"] == 0  # nothing was taken over
    made.load_state_dict(state)


@pytest.mark.parametrize("change", [{"augment": b"bytes"}, {"augment": [1]}, {"epoch": 1.5}, {"position": None}])
def test_a_state_of_other_types_is_a_type_error(dataset, change):
    made = loader(dataset)
    with pytest.raises(TypeError, match=f"state.'{next(iter(change))}'. must be"):
        made.load_state_dict({**made.state_dict(), **change})
    with pytest.raises(TypeError, match=r"state must be a dict that state_dict\(\) returned, got None"):
        made.load_state_dict(None)


def test_the_data_set_may_move_and_may_not_be_another(folder, tmp_path):
    state = loader(dm.ImageFolder(folder)).state_dict()
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    loader(dm.ImageFolder(moved)).load_state_dict(state)
    (moved / "a" / "00.jpg").rename(moved / "a" / "other.jpg")
    with pytest.raises(ValueError, match=r"state\['dataset'\] must be that of this Loader"):
        loader(dm.ImageFolder(moved)).load_state_dict(state)


def test_a_state_of_another_sampler_or_rank_is_refused(dataset):
    weighted = WeightedRandomSampler(torch.arange(1.0, 24.0), 30)
    state = loader(dataset, shuffle=False, sampler=weighted, shard=(0, 2)).state_dict()
    with pytest.raises(
        ValueError, match=r"state\['sampler'\] must be that of this Loader \(None\), got 'WeightedRandomSampler'"
    ):
        loader(dataset).load_state_dict(state)
    with pytest.raises(ValueError, match=r"state\['rank'\] must be that of this Loader \(1\), got 0"):
        loader(dataset, shuffle=False, sampler=weighted, shard=(1, 2)).load_state_dict(state)
    for order, message in (([23], "indices from 0 to 22"), ([-1], "indices from 0 to 22")):
        with pytest.raises(ValueError, match=message):
            loader(dataset, shuffle=False, sampler=weighted, shard=(0, 2)).load_state_dict(
                {**state, "order": torch.tensor(order)}
            )
    for order in ([1, 2], torch.tensor([1, 2], dtype=torch.int32), torch.tensor([[1, 2]])):
        with pytest.raises(TypeError, match=r"state\['order'\] must be None or a int64 tensor \(N,\)"):
            loader(dataset, shuffle=False, sampler=weighted, shard=(0, 2)).load_state_dict({**state, "order": order})
