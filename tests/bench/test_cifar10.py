import io
import pickle
import re
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F  # noqa: N812

import dali_mixup as dm
from bench import cifar10, cifar10_prepare, cifar10_runs, cifar10_study
from bench.report import read_json
from bench.torchvision_fix import import_torchvision
from dali_mixup.commands.shape_files import write_shapes

PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "cifar10-small.tar.xz"
RESULTS = Path(__file__).parents[2] / "bench" / "results"
SMALL = cifar10.Recipe(epochs=2, batch_size=50, channels=(16, 32, 32))


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """train/ and test/ with 2000 and 500 images of 32 x 32.

    Of CIFAR-10 where it lies beside the project, else drawn ones.
    """
    root = tmp_path_factory.mktemp("cifar10")
    if PHOTOS.is_file():
        with tarfile.open(PHOTOS) as archive:
            archive.extractall(root, filter="data")
        return root / "cifar10-small"
    drawn = write_shapes(root, train=2000, val=500, seed=0)
    for path in drawn.glob("*/*/*.jpg"):
        with Image.open(path) as image:
            smaller = image.convert("RGB").resize((32, 32), Image.Resampling.BOX)
        smaller.save(path, "JPEG", quality=95)
    (drawn / "val").rename(drawn / "test")
    return drawn


@pytest.fixture(scope="session")
def png(tmp_path_factory):
    """A folder of lossless images as `prepare` wants it: smooth colours with noise."""
    root = tmp_path_factory.mktemp("png")
    rng = np.random.default_rng(0)
    for number in range(24):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize(
            (32, 32), Image.Resampling.BICUBIC
        )
        pixels = np.clip(np.asarray(coarse, np.int16) + rng.integers(-8, 9, (32, 32, 3)), 0, 255).astype(np.uint8)
        path = root / ("test" if number % 6 == 0 else "train") / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return root


def outcome(accuracies, loss=1.0):
    epochs = tuple(
        cifar10_runs.Epoch(train_loss=loss, test_loss=loss / 2, test_accuracy=each, seconds=2.0, waiting=0.1)
        for each in accuracies
    )
    return cifar10_runs.Outcome(
        epochs=epochs, accuracy=accuracies[-1], averaged=0.9, ece=0.05, images_per_second=10.0, waiting=0.05
    )


@pytest.fixture
def one_thread():
    """Threads that wait for each other on a busy machine made the small training three times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_small_training_learns(small, one_thread, capsys):
    result = cifar10.train(*cifar10.open_files(str(small), holdout=False), SMALL, "name")
    assert result.accuracy > 0.3  # five seeds gave 0.40 to 0.44 on CIFAR-10's images
    assert result.averaged > 0.3
    assert result.epochs[1].train_loss < result.epochs[0].train_loss
    assert result.epochs[1].test_accuracy == result.accuracy
    assert 0 <= result.waiting < 1
    assert 0 < result.ece < 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("name epoch")]
    assert [line[:14] for line in lines] == ["name epoch 1/2", "name epoch 2/2"]
    assert all("images/s" in line and "waiting for data" in line for line in lines)


def test_the_command_adds_trainings_to_its_file_and_draws_them(small, tmp_path, capsys, monkeypatch):
    trained = []

    def train(train_files, test_files, recipe, name):
        trained.append((len(train_files), len(test_files), recipe, name))
        return outcome([0.5, 0.6])

    monkeypatch.setattr(cifar10, "train", train)
    monkeypatch.setattr(cifar10, "keep_freed_memory", lambda: None)  # it would hold for all tests that follow
    paths = [str(tmp_path / "runs.json"), str(tmp_path / "runs.png")]
    common = [str(small), "--epochs", "2", "--batch-size", "100", "--json", paths[0]]
    assert cifar10.main([*common, "--holdout", "--seeds", "3", "4", "--alpha", "0.3"]) == 0
    assert cifar10.main([*common, "--no-mixup", "--plot", paths[1]]) == 0
    assert [images for images, _, _, _ in trained] == [1800, 1800, 2000]
    recipes = [recipe for _, _, recipe, _ in trained]
    assert [recipe.mixup for recipe in recipes] == [dm.MixUp(0.3), dm.MixUp(0.3), None]
    assert {(recipe.epochs, recipe.batch_size) for recipe in recipes} == {(2, 100)}
    runs = read_json(paths[0]).derived["runs"]
    expected = [("mixup 0.3, 2 epochs", 3), ("mixup 0.3, 2 epochs", 4), ("without mixup, 2 epochs", 0)]
    assert [(run["name"], run["recipe"]["seed"]) for run in runs] == expected
    assert "60.00 ± 0.00 %" in capsys.readouterr().out
    assert Path(paths[1]).read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def torchvisions(tmp_path, monkeypatch):
    """The root of torchvision's CIFAR10 with random images, and its pixels and labels."""
    cifar = import_torchvision("torchvision.datasets").CIFAR10
    root, rng = tmp_path / "root", np.random.default_rng(0)
    folder = root / cifar.base_folder
    folder.mkdir(parents=True)
    pixels, labels = rng.integers(0, 256, (60, 3, 32, 32), np.uint8), (np.arange(60) % 10).tolist()
    names = [name for name, _ in (*cifar.train_list, *cifar.test_list)]
    for k, name in enumerate(names):
        part = slice(10 * k, 10 * k + 10)
        (folder / name).write_bytes(pickle.dumps({"data": pixels[part].reshape(10, -1), "labels": labels[part]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    monkeypatch.setattr(cifar, "_check_integrity", lambda _: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    return root, pixels, labels


def test_arrays_are_what_torchvision_reads(torchvisions):
    root, pixels, labels = torchvisions
    train, test = cifar10.open_arrays(str(root), holdout=False)
    assert (len(train), len(test), train.classes) == (50, 10, list("abcdefghij"))
    np.testing.assert_array_equal(train.stack, pixels[:50].transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(test.stack, pixels[50:].transpose(0, 2, 3, 1))
    assert train.targets.tolist() + test.targets.tolist() == labels
    train, held = cifar10.open_arrays(str(root), holdout=True)
    assert (len(train), len(held)) == (45, 5)
    np.testing.assert_array_equal(held.stack, pixels[:50:10].transpose(0, 2, 3, 1))
    assert held.targets.tolist() == labels[:50:10]


def test_the_command_trains_on_arrays(torchvisions, monkeypatch):
    kinds = []

    def train(train_images, test_images, recipe, name):
        kinds.append((type(train_images), type(test_images)))
        return outcome([0.5])

    monkeypatch.setattr(cifar10, "train", train)
    monkeypatch.setattr(cifar10, "keep_freed_memory", lambda: None)
    assert cifar10.main([str(torchvisions[0]), "--arrays", "--epochs", "1"]) == 0
    assert kinds == [(dm.ArrayDataset, dm.ArrayDataset)]


def test_held_out_images_are_a_tenth_of_each_class_and_never_trained_on(small):
    trained, tested = cifar10.open_files(str(small), holdout=True)
    assert not set(trained.paths) & set(tested.paths)
    assert len(trained) + len(tested) == len(dm.ImageFolder(small / "train"))
    counts = np.bincount(tested.targets)
    assert counts.max() - counts.min() <= 1
    for number in (0, 7):
        assert Path(tested.paths[number]).parent.name == tested.classes[tested.targets[number]]


@pytest.mark.parametrize("shape", [(32, 32), (64, 216), (256, 64), (10, 1)])
def test_orthogonalized_singular_values_are_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    result = cifar10.orthogonalize(matrix, steps=8)
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.6
    assert values.max() < 1.25
    mixed = u.T @ result @ v.T  # the same singular vectors: diagonal
    assert (mixed - mixed.diagonal().diag()).abs().max() < 1e-3


def test_a_step_of_muon_goes_down_and_keeps_the_norm():
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(8, 4, 3, 3))
    aim = torch.randn(8, 4, 3, 3)
    optimizer = cifar10.Muon([weight], lr=0.05)
    losses = []
    for _ in range(20):
        loss = -F.cosine_similarity(weight.flatten(), aim.flatten(), dim=0)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.3
    assert weight.norm().item() == pytest.approx(8**0.5, rel=0.1)


def test_whitened_patches_are_uncorrelated():
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.standard_normal((200, 3, 8, 8))).float()
    images = (
        F.interpolate(coarse, size=(32, 32), mode="bilinear")
        + 0.3 * torch.from_numpy(rng.standard_normal((200, 3, 32, 32))).float()
    )
    out = F.conv2d(images, cifar10.whitening_filters(images))
    flat = out.movedim(1, 0).flatten(1)
    correlation = (flat @ flat.T / flat.shape[1])[:12, :12]
    assert (correlation - torch.eye(12)).abs().max() < 0.02
    assert torch.equal(out[:, :12], -out[:, 12:])


def test_blocks_start_as_the_identity():
    first, pool, *_ = cifar10.build_block(3, 8)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(first(images)[:, :3], images)
    assert pool(images).shape == (2, 3, 4, 4)


def test_every_weight_but_the_whitening_and_the_norms_is_trained():
    net = cifar10.build_net(10, (8, 16, 16), torch.randn(20, 3, 32, 32))
    optimizers = cifar10.build_optimizers(net, replace(SMALL, channels=(8, 16, 16)))
    held = [weight for optimizer in optimizers for group in optimizer.param_groups for weight in group["params"]]
    assert {id(weight) for weight in held} == {id(weight) for weight in net.parameters() if weight.requires_grad}
    assert all(weight.ndim == 4 for weight in optimizers[0].param_groups[0]["params"])
    frozen = [name for name, weight in net.named_parameters() if not weight.requires_grad]
    assert len(frozen) == 1 + 6
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_flips_and_shifts_are_six_views_whose_weights_sum_to_one():
    images = torch.arange(2 * 3 * 8 * 8, dtype=torch.float32).view(2, 3, 8, 8)
    views = list(cifar10.flips_and_shifts(images))
    assert sum(weight for weight, _ in views) == 1
    assert all(view.shape == images.shape for _, view in views)
    assert torch.equal(views[0][1], images)
    assert torch.equal(views[1][1], images.flip(3))
    assert torch.equal(views[2][1][:, :, 1:, 1:], images[:, :, :-1, :-1])
    assert torch.equal(views[4][1][:, :, :-1, :-1], images[:, :, 1:, 1:])


def test_averaging_is_over_the_views(small):
    net = cifar10.build_net(10, (4, 4, 4), torch.randn(20, 3, 32, 32)).to(memory_format=torch.channels_last).eval()
    files = cifar10.pick(dm.ImageFolder(small / "test"), lambda number: number % 50 < 2)
    loader = dm.Loader(files, cifar10.cifar10.val(), batch_size=8)
    logits, labels = cifar10.predict(net, loader, average=True)
    assert logits.shape == (len(files), 10)
    assert labels.tolist() == files.targets.tolist()
    images = torch.cat([images.clone() for images, _ in loader])
    with torch.no_grad():
        expected = sum(weight * net(view) for weight, view in cifar10.flips_and_shifts(images))
    assert (logits - expected).abs().max() < 0.05 * expected.abs().max()


def test_calibration_error_matches_the_formula():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(500, 4, generator=generator)
    labels = torch.randint(4, (500,), generator=generator)
    probabilities = logits.double().softmax(1).numpy()
    expected = 0.0
    for low, high in zip(np.arange(15) / 15, np.arange(1, 16) / 15, strict=True):
        inside = [i for i in range(500) if low < probabilities[i].max() <= high]
        if inside:
            accuracy = np.mean([probabilities[i].argmax() == labels[i] for i in inside])
            confidence = np.mean([probabilities[i].max() for i in inside])
            expected += len(inside) / 500 * abs(accuracy - confidence)
    assert expected > 0.1
    assert cifar10_runs.calibration_error(logits, labels) == pytest.approx(expected, abs=1e-9)


def test_a_sure_and_right_net_is_calibrated_and_a_sure_and_wrong_one_is_not():
    logits = 100 * torch.eye(10)
    assert cifar10_runs.calibration_error(logits, torch.arange(10)) == pytest.approx(0, abs=1e-9)
    assert cifar10_runs.calibration_error(logits, torch.arange(10).roll(1)) == pytest.approx(1, abs=1e-9)


def test_prepared_files_are_faithful_and_keep_full_chroma(png, tmp_path, capsys):
    assert cifar10.main(["prepare", str(png), str(tmp_path)]) == 0
    assert "mean change of a level" in capsys.readouterr().out
    written = sorted(tmp_path.glob("*/*/*.jpg"))
    assert len(written) == 24
    for path in written:
        original = Image.open((png / path.relative_to(tmp_path)).with_suffix(".png"))
        with Image.open(path) as image:
            assert [component[1:3] for component in image.layer] == [(1, 1)] * 3  # 4:4:4
            assert np.abs(np.asarray(image, np.int16) - np.asarray(original)).mean() < 4
            buffer = io.BytesIO()
            original.save(buffer, "JPEG", quality=95, subsampling=0)
            assert image.quantization == Image.open(buffer).quantization


def test_prepare_reports_the_change_that_it_made(png, tmp_path):
    figures = cifar10_prepare.prepare(png, tmp_path, quality=60)
    paths = sorted((png / "train").glob("*/*.png"))
    changes = [
        np.abs(
            np.asarray(Image.open((tmp_path / path.relative_to(png)).with_suffix(".jpg")), np.int16)
            - np.asarray(Image.open(path))
        ).mean()
        for path in paths
    ]
    assert figures["train"][0] == len(paths) == 20
    assert figures["train"][1] == sum(path.stat().st_size for path in (tmp_path / "train").glob("*/*.jpg"))
    assert figures["train"][2] == pytest.approx(np.mean(changes), abs=1e-6)


def test_prepare_names_a_folder_without_images(tmp_path):
    with pytest.raises(SystemExit, match="holds no folders of PNG images"):
        cifar10_prepare.prepare(tmp_path, tmp_path / "out")


def test_a_training_again_takes_the_place_of_the_earlier_one(tmp_path):
    path = str(tmp_path / "runs.json")
    cifar10_runs.Runs("x", path).add("a", SMALL, outcome([0.2, 0.4]))
    runs = cifar10_runs.Runs("x", path)
    runs.add("a", SMALL, outcome([0.2, 0.5]))
    runs.add("a", replace(SMALL, seed=1), outcome([0.2, 0.7]))
    read = cifar10_runs.Runs("x", path)
    assert read.holds("a", 1)
    assert not read.holds("b", 1)
    assert read.summary()["a"]["accuracy"] == pytest.approx(0.6)
    assert read.summary()["a"]["accuracy_sd"] == pytest.approx(np.std([0.5, 0.7], ddof=1))
    assert "60.00 ± 14.14 %" in read.describe()


def test_the_study_goes_on_where_it_was_stopped(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cifar10_study, "LENGTHS", (1, 2))
    monkeypatch.setattr(cifar10_study, "THRESHOLDS", (0.85, 0.95))
    asked = []

    def train(train_files, test_files, recipe, name):
        assert (len(train_files), len(test_files)) == (1800, 200)
        assert recipe.batch_size == cifar10_study.SMALL["batch_size"]
        asked.append((recipe.epochs, recipe.seed, recipe.mixup))
        if len(asked) == 7:
            raise KeyboardInterrupt
        return outcome([0.5, 0.8, 0.9])

    monkeypatch.setattr(cifar10, "train", train)
    monkeypatch.setattr(cifar10, "keep_freed_memory", lambda: None)  # it would hold for all tests that follow
    path = str(tmp_path / "study.json")
    command = [str(small), "--study", "--holdout", "--json", path]
    with pytest.raises(KeyboardInterrupt):
        cifar10.main(command)
    assert len(read_json(path).derived["runs"]) == 6
    assert cifar10.main([*command, "--plot", str(tmp_path / "study.png")]) == 0
    assert len(asked) == 7 + 2 * 3 * 5 - 6
    assert len(set(asked)) == 2 * 3 * 5
    shown = capsys.readouterr().out
    assert re.search(r"cycle against permutation +2 +3 +0\.000 ± 0\.000", shown)
    assert re.search(r"3 of 3 +2\.50 ± 0\.00 +0 of 3 +-", shown)
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")


def test_results_that_lie_in_the_repository_can_still_be_read_and_added_to(tmp_path):
    for name, rows in (("cifar10", 2), ("cifar10_study", 10)):
        path = tmp_path / f"{name}.json"
        shutil.copy(RESULTS / path.name, path)
        runs = cifar10_runs.Runs(name, str(path))
        before = runs.summary()
        assert len(before) == rows
        assert len(runs.describe().splitlines()) == rows + 5
        runs.add("new", SMALL, outcome([0.5]))
        assert cifar10_runs.Runs(name, str(path)).summary().items() >= before.items()
    assert len(cifar10_study.describe_differences(runs).splitlines()) == 2 + 2 * 4 + 2
    assert len(cifar10_study.describe_speed(runs).splitlines()) == 2 + 11


def test_the_threshold_is_found_between_two_epochs():
    def reached(*accuracies):
        return cifar10_study.epochs_to(0.85, {"epochs": [{"test_accuracy": each} for each in accuracies]})

    assert reached(0.5, 0.8, 0.9) == pytest.approx(2.5)
    assert reached(0.85) == pytest.approx(1.0)
    assert reached(0.5, 0.8) == float("inf")
