"""State, SIGKILL, Ctrl-C, fork, threads: nothing is lost, and nothing is left behind."""

import gc
import os
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections import Counter
from pathlib import Path

import pytest
import torch

import dali_mixup as dm
from bench.interrupt import PHASES, interrupt
from dali_mixup.dataset.cache import load_cache
from tests.conftest import jpeg_bytes, noise
from tests.scripts.train_until_killed import STEPS

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "tests" / "scripts"


WINDOWS = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), flip=0.5)
RANDOM = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), flip=0.5, augment=noise)
CASES = {
    "plain": (WINDOWS, None),
    "mixup": (WINDOWS, dm.MixUp()),
    "augment": (RANDOM, None),
    "augment and mixup": (RANDOM, dm.MixUp()),
}


def build(folder, case="mixup", **options):
    pipeline, mixup = CASES[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dm.BadFileWarning)
        dataset = dm.ImageFolder(folder, cache=False)
    options = {"batch_size": 4, "shuffle": True, "mixup": mixup, "device": "cpu", "num_threads": 1, **options}
    return dm.Loader(dataset, pipeline, **{"on_bad_sample": "replace", "max_bad_fraction": 0.5, **options})


def rest_and_next(loader):
    """What is left of the epoch, and the next one: images and targets."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dm.BadFileWarning)
        return [(images.clone(), targets.clone()) for _ in range(2) for images, targets in loader]


def run(script, *arguments, timeout=120):
    command = [sys.executable, SCRIPTS / script, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, env=environment)


@pytest.fixture
def damaged(tmp_path):
    """An ImageFolder of 3 classes and 23 files, 3 of which don't decode."""
    for i in range(23):
        path = tmp_path / "images" / "abc"[i % 3] / f"{i:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = jpeg_bytes(60 + i, 90 - i, seed=i)
        path.write_bytes(whole[: len(whole) * 3 // 4] if i in (3, 11, 19) else whole)
    return tmp_path / "images"


def test_any_state_goes_on_bit_for_bit_in_a_new_process(damaged, tmp_path):
    expected = {}
    for case in CASES:
        loader = build(damaged, case)
        states = [loader.state_dict()]
        expected[case] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dm.BadFileWarning)
            for _ in range(3):
                for batch in loader:
                    expected[case].append([tensor.clone() for tensor in batch])
                    states.append(loader.state_dict())
        assert [state["position"] for state in states[:7]] == [0, 4, 8, 12, 16, 20, 0]
        torch.save([states[i] for i in (0, 1, 3, 5, 6, 8)], tmp_path / f"{case}.states")
    done = run("resume.py", damaged, tmp_path)
    assert done.returncode == 0, done.stderr
    for case, batches in expected.items():
        for number, begin in enumerate((0, 1, 3, 5, 6, 8)):
            end = (begin // 6 + 2) * 6
            resumed = torch.load(tmp_path / f"{case}.{number}", weights_only=True)
            assert len(resumed) == end - begin
            for ours, theirs in zip(resumed, batches[begin:end], strict=True):
                assert torch.equal(ours[0], theirs[0])
                assert torch.equal(ours[1], theirs[1])


def test_a_training_killed_twenty_times_sees_the_stream_of_one_that_never_was(damaged, tmp_path):
    done = run("train_until_killed.py", damaged, tmp_path, 0, timeout=300)
    assert done.returncode == 0, done.stderr
    whole = dict(line.split(" ", 1) for line in (tmp_path / "whole.log").read_text().splitlines())
    assert list(whole) == [str(step) for step in range(1, STEPS + 1)]
    assert len(set(whole.values())) == STEPS
    lines = (tmp_path / "killed.log").read_text().splitlines()
    assert len(lines) > STEPS  # steps after the last checkpoint came again
    assert {line.split(" ", 1)[0] for line in lines} == set(whole)
    assert all(whole[step] == seen for step, seen in (line.split(" ", 1) for line in lines))


@pytest.mark.parametrize(("batch_size", "world"), [(3, 1), (5, 1), (2, 2), (4, 3)])
def test_with_another_cut_each_remaining_sample_comes_once_with_its_window_and_flip(damaged, batch_size, world):
    loader = build(damaged, "plain", batch_size=4)
    expected = torch.cat([images for images, _ in rest_and_next(loader)])[:23]
    loader = build(damaged, "mixup", batch_size=4)
    batches = iter(loader)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dm.BadFileWarning)
        lam = [next(batches)[1][:, 2] for _ in range(2)]
        state = loader.state_dict()
        lam = torch.cat(lam + [targets[:, 2] for _, targets in batches])
    seen, weights = [], []
    for rank in range(world):
        for case, found in (("plain", seen), ("mixup", weights)):
            fresh = build(damaged, case, batch_size=batch_size, shard=(rank, world))
            fresh.load_state_dict(state)
            steps = list(fresh.plan.steps(8))
            batches = rest_and_next(fresh)[: len(steps)]
            for (first, count, _), (images, targets) in zip(steps, batches, strict=True):
                rows = images if case == "plain" else targets[:, 2]
                if case == "plain" or count > 1:  # a batch of one isn't mixed
                    found += [(first + i, rows[i]) for i in range(count)]
    assert sorted(position for position, _ in seen) == list(range(8, 23))
    assert all(torch.equal(image, expected[position]) for position, image in seen)
    assert len(weights) >= 12
    assert all(torch.equal(weight, lam[position]) for position, weight in weights)


def test_random_operators_of_the_user_differ_between_ranks_that_load_one_state(damaged):
    for path in damaged.rglob("*.jpg"):
        path.write_bytes(jpeg_bytes(40, 40))
    loader = build(damaged, "augment", shard=(0, 2))
    next(iter(loader))
    state = loader.state_dict()
    assert state["augment"].dtype == torch.uint8
    other = build(damaged, "augment", shard=(1, 2))
    other.load_state_dict(state)
    assert other.state_dict()["augment"] is None
    assert other.state_dict()["position"] == state["position"]


def test_the_loader_is_stateful_for_torch_and_torchdata(damaged):
    from torch.distributed.checkpoint.stateful import Stateful as TorchStateful

    stateful = pytest.importorskip("torchdata.stateful_dataloader.stateful").Stateful
    assert isinstance(build(damaged), TorchStateful)
    assert isinstance(build(damaged), stateful)


@pytest.mark.filterwarnings("ignore")  # Lightning's own
def test_lightning_saves_and_restores_the_loader_in_mid_epoch(damaged, tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")

    class Model(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(3 * 16 * 16, 3)
            self.criterion = dm.MixUpLoss(torch.nn.CrossEntropyLoss())
            self.seen = []

        def training_step(self, batch, _):
            self.seen.append([tensor.clone() for tensor in batch])
            return self.criterion(self.net(batch[0].flatten(1)), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.001)

    def fit(steps, resume=None):
        model, loader = Model(), build(damaged)
        saver = lightning.callbacks.ModelCheckpoint(
            dirpath=tmp_path, filename="{step}", every_n_train_steps=4, save_top_k=-1
        )
        trainer = lightning.Trainer(
            max_steps=steps,
            accelerator="cpu",
            devices=1,
            callbacks=[saver],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(model, loader, ckpt_path=resume)
        return model.seen

    whole = fit(15)
    assert len(whole) == 15
    resumed = fit(15, tmp_path / "step=4.ckpt")
    assert len(resumed) == 11
    for ours, theirs in zip(resumed, whole[4:], strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c_ends_the_process_in_every_phase(damaged, phase):
    for path in damaged.rglob("*.jpg"):
        path.write_bytes(jpeg_bytes(40, 40))
    assert interrupt(phase, damaged) < 30  # a hang; how long it takes is for the benchmark to say


def test_a_fork_gets_a_clear_error_and_does_not_disturb_the_parent(damaged):
    for path in damaged.rglob("*.jpg"):
        path.write_bytes(jpeg_bytes(40, 40))
    done = run("forked.py", damaged)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "6 batches before the parent has one"
    for line in lines[1:3]:
        assert line.startswith("RuntimeError this Loader belongs to process ")
        assert line.endswith("build the Loader in the process that uses it")
    assert lines[3:] == ["state 4", "6 batches", "6 batches in the parent"]


def own_threads():
    return Counter(
        thread.name.split("_0")[0] for thread in threading.enumerate() if thread.name.startswith("dali_mixup")
    )


def fail(loader):
    for _ in loader:
        raise ValueError("of the training")


def leave_by(loader, how):
    batches = iter(loader)
    next(batches)
    if how == "exception":
        with pytest.raises(ValueError, match="of the training"):
            fail(loader)
    elif how == "break":
        for _ in loader:
            break
    elif how == "end":
        list(batches)


@pytest.mark.parametrize("how", ["exception", "break", "end", "garbage collection"])
@pytest.mark.parametrize("case", ["mixup", "augment"])
def test_no_thread_and_no_file_outlives_the_loader(damaged, how, case):
    gc.collect()
    before, files = own_threads(), len(os.listdir("/proc/self/fd"))
    loader = build(damaged, case)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dm.BadFileWarning)
        leave_by(loader, how)
    del loader
    gc.collect()
    deadline = time.monotonic() + 5
    while own_threads() != before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert own_threads() == before
    assert len(os.listdir("/proc/self/fd")) <= files


@pytest.mark.parametrize("case", ["mixup", "augment"])
def test_loaders_in_threads_deliver_what_one_alone_delivers(damaged, case):
    expected = [rest_and_next(build(damaged, case, seed=seed)) for seed in range(3)]
    loaders = [build(damaged, case, seed=seed) for seed in range(3)]
    got = [None] * 3

    def work(i):
        got[i] = [(images.clone(), targets.clone()) for _ in range(2) for images, targets in loaders[i]]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dm.BadFileWarning)
        threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    for ours, theirs in zip(got, expected, strict=True):
        assert len(ours) == 12
        assert all(torch.equal(a, b) and torch.equal(c, d) for (a, c), (b, d) in zip(ours, theirs, strict=True))


def test_two_processes_that_build_one_cache_at_once_agree(damaged, tmp_path):
    code = f"import dali_mixup as dm; print(dm.ImageFolder({os.fspath(damaged)!r}).heights.tolist())"
    environment = {**os.environ, "DALI_MIXUP_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(4)
    ]
    heights = {process.communicate(timeout=60)[0] for process in processes}
    assert len(heights) == 1
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert len(load_cache(next((tmp_path / "cache").iterdir())).names) == 23


def all_threads():
    """Threads of this process, also those that Python doesn't know, such as DALI's."""
    return len(os.listdir("/proc/self/task"))


@pytest.mark.parametrize("case", ["mixup", "augment"])
@pytest.mark.parametrize("how", ["break", "end"])
def test_a_loader_and_its_threads_are_gone_at_once_without_garbage_collection(damaged, how, case):
    """Cycles would keep DALI's threads and memory of one Loader after another until Python looks for them."""
    for path in damaged.rglob("*.jpg"):
        path.write_bytes(jpeg_bytes(40, 40))
    leave_by(build(damaged, case), how)  # what DALI starts once per process
    gc.collect()
    gc.disable()
    try:
        before = all_threads()
        loader = build(damaged, case, num_threads=4)
        leave_by(loader, how)
        assert all_threads() > before + 4
        watched = weakref.ref(loader)
        del loader
        assert watched() is None
        deadline = time.monotonic() + 5  # the system takes its time to end a thread
        while all_threads() > before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert all_threads() <= before
    finally:
        gc.enable()
