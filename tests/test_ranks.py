"""torchrun starts one to four processes once each; what the ranks saw is compared here."""

import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
import torch

import dali_mixup as dm
from dali_mixup.placement import pick_device
from tests.conftest import jpeg_bytes
from tests.scripts.rank_worker import COUNTS, EPOCHS, GLOBAL_BATCH, build, numbered, rows

SCRIPTS = Path(__file__).parent / "scripts"
WORLDS = (1, 2, 3, 4)
FULL_STEPS = 4
MANY = max(COUNTS)
BY_RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of 107 JPEGs of many sizes."""
    root = tmp_path_factory.mktemp("images")
    for i in range(MANY):
        (root / f"{i:03}.jpg").write_bytes(jpeg_bytes(30 + i % 17, 50 - i % 13, seed=i))
    return root


def launch(world, images, out, script=SCRIPTS / "rank_worker.py"):
    """Run torchrun to its end."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={world}"]
    return run([*launcher, script, images, out], out)


def run(command, out):
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1]), "DALI_MIXUP_CACHE": str(out / "cache")}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        env={name: value for name, value in os.environ.items() if name not in BY_RANKS} | own,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.fixture(scope="module")
def ranks(images, tmp_path_factory):
    """What each rank of a world size saw.

    It is launched when the first test asks for it, and only once, also if that fails.
    """
    launched, seen = {}, {}

    def of(world):
        if world not in launched:
            out = tmp_path_factory.mktemp(f"world{world}")
            launched[world] = launch(world, images, out)
            seen[world] = [torch.load(path, weights_only=True) for path in sorted(out.glob("*.pt"))]
        assert launched[world].returncode == 0, launched[world].stderr
        return seen[world]

    return of


def columns(batch, *names):
    """Some columns of a batch's rows, as a list of tuples."""
    at = [("number", "digest", "partner", "lam").index(name) for name in names]
    return [tuple(row[i] for i in at) for row in batch]


def global_steps(seen, epoch):
    """For each step of an epoch the batches of the ranks that have one."""
    epochs = [rank["epochs"][epoch] for rank in seen]
    return [[batches[step] for batches in epochs if step < len(batches)] for step in range(max(map(len, epochs)))]


def in_order(batches):
    return [row for batch in batches for row in batch]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("name", "count"), [("plain", 107), ("mixed", 107), ("plain, one left over", 97)])
def test_shards_are_disjoint_and_hold_every_sample_together(ranks, world, name, count):
    for epoch in range(EPOCHS):
        numbers = [row[0] for rank in ranks(world) for row in in_order(rank[name]["epochs"][epoch])]
        assert sorted(numbers) == list(range(count))


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", ["plain", "mixed", "plain, one left over", "mixed, drop_last"])
def test_no_rank_gets_an_empty_batch_and_len_is_the_number_of_steps(ranks, world, name):
    for rank in ranks(world):
        for batches in rank[name]["epochs"]:
            assert len(batches) == rank[name]["steps"]
            assert all(batches)


@pytest.mark.parametrize("world", WORLDS)
def test_a_last_sample_alone_goes_to_rank_0_and_a_shared_rest_to_all(ranks, world):
    lone = [[len(batch) for batch in rank["plain, one left over"]["epochs"][0]][FULL_STEPS:] for rank in ranks(world)]
    assert lone == [[1]] + [[]] * (world - 1)
    shared = [len(rank["plain"]["epochs"][0][FULL_STEPS]) for rank in ranks(world)]
    assert sum(shared) == MANY % GLOBAL_BATCH
    assert max(shared) - min(shared) <= 1


@pytest.mark.parametrize("world", WORLDS)
def test_drop_last_gives_all_ranks_the_same_number_of_full_batches(ranks, world):
    for rank in ranks(world):
        for batches in rank["mixed, drop_last"]["epochs"]:
            assert [len(batch) for batch in batches] == [GLOBAL_BATCH // world] * FULL_STEPS
    for epoch in range(EPOCHS):
        numbers = [row[0] for rank in ranks(world) for row in in_order(rank["mixed, drop_last"]["epochs"][epoch])]
        assert len(set(numbers)) == len(numbers) == FULL_STEPS * GLOBAL_BATCH


@pytest.mark.parametrize("world", WORLDS[1:])
@pytest.mark.parametrize("name", ["plain", "plain, one left over"])
def test_a_global_batch_holds_the_same_augmented_samples_for_any_number_of_ranks(ranks, world, name):
    alone = [rank[name] for rank in ranks(1)]
    seen = [rank[name] for rank in ranks(world)]
    for epoch in range(EPOCHS):
        assert [in_order(batches) for batches in global_steps(seen, epoch)] == [
            in_order(batches) for batches in global_steps(alone, epoch)
        ]


@pytest.mark.parametrize("world", WORLDS[1:])
def test_a_sample_has_the_same_lam_for_any_number_of_ranks_and_its_partner_on_its_rank(ranks, world):
    for name in ("mixed", "mixed, drop_last"):
        seen, alone = ([rank[name] for rank in ranks(number)] for number in (world, 1))
        for epoch in range(EPOCHS):
            for batches, whole in zip(global_steps(seen, epoch), global_steps(alone, epoch), strict=True):
                assert columns(in_order(batches), "number", "lam") == columns(in_order(whole), "number", "lam")
                for batch in batches:
                    own, partners = ({row[i] for row in batch} for i in (0, 2))
                    assert own == partners
                    assert all(number != partner for number, partner in columns(batch, "number", "partner"))


def mixing(batch):
    """lam of each sample, and the row of its partner."""
    row_of = {number: row for row, (number,) in enumerate(columns(batch, "number"))}
    return [lam for (lam,) in columns(batch, "lam")], [row_of[partner] for (partner,) in columns(batch, "partner")]


@pytest.mark.parametrize("world", WORLDS[1:])
def test_ranks_differ_in_lam_and_in_partners(ranks, world):
    seen = [rank["mixed"] for rank in ranks(world)]
    for epoch in range(EPOCHS):
        full = [[mixing(batch) for batch in rank["epochs"][epoch][:FULL_STEPS]] for rank in seen]
        for one, other in combinations(full, 2):
            for (lam, partner), (other_lam, other_partner) in zip(one, other, strict=True):
                assert not set(lam) & set(other_lam)
                assert partner != other_partner


@pytest.mark.parametrize("world", WORLDS)
def test_epochs_differ_on_every_rank(ranks, world):
    for rank in ranks(world):
        first, second = (in_order(batches) for batches in rank["mixed"]["epochs"])
        for name in ("number", "digest", "partner", "lam"):
            assert columns(first, name) != columns(second, name)


@pytest.mark.parametrize("world", WORLDS)
def test_the_shard_of_the_environment_of_torch_distributed_and_of_the_argument_is_one(ranks, world):
    for rank, mirror in zip(ranks(world), reversed(ranks(world)), strict=True):
        assert (
            rank["by environment"]["epochs"]
            == rank["by distributed"]["epochs"]
            == rank["built before"]["epochs"]
            == mirror["by argument, mirrored"]["epochs"]
        )
    assert len({state["rank"] for rank in ranks(world) for state in rank["by distributed"]["states"]}) == world


TRAINERS = {
    "Lightning's ddp": ("lightning_ranks.py", "ddp"),
    "Lightning's ddp_spawn": ("lightning_ranks.py", "ddp_spawn"),
    "Accelerate": ("accelerate_ranks.py", None),
}


@pytest.fixture(scope="module", params=TRAINERS)
def of_trainer(request, folder, tmp_path_factory):
    """What each of two ranks saw in a trainer's hands: of each loader the epochs of batches of labels."""
    pytest.importorskip(request.param.partition("'")[0].lower())
    script, strategy = TRAINERS[request.param]
    out = tmp_path_factory.mktemp("trainer")
    if strategy is None:
        done = launch(2, folder, out, SCRIPTS / script)
    else:
        done = run([SCRIPTS / script, folder, out, strategy], out)
    assert done.returncode == 0, done.stderr
    return [torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_trainers_share_out_loaders_that_were_built_before_their_ranks(of_trainer):
    first, second = (rank["seen"] for rank in of_trainer)
    shared = first.keys() - {"unshuffled"}
    assert {"Loader", "from_dataloader"} <= shared
    for name in shared:
        for ours, others in zip(first[name], second[name], strict=True):
            assert sorted(label for batch in (*ours, *others) for label in batch) == list(range(23)), name
            assert len(ours) == len(others) == 6
        assert first[name][0] != first[name][1]


def test_an_unshuffled_dataloader_gives_every_rank_all_samples(of_trainer):
    for rank in of_trainer:
        for epoch in rank["seen"]["unshuffled"]:
            assert [label for batch in epoch for label in batch] == list(range(23))


def test_one_warning_for_each_swapped_loader_says_what_its_ranks_do(of_trainer):
    said = sorted(of_trainer[0]["said"])
    swapped = [name for name in of_trainer[0]["seen"] if "from_dataloader" in name]
    assert len(said) == len(swapped) + 1
    assert said[0].startswith("from_dataloader: there are 2 ranks. Each gets all samples, since the DataLoader isn't")
    assert all("They share out the samples of the shuffled DataLoader" in each for each in said[1:])
    assert of_trainer[1]["said"] == []


@pytest.mark.parametrize("world", WORLDS[1:])
def test_gradients_averaged_over_ranks_are_those_of_one_process_on_the_global_batch(ranks, world):
    (alone,) = (rank["gradients"] for rank in ranks(1))
    assert len(alone) == EPOCHS * FULL_STEPS
    assert alone.abs().amax(dim=(1, 2)).min() > 1e-3
    for rank in ranks(world):
        torch.testing.assert_close(rank["gradients"], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("world", WORLDS)
def test_a_rank_takes_the_gpu_of_its_local_rank(ranks, world):
    assert [rank["device"] for rank in ranks(world)] == [f"cuda:{local_rank}" for local_rank in range(world)]


@pytest.mark.parametrize("world", WORLDS[1:])
def test_ranks_save_the_same_state_until_they_run_out_of_batches(ranks, world):
    first, *others = (rank["plain, one left over"]["states"] for rank in ranks(world))
    whole = [(epoch, step * GLOBAL_BATCH) for epoch in range(EPOCHS) for step in range(1, FULL_STEPS + 1)]
    assert [(state["epoch"], state["position"]) for state in first] == [*whole[:4], (1, 0), *whole[4:], (2, 0)]
    for rank, states in enumerate(others, start=1):
        for state, of_rank_0 in zip(states[: FULL_STEPS - 1], first, strict=False):
            assert state == {**of_rank_0, "rank": rank}


@pytest.mark.parametrize("steps", [1, 3, 4])
@pytest.mark.parametrize(("world", "batch_size"), [(1, 5), (1, 100), (3, 7), (4, 1)])
def test_rank_0s_state_of_two_ranks_resumes_other_ranks_and_batch_sizes(ranks, images, steps, world, batch_size):
    """The second epoch goes on after some of the two ranks' steps.

    Nothing comes twice, nothing is left out, no pixel differs.
    """
    state = ranks(2)[0]["plain"]["states"][FULL_STEPS + steps]
    assert (state["epoch"], state["position"], state["world_size"]) == (1, steps * GLOBAL_BATCH, 2)
    expected = in_order(ranks(1)[0]["plain"]["epochs"][1])[state["position"] :]
    dataset = numbered(images, MANY)
    resumed = [build(dataset, world=1, batch_size=batch_size, shard=(rank, world)) for rank in range(world)]
    for loader in resumed:
        loader.load_state_dict(state)
    batches = [[rows(*batch) for batch in loader] for loader in resumed]
    assert all(all(of_rank) for of_rank in batches)
    assert sorted(row for of_rank in batches for row in in_order(of_rank)) == sorted(expected)
    assert {(loader.state_dict()["epoch"], loader.state_dict()["position"]) for loader in resumed} == {(2, 0)}


def test_resumed_ranks_keep_each_samples_lam_and_take_as_many_steps_with_drop_last(ranks, images):
    state = ranks(2)[0]["mixed"]["states"][FULL_STEPS + 2]
    expected = in_order(ranks(1)[0]["mixed"]["epochs"][1])[state["position"] :]
    options = {"world": 1, "batch_size": 6, "mixup": dm.MixUp(alpha=1.0), "drop_last": True}
    resumed = [build(numbered(images, MANY), **options, shard=(rank, 3)) for rank in range(3)]
    for loader in resumed:
        loader.load_state_dict(state)
    batches = [[rows(*batch) for batch in loader] for loader in resumed]
    assert [list(map(len, of_rank)) for of_rank in batches] == [
        [6] * 3
    ] * 3  # 59 samples are left, and 54 fill whole steps
    lams = columns([row for of_rank in batches for row in in_order(of_rank)], "number", "lam")
    assert sorted(lams) == sorted(columns(expected[:54], "number", "lam"))


def pretend_gpus(monkeypatch, count):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)


def test_the_gpu_is_that_of_the_local_rank_also_on_the_second_machine(monkeypatch):
    pretend_gpus(monkeypatch, 4)
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert pick_device(None) == pick_device("cuda") == pick_device(torch.device("cuda")) == torch.device("cuda", 1)


def test_a_local_rank_changes_nothing_without_a_gpu(monkeypatch):
    pretend_gpus(monkeypatch, 0)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert pick_device(None) == torch.device("cpu")


@pytest.mark.parametrize("local_rank", ["2", "-1", "second"])
def test_a_local_rank_without_a_gpu_of_its_own_is_named(monkeypatch, local_rank):
    pretend_gpus(monkeypatch, 2)
    monkeypatch.setenv("LOCAL_RANK", local_rank)
    with pytest.raises(ValueError, match=rf"LOCAL_RANK.*{local_rank}"):
        pick_device(None)


def test_where_each_process_sees_one_gpu_its_local_rank_does_not_matter(monkeypatch):
    """Slurm's --gpus-per-task=1 hides the others: the only one is number 0 in every process."""
    pretend_gpus(monkeypatch, 1)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert pick_device(None) == torch.device("cuda", 0)


@pytest.mark.gpu
def test_a_rank_delivers_on_its_gpu_while_torchs_current_one_is_another(images, monkeypatch):
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU")
    monkeypatch.setenv("LOCAL_RANK", "1")
    dataset = numbered(images, MANY)
    for ours, expected in zip(build(dataset, world=1, device=None), build(dataset, world=1), strict=True):
        assert ours[0].device == torch.device("cuda", 1)
        assert torch.equal(ours[1].cpu(), expected[1])
        assert (ours[0].cpu() - expected[0]).abs().mean() < 0.02
    assert torch.cuda.current_device() == 0
