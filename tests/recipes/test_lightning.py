"""A LightningDataModule, which mixes in on_after_batch_transfer, as Lightning's users do."""

import pytest
import torch
from torch.utils.data import DataLoader

from tests.recipes.comparing import Replayed, differences, mix_as_torchvision, network, run_epoch, transform_again
from tests.translation.peers import STD, TRAIN, VAL, image_folder, swap, v2

lightning = pytest.importorskip("lightning.pytorch")
pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's own
EPOCHS = 2


class Photos(lightning.LightningDataModule):
    """The script's."""

    def __init__(self, folder):
        super().__init__()
        self.folder, self.mixup = folder, v2.MixUp(alpha=0.4, num_classes=4)

    def setup(self, stage):
        self.train_set, self.val_set = (image_folder(self.folder, transform) for transform in (TRAIN, VAL))

    def train_dataloader(self):
        return DataLoader(self.train_set, batch_size=8, shuffle=True, drop_last=True)

    def val_dataloader(self):
        return DataLoader(self.val_set, batch_size=8)

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return self.mixup(*batch) if self.trainer.training else batch


class Swapped(Photos):
    """Its loaders swapped, its mixup handed over."""

    def train_dataloader(self):
        return swap(super().train_dataloader(), mixup=self.mixup, seed=1)

    def val_dataloader(self):
        return swap(super().val_dataloader())

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch


class Again(Photos):
    """The script's batches with the Loader's numbers, mixed already."""

    epochs = ()

    def train_dataloader(self):
        return Replayed(self.epochs)

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch


class Model(lightning.LightningModule):
    """Which gets dense targets, as torchvision's mixup gives them."""

    def __init__(self):
        super().__init__()
        self.network, self.losses, self.validated = network(4), [], []

    def training_step(self, batch, _):
        loss = torch.nn.functional.cross_entropy(self.network(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, _):
        self.validated.append(torch.nn.functional.cross_entropy(self.network(batch[0]), batch[1]).item())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


def fit(photos, place):
    model = Model()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet |= {"enable_model_summary": False, "num_sanity_val_steps": 0, "default_root_dir": place}
    lightning.Trainer(max_epochs=EPOCHS, accelerator="cpu", **quiet).fit(model, datamodule=photos)
    return model.losses, model.validated


def test_a_data_module_trains_to_the_losses_of_its_own_loaders_with_the_same_numbers(photos, tmp_path):
    script = Photos(photos)
    script.setup("fit")
    theirs, mixup = script.train_dataloader(), script.mixup
    plain, mixed = (swap(theirs, mixup=mixer, seed=1, indices=True) for mixer in (None, mixup))
    again, labels = Again(photos), torch.tensor(theirs.dataset.targets)
    again.epochs = [[], []]
    for made in again.epochs:
        batches = run_epoch(plain)
        numbers = torch.cat([batch.numbers for batch in batches])
        assert sorted(numbers.tolist()) == list(range(32))
        for batch, other in zip(batches, run_epoch(mixed), strict=True):
            assert torch.equal(batch.targets, labels[batch.numbers])
            images = transform_again(TRAIN, plain, batch)
            assert differences(batch.images, images, STD).max() < 1.01
            images, targets = mix_as_torchvision(mixup, images, batch.targets, other.plan.draw)
            assert differences(other.images, images, STD).max() < 1.01
            torch.testing.assert_close(other.targets, targets)
            made.append((images, targets))
    losses, validated = fit(Swapped(photos), tmp_path)
    expected, theirs_validated = fit(again, tmp_path)
    assert len(losses) == EPOCHS * len(theirs)
    assert losses == pytest.approx(expected, rel=1e-2)
    assert validated == pytest.approx(theirs_validated, rel=1e-2)


def test_validation_is_the_scripts(photos):
    script = Photos(photos)
    script.setup("fit")
    for (images, targets), (expected, labels) in zip(
        swap(script.val_dataloader()), script.val_dataloader(), strict=True
    ):
        assert torch.equal(targets, labels)
        assert differences(images, expected, STD).max() < 1.01
