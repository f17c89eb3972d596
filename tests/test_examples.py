"""Each example runs on tiny data, and is short."""

import math
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from moto.server import ThreadedMotoServer

import dali_mixup as dm
from bench.torchvision_fix import import_torchvision
from tests.made_tars import folder_as_files, write_tar

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SMALL = ["--epochs", "2", "--batch-size", "4", "--size", "32"]
pytestmark = pytest.mark.filterwarnings("ignore")  # of other people's packages


def run(name, *arguments, monkeypatch, capsys):
    """What an example prints, in this process."""
    import_torchvision()
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    return capsys.readouterr().out


@pytest.fixture
def example(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda name, *arguments: run(name, *arguments, monkeypatch=monkeypatch, capsys=capsys)


def accuracies(text):
    return [float(number) for number in re.findall(r"accuracy (\d\.\d+)", text)]


def losses(text):
    """Of the steps and of the evaluation, as Hugging Face's Trainer logs them."""
    return re.findall(r"'(?:eval_)?loss': '?[\d.]+", text)


def test_a_folder_of_images(example, folder):
    found = accuracies(example("image_folder", folder, folder, *SMALL))
    assert len(found) == 2
    assert all(0 <= accuracy <= 1 for accuracy in found)


def test_cifar10_from_arrays(example, monkeypatch):
    datasets = import_torchvision("torchvision.datasets")

    class Small:
        def __init__(self, root, train, download):
            self.data = np.random.default_rng(train).integers(0, 256, (40, 32, 32, 3), np.uint8)
            self.targets, self.classes = [number % 10 for number in range(40)], list("abcdefghij")

    monkeypatch.setattr(datasets, "CIFAR10", Small)
    text = example("cifar10_arrays", "root", "--epochs", 2, "--batch-size", 8)
    assert len(accuracies(text)) == 2
    assert "waiting" in text


def test_lightning(example, folder):
    assert len(accuracies(example("lightning_module", folder, folder, *SMALL, "--devices", 1))) == 1


def test_accelerate(example, folder):
    text = example("accelerate_loop", folder, *SMALL)
    assert len(re.findall(r"epoch \d: \d\.\d+ of the dominant labels", text)) == 2


@pytest.mark.parametrize("batch_size", [5, 4], ids=["in mid-epoch", "between epochs"])
def test_hugging_faces_trainer_goes_on_from_a_checkpoint(example, folder, batch_size):
    """With the losses and the weights of one that was never killed."""
    arguments = ["hf_trainer", folder, folder, "--epochs", 3, "--batch-size", batch_size, "--size", 32]
    whole, steps = losses(example(*arguments)), 3 * (23 // batch_size)
    assert len(whole) == steps + 1
    shutil.rmtree(f"run/checkpoint-{steps}")
    rest = losses(example(*arguments))
    assert len(rest) == steps - 10 + 1
    assert rest == whole[10:]


def test_fastai(example, folder):
    found = accuracies(example("fastai_learner", folder, folder, *SMALL))
    assert len(found) == 2
    assert all(0 <= accuracy <= 1 for accuracy in found)


def test_timms_recipe(example, folder):
    small = ["--epochs", "1", "--batch-size", "4", "--size", "32"]
    text = example("timm_recipe", folder, folder, *small, "--model", "test_resnet")
    assert len(accuracies(text)) == 1
    assert "TimmRandAugment" in text


def test_tars_are_written_and_trained_on(example, folder, tmp_path):
    assert example("tar_shards", "write", folder, tmp_path / "shards", "--per-shard", 10) == ""
    assert len(list((tmp_path / "shards").glob("*.tar"))) == 3
    text = example("tar_shards", "train", tmp_path / "shards" / "train-{000000..000002}.tar", *SMALL)
    assert "23 samples in 3 tars" in text
    assert len(re.findall(r"epoch \d: loss \d", text)) == 2


@pytest.fixture
def store(monkeypatch):
    """The address of moto's S3 with a bucket, and the keys in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    fsspec.filesystem("s3", endpoint_url=endpoint).makedirs("photos", exist_ok=True)
    yield endpoint
    server.stop()


def test_shards_are_put_on_s3_and_trained_on_from_there(example, folder, tmp_path, store):
    assert "23 images are at" in example("s3_shards", "put", folder, "s3://photos/train", "--endpoint", store)
    arguments = ["train", "s3://photos/train", "--endpoint", store, *SMALL]
    text = example("s3_shards", *arguments, "--cache", tmp_path / "kept")
    assert len(re.findall(r"epoch \d: loss \d.*waiting", text)) == 2
    assert len(list((tmp_path / "kept").rglob("samples/*/*"))) == 23
    assert re.findall(r"loss \d\.\d+", example("s3_shards", *arguments)) != []


def test_webdatasets_tars_on_s3_are_trained_on(example, folder, tmp_path, store):
    files = folder_as_files(dm.ImageFolder(folder, progress=False))
    write_tar(tmp_path / "train-000000.tar", files)
    fsspec.filesystem("s3", endpoint_url=store).put_file(str(tmp_path / "train-000000.tar"), "photos/train-000000.tar")
    text = example("s3_shards", "train", "s3://photos/train-{000000..000000}.tar", "--endpoint", store, *SMALL)
    assert len(re.findall(r"epoch \d: loss \d", text)) == 2


def test_simclr(example, folder, tmp_path):
    text = example("simclr", folder, *SMALL)
    assert len(re.findall(r"epoch \d: loss \d\.\d+, \d+\.\d% of the views found", text)) == 2
    assert "0.weight" in torch.load(tmp_path / "encoder.pt", weights_only=True)


def test_simclrs_loss_is_the_papers():
    """Formula 1, term by term, on features that are no unit vectors."""
    nt_xent = runpy.run_path(str(ROOT / "examples" / "simclr.py"))["nt_xent"]
    first, second = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    both, total = [*first, *second], 0.0
    similar = [[torch.cosine_similarity(a, b, dim=0).item() / 0.5 for b in both] for a in both]
    for i in range(10):
        others = sum(math.exp(similar[i][k]) for k in range(10) if k != i)
        total -= math.log(math.exp(similar[i][(i + 5) % 10]) / others) / 10
    loss, _ = nt_xent(first, second, 0.5)
    assert loss.item() == pytest.approx(total, rel=1e-12)
    assert nt_xent(first, first, 0.5)[1] == 1


def test_a_killed_training_goes_on_with_the_losses_of_one_that_never_was(example, folder):
    whole = example("resume", folder, *SMALL, "--checkpoint", "whole.pt")
    first = example("resume", folder, *SMALL, "--every", 3, "--stop-after", 7)
    second = example("resume", folder, *SMALL, "--every", 3)
    assert "going on at step 6, epoch 1" in second
    steps = re.findall(r"step \d+: loss .*", whole)
    assert len(steps) == 12
    assert re.findall(r"step \d+: loss .*", first) == steps[:7]
    assert re.findall(r"step \d+: loss .*", second) == steps[6:]


def test_words(example):
    text = example("text_mix", "--seeds", 2, "--epochs", 1)
    assert int(re.search(r"(\d+) docstrings of 8 packages", text)[1]) > 500
    assert re.search(r"difference +[+-]\d", text)


def test_tables(example):
    rows = example("tables_mix", "--seeds", 2, "--epochs", 3).splitlines()
    assert [row.split(" (")[1].split(")")[0] for row in rows[1:]] == ["classes", "classes", "classes", "regression"]
    categories = example("tables_mix", "--seeds", 2, "--epochs", 3, "--bins", 4).splitlines()
    assert len(categories) == len(rows)
    assert categories != rows


def test_two_processes(folder):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "examples/ddp.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, folder, folder, *SMALL], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"epoch \d: \d\.\d+ of 23 validation images", done.stdout)) == 2


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_says_how_to_start_it(path):
    text = path.read_text()
    assert 40 <= len(text.splitlines()) <= 120
    assert f"examples/{path.name}" in text.split('"""')[1]


def test_every_example_is_run_here():
    text = Path(__file__).read_text()
    assert all(f'"{path.stem}"' in text or f"examples/{path.name}" in text for path in EXAMPLES)
    assert torch.get_default_dtype() == torch.float32  # none of them has changed it
