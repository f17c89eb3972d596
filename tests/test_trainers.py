"""A swapped loader in other people's training loops: Lightning, Accelerate, and a plain one with timm's loss."""

import copy

import pytest
import torch
from torch.utils.data import DataLoader

import dali_mixup as dm
from bench.torchvision_fix import import_torchvision

datasets = import_torchvision("torchvision.datasets")
v2 = import_torchvision("torchvision.transforms.v2")

FLOATS = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize((0.5,) * 3, (0.25,) * 3)]
TRAIN = v2.Compose([v2.RandomResizedCrop(16), v2.RandomHorizontalFlip(), v2.ColorJitter(0.2, 0.2), *FLOATS])
VAL = v2.Compose([v2.Resize(18), v2.CenterCrop(16), *FLOATS])


@pytest.fixture
def loaders(folder):
    """A training loader with mixup, and a validation loader, both swapped for DataLoaders."""
    train = DataLoader(datasets.ImageFolder(folder, TRAIN), batch_size=4, shuffle=True, drop_last=True)
    val = DataLoader(datasets.ImageFolder(folder, VAL), batch_size=4)
    return (
        dm.from_dataloader(train, mixup=dm.MixUp(alpha=0.4), seed=1, device="cpu", num_threads=1),
        dm.from_dataloader(val, device="cpu", num_threads=1),
    )


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 4, 4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(128, 3)
    )


def train_by_hand(train, val, epochs):
    """What every trainer must arrive at: losses of each step, validation losses of each epoch."""
    model, criterion = network(), dm.MixUpLoss(torch.nn.CrossEntropyLoss())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses, validation = [], []
    for epoch in range(epochs):
        train.set_epoch(epoch)
        for images, targets in train:
            loss = criterion(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        with torch.no_grad():
            validation += [criterion(model(images), labels).item() for images, labels in val]
    return losses, validation


@pytest.mark.filterwarnings("ignore")  # Lightning's own
def test_lightning_fits_and_validates_as_a_plain_loop_does(loaders, tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")
    train, val = loaders
    expected = train_by_hand(train, val, epochs=3)
    seen, validated = [], []

    class Model(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network, self.criterion = network(), dm.MixUpLoss(torch.nn.CrossEntropyLoss())

        def training_step(self, batch, _):
            loss = self.criterion(self.network(batch[0]), batch[1])
            seen.append(loss.item())
            return loss

        def validation_step(self, batch, _):
            validated.append(self.criterion(self.network(batch[0]), batch[1]).item())

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = lightning.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
    )
    train.set_epoch(0)
    trainer.fit(Model(), train, val)
    assert trainer.num_training_batches == len(train) == 5
    assert seen == expected[0]
    assert validated == expected[1]


@pytest.mark.filterwarnings("ignore")  # Accelerate's own
def test_accelerate_prepares_and_trains_as_a_plain_loop_does(loaders):
    accelerate = pytest.importorskip("accelerate")
    train, val = loaders
    expected, _ = train_by_hand(train, val, epochs=2)
    accelerator = accelerate.Accelerator(cpu=True)
    model = network()
    model, optimizer, prepared = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1), train)
    criterion = dm.MixUpLoss(torch.nn.CrossEntropyLoss())
    losses = []
    for epoch in range(2):
        prepared.set_epoch(epoch)
        for images, targets in prepared:
            with accelerator.accumulate(model):
                loss = criterion(model(images), targets)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
            losses.append(loss.item())
    assert len(prepared) == 5
    assert losses == expected


@pytest.mark.filterwarnings("ignore")  # Accelerate's own
def test_accelerate_uses_gradients_that_wait_at_the_end_of_an_epoch_as_with_a_dataloader(loaders):
    accelerate = pytest.importorskip("accelerate")
    train, val = loaders
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    theirs = accelerator.prepare(DataLoader(list(train), batch_size=None))

    def follow(batches):
        model, optimizer = accelerator.prepare(model := network(), torch.optim.SGD(model.parameters(), lr=0.1))
        criterion, synced = dm.MixUpLoss(torch.nn.CrossEntropyLoss()), []
        for _ in range(2):
            train.set_epoch(0)
            for images, targets in batches:
                with accelerator.accumulate(model):
                    accelerator.backward(criterion(model(images), targets))
                    optimizer.step()
                    optimizer.zero_grad()
                synced.append(accelerator.sync_gradients)
                if len(synced) == 3:  # a validation in mid-epoch, which is left early
                    next(iter(val))
                    list(val)
        return synced, [weight.clone() for weight in model.parameters()]

    (ours, our_weights), (expected, weights) = follow(accelerator.prepare(train)), follow(theirs)
    assert ours == expected == [False, True, False, True, True] * 2
    assert all(map(torch.equal, our_weights, weights))
    assert not accelerator.gradient_state.in_dataloader


def test_accelerate_saves_and_restores_a_loader_in_mid_epoch(loaders, tmp_path):
    accelerate = pytest.importorskip("accelerate")
    train, _ = loaders
    accelerator = accelerate.Accelerator(cpu=True)
    accelerator.register_for_checkpointing(train)
    batches = iter(train)
    next(batches), next(batches)
    accelerator.save_state(str(tmp_path))
    expected = [targets for _, targets in batches]
    assert len(expected) == 3
    accelerator.load_state(str(tmp_path))
    assert all(map(torch.equal, expected, (targets for _, targets in train)))


def test_batches_that_accelerate_would_skip_are_refused_with_the_way_out(loaders):
    accelerate = pytest.importorskip("accelerate")
    train, _ = loaders
    accelerator = accelerate.Accelerator(cpu=True)
    with pytest.raises(RuntimeError, match="In the place of Accelerate's skip_first_batches"):
        next(iter(accelerator.skip_first_batches(train, 2)))


@pytest.mark.filterwarnings("ignore")  # Lightning's own
def test_fabric_trains_on_a_loader_as_it_is(loaders):
    fabric = pytest.importorskip("lightning.fabric").Fabric(accelerator="cpu", devices=1)
    train, val = loaders
    expected, _ = train_by_hand(train, val, epochs=2)
    model = network()
    model, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), lr=0.1))
    criterion, losses = dm.MixUpLoss(torch.nn.CrossEntropyLoss()), []
    for epoch in range(2):
        train.set_epoch(epoch)
        for images, targets in train:
            optimizer.zero_grad()
            loss = criterion(model(images), targets)
            fabric.backward(loss)
            optimizer.step()
            losses.append(loss.item())
    assert losses == expected


DTYPES = {"bf16-true": torch.bfloat16, "16-true": torch.float16, "64-true": torch.float64}


def train_in_lightning(train, precision, place):
    """Losses of the first epoch, and the dtypes of images and targets that a step got."""
    lightning = pytest.importorskip("lightning.pytorch")
    losses, dtypes = [], set()

    class Model(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network, self.criterion = network(), dm.MixUpLoss(torch.nn.CrossEntropyLoss())

        def training_step(self, batch, _):
            images, targets = batch
            loss = self.criterion(self.network(images), targets)
            parts = (images, *(targets if isinstance(targets, tuple | list) else [targets]))
            dtypes.add(tuple(part.dtype for part in parts))
            losses.append(loss.item())
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    shown = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", precision=precision, default_root_dir=place, **shown)
    trainer.fit(Model(), train)
    return losses, dtypes


def losses_by_formula(train, dtype):
    """The mixture of two cross-entropies per sample, of a network in `dtype`."""
    model = network().to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for images, (labels, lam) in train:
        logits = model(images.to(dtype))
        each = [torch.nn.functional.cross_entropy(logits, labels[:, k], reduction="none") for k in (0, 1)]
        loss = torch.lerp(each[1].float(), each[0].float(), lam).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.filterwarnings("ignore")  # Lightning's own
@pytest.mark.parametrize("precision", DTYPES)
def test_split_targets_survive_a_trainer_that_casts_all_floats(folder, tmp_path, precision):
    pipeline, options = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16)), {"batch_size": 4, "device": "cpu"}
    train = dm.Loader(dm.ImageFolder(folder), pipeline, mixup=dm.MixUp(targets="split"), **options)
    dtype = DTYPES[precision]
    losses, dtypes = train_in_lightning(train, precision, tmp_path)
    assert dtypes == {(dtype, torch.int64, dtype)}
    torch.testing.assert_close(losses, losses_by_formula(copy.copy(train), dtype), rtol=0.02, atol=0.02)


@pytest.mark.filterwarnings("ignore")  # Lightning's own
def test_stacked_targets_are_taken_in_double_precision_and_halves_are_refused_in_words(folder, tmp_path):
    pipeline, options = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16)), {"batch_size": 4, "device": "cpu"}
    train, split = (
        dm.Loader(dm.ImageFolder(folder), pipeline, mixup=dm.MixUp(targets=targets), **options)
        for targets in ("stacked", "split")
    )
    losses, dtypes = train_in_lightning(train, "64-true", tmp_path)
    assert dtypes == {(torch.float64, torch.float64)}
    torch.testing.assert_close(losses, losses_by_formula(split, torch.float64))
    for precision in ("bf16-true", "16-true"):
        with pytest.raises(TypeError, match=r"the trainer has cast them.*take MixUp\(targets=\"split\"\)"):
            train_in_lightning(copy.copy(train), precision, tmp_path)


@pytest.mark.filterwarnings("ignore")  # Lightning's own
def test_lightning_overfits_the_first_batches_of_an_unshuffled_loader(loaders, tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")
    seen = []

    class Model(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch, _):
            seen.append(batch[1].tolist())
            return self.layer(torch.ones(1, 1)).sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = lightning.Trainer(
        overfit_batches=2,
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    _, in_order = loaders
    trainer.fit(Model(), in_order)
    assert seen == [targets.tolist() for _, targets in in_order][:2] * 2


def test_stacked_and_dense_targets_train_to_the_same_losses(loaders, folder):
    train, _ = loaders
    theirs = DataLoader(datasets.ImageFolder(folder, TRAIN), batch_size=4, shuffle=True, drop_last=True)
    dense = dm.from_dataloader(theirs, mixup=dm.MixUp(alpha=0.4), targets="dense", seed=1, device="cpu", num_threads=1)
    timm_loss = pytest.importorskip("timm.loss").SoftTargetCrossEntropy()
    model, criterion = network(), dm.MixUpLoss(torch.nn.CrossEntropyLoss())
    with torch.no_grad():
        for (images, stacked), (others, probabilities) in zip(train, dense, strict=True):
            assert torch.equal(images, others)
            logits = model(images)
            assert torch.allclose(criterion(logits, stacked), timm_loss(logits, probabilities), atol=1e-6)
